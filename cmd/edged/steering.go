package main

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"edged/admin"
	"edged/gateway"
	"edged/netpoll"
	"edged/nic"
)

// mapLimit bounds what is asked of the kernel about one network card.
const mapLimit = 2 * time.Second

// remapEvery is how often the queues are looked at although nothing was told of them: of an interrupt that was moved, and of a
// CPU that came or went, nobody tells.
const remapEvery = time.Minute

// findQueues returns the queues of the interfaces that clients come by. It never fails: what is not known is said in the log.
func findQueues(host nic.Host, interfaces []string, log *slog.Logger) gateway.Queues {
	set, err := host.Resolve(interfaces)
	if err != nil {
		log.Info("queues of the network are not known", "err", err)
		return gateway.Queues{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), mapLimit)
	defer cancel()
	var q gateway.Queues
	for _, leaf := range set.Leaves {
		if !leaf.Up {
			continue
		}
		device, err := host.Map(ctx, leaf)
		if err != nil {
			log.Info("queues of an interface are not known", "interface", leaf.Name, "err", err)
			continue
		}
		addQueues(&q, &device)
	}
	if len(q.CPUs) < 2 {
		q.CPUs = nil
	}
	return q
}

// addQueues adds what is known of one device.
func addQueues(q *gateway.Queues, d *nic.Device) {
	if d.Driver != "veth" {
		q.Map.Base = 1
	}
	for _, rx := range d.RX {
		cpu := -1
		if len(rx.CPUs) > 0 {
			cpu = rx.CPUs[0]
		}
		q.Map.Queues = append(q.Map.Queues, netpoll.Queue{Index: rx.Index, NAPI: rx.NAPI, CPU: cpu})
		if cpu >= 0 && d.Mapped && !slices.Contains(q.CPUs, cpu) {
			q.CPUs = append(q.CPUs, cpu)
		}
	}
}

// queues are those of this box, or none for a gateway whose links use other interfaces.
func (i *instance) queues() gateway.Queues {
	if i.interfaces != nil {
		return gateway.Queues{}
	}
	return findQueues(nic.Host{}, i.cfg.Tuning.Interfaces, i.log)
}

// followQueues steers anew when the queues change, until ctx ends.
func (i *instance) followQueues(ctx context.Context) {
	changed := make(chan struct{}, 1)
	i.work.Go(func() {
		_ = nic.WatchQueues(ctx, func() { // without it the look each minute has to do
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	})
	tick := time.NewTicker(remapEvery)
	defer tick.Stop()
	for {
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := i.gateway.Resteer(i.queues()); err != nil {
			i.log.Warn("reactors cannot follow the queues", "err", err)
		}
	}
}

// steeringMetrics shows how new links find their reactors.
func (i *instance) steeringMetrics(m *metrics) {
	s := i.gateway.Steering()
	for mode := netpoll.SteerOff; mode <= netpoll.SteerQueue; mode++ {
		is := 0
		if s.Mode == mode {
			is = 1
		}
		m.gauge("edged_steering_mode", "1 for how new links find their reactor", is, label("mode", mode.String()))
	}
	m.add(admin.Gauge, "edged_reactor_imbalance", "by how much of the mean the fullest reactor has more links than that", s.Imbalance)
	for n, l := range s.Loops {
		reactor := label("reactor", strconv.Itoa(n))
		m.counter("edged_links_looked_at_total", "new links whose queue was looked at", l.Looked, reactor)
		m.counter("edged_links_on_own_queue_total", "of them, those on the reactor of their queue or CPU", l.Own, reactor)
		m.counter("edged_links_given_total", "new links that another reactor had accepted than the one that has them", l.Given, reactor)
	}
}
