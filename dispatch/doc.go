// Package dispatch tells clients which load balancer to dial: gateways report their health to Redis, and a service reads
// the reports, ranks the load balancers and answers over HTTP.
//
//	gateway   Reporter ──────> Redis: edged:gw:{id}, edged:slb:<name>, edged:slbs, edged:state
//	service   FleetReader <──┘   once a refresh, and at once when a gateway says that it drains
//	              └> Box for each load balancer ──> Ranker.Update
//	client    GET /v1/addresses ──> Service ──────> Ranker.OrderFirst ──> addresses, first to try first
//
// # The rule
//
// A load balancer's availability A is the sum over its live gateways, each between 0 and 1. For each request every load
// balancer draws U uniformly from [0,1), and the answer is the list of them by A·U, largest first. Those that are about
// as free as each other share the clients, and a clearly freer one gets more than its share. How much more is
//
//	P(i first) = ∫₀¹ Π_{j≠i} min(1, u·Aᵢ/Aⱼ) du
//
// because given U=u for i, j stands behind it with probability min(1, u·Aᵢ/Aⱼ). One that stands at 1 above many at ρ gets
// 1−ρ + ρ/N: about 1−ρ however many there are. Load balancers without availability follow the others in uniform order,
// so that a fleet that is full, or that nobody knows anything of, does not send everybody to one place.
//
// That share is right for links that live long and come slowly, and dangerous in a storm: a report is seconds old, the
// traffic of new links shows later still, and meanwhile a fresh box among many full ones gets half of all links.
// Choosing by old load is known to herd (M. Mitzenmacher, "How Useful Is Old Information?", IEEE TPDS 11(1), 2000); what
// is known must be weighed by its age (M. Dahlin, "Interpreting Stale Load Information", IEEE TPDS 11(10), 2000). Two
// guards therefore stand over the rule, each with its own switch; with both off it is the rule to the letter.
//
//	correction   each first place is remembered, fading with the time constant τ, and what it will cost is taken from the
//	             box's availability, times the number of live dispatchers, which all hand out as much
//	share cap    a box that had ten times its fair share of the last two seconds' answers stands behind all that had not
//
// The memory fades by time and is not cleared by the next report, because that report comes before the traffic of the
// links that it should speak of. The types guard and tariff tell the formulas, and how they know what a link costs.
//
// # Modes
//
//	seed          by A·U, as above; the default
//	proportional  a box's chance is proportional to what it has free: weighted sampling without replacement (A-Res:
//	              P. Efraimidis, P. Spirakis, "Weighted random sampling with a reservoir", Inf. Proc. Letters 97, 2006);
//	              fills all boxes to the brim at the same time, but levels a fresh one slowly
//	p2c           the freer of two drawn at random (M. Mitzenmacher, "The Power of Two Choices in Randomized Load
//	              Balancing", IEEE TPDS 12(10), 2001); no box ever gets more than 2/N, so it needs the guards least
//
// # What holds
//
// The answer is never empty while a load balancer was ever known, Redis up or not. Reads of Redis do not grow with
// requests. A broken report costs its own gateway the place, and nobody else.
//
// # Who owns what
//
// The keys named above, edged:sum and edged:dispatchers are written and read by this package alone. The Reporter's state
// belongs to its one goroutine, the fleet's to the service's refresh; the Ranker takes no lock, knows neither clock nor
// goroutine, and its caller serialises. The package must never know netlink, links or how a gateway scores itself.
package dispatch
