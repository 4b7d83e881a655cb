package main

import (
	"fmt"
	"regexp"
	"strconv"
)

// collection is what the runtime tells of one garbage collection, in ms.
type collection struct {
	wall float64 // of the concurrent mark
	cpu  float64 // of the mark: assists, the workers' share, and what was idle otherwise
}

// gcLine is a line of GODEBUG=gctrace=1, as package runtime documents it.
var gcLine = regexp.MustCompile(`(?m)^gc \d+ @[\d.]+s \d+%: [\d.]+\+([\d.]+)\+[\d.]+ ms clock, [\d.]+\+([\d.]+)/([\d.]+)/([\d.]+)\+[\d.]+ ms cpu,`)

// collections reads a trace.
func collections(trace string) []collection {
	var all []collection
	for _, m := range gcLine.FindAllStringSubmatch(trace, -1) {
		var v [4]float64
		for i := range v {
			v[i], _ = strconv.ParseFloat(m[i+1], 64) // the expression lets only numbers through
		}
		all = append(all, collection{wall: v[0], cpu: v[1] + v[2] + v[3]})
	}
	return all
}

// leastCollections is how many must have been for their median to mean something.
const leastCollections = 3

// collected adds the figures of two traces to a sample.
func collected(found sample, few, all []collection) (sample, error) {
	if len(few) < leastCollections || len(all) < leastCollections {
		return found, fmt.Errorf("%d garbage collections with few links and %d with all; %d are needed (a longer -window gives more)",
			len(few), len(all), leastCollections)
	}
	wall := func(c collection) float64 { return c.wall }
	cpu := func(c collection) float64 { return c.cpu }
	found.put(markFew, medianOf(few, cpu))
	found.put(markAll, medianOf(all, cpu))
	found.put(markRatio, medianOf(all, cpu)/medianOf(few, cpu))
	found.put(wallFew, medianOf(few, wall))
	found.put(wallAll, medianOf(all, wall))
	return found, nil
}

func medianOf(all []collection, of func(collection) float64) float64 {
	var v []float64
	for _, c := range all {
		v = append(v, of(c))
	}
	return median(v)
}
