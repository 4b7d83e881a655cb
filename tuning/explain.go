package tuning

import (
	"fmt"
	"slices"
	"strings"
)

// Explain says all that is known of one setting of the plan p, which was made for m. key is that of an entry, or the end of
// one where no other ends so: "somaxconn". An unknown one is an error that names those that are like it.
func Explain(m *Machine, p Plan, key string) (string, error) {
	e, err := p.find(key)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", e.Key, e.Status)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-8s %s\n", name, value)
		}
	}
	row("now", e.Current)
	row("wanted", e.Wanted)
	row("why", e.Why)
	row("but", e.Note)
	if k := knobOf(e.Key); k != nil {
		if e.Wanted != "" || e.Status == Kept {
			row("rule", k.rule)
		}
		row("unit", k.unit)
		row("scope", string(k.scope))
	}
	row("risk", e.Risk)
	row("source", e.Source)
	for _, o := range m.Owners[e.Key] {
		row("set by", o.String())
	}
	for _, c := range p.Capacity {
		if c.Key == e.Key {
			row("holds", fmt.Sprintf("now %s, with the plan %s: %s", linksText(c.Now), linksText(c.Holds), c.Why))
		}
	}
	return b.String(), nil
}

func (p Plan) find(key string) (Entry, error) {
	key = strings.TrimPrefix(key, "/proc/sys/")
	if e, ok := p.Entry(dotted(key)); ok {
		return e, nil
	}
	if e, ok := p.Entry(key); ok {
		return e, nil
	}
	var like []string
	for _, e := range p.Entries {
		if key != "" && strings.HasSuffix(strings.ToLower(e.Key), strings.ToLower(key)) {
			like = append(like, e.Key)
		}
	}
	if len(like) == 1 {
		e, _ := p.Entry(like[0])
		return e, nil
	}
	if len(like) == 0 {
		like = p.nearest(key)
	}
	return Entry{}, fmt.Errorf("no setting is called %q; %s", key, suggestion(like))
}

func suggestion(like []string) string {
	const most = 5
	if len(like) == 0 {
		return "edged tune plan --all lists them"
	}
	return "did you mean " + strings.Join(like[:min(len(like), most)], ", ") + "?"
}

// nearest returns the keys that share the most pairs of letters with key, at least half of its own.
func (p Plan) nearest(key string) []string {
	type match struct {
		key   string
		share int
	}
	var all []match
	for _, e := range p.Entries {
		last := e.Key[strings.LastIndexAny(e.Key, "./")+1:]
		if n := shared(strings.ToLower(key[strings.LastIndexAny(key, "./")+1:]), strings.ToLower(last)); n > 0 {
			all = append(all, match{e.Key, n})
		}
	}
	slices.SortStableFunc(all, func(a, b match) int { return b.share - a.share })
	var keys []string
	for _, m := range all {
		if m.share == all[0].share {
			keys = append(keys, m.key)
		}
	}
	return keys
}

// shared counts the pairs of letters of a that are in b; 0 where they are less than half of them.
func shared(a, b string) int {
	if len(a) < 2 {
		return 0
	}
	n := 0
	for i := 0; i+2 <= len(a); i++ {
		if strings.Contains(b, a[i:i+2]) {
			n++
		}
	}
	if n*2 < len(a)-1 {
		return 0
	}
	return n
}
