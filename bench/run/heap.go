package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// scrapeLimit bounds a look at a gateway's metrics.
const scrapeLimit = 5 * time.Second

// heap reads the Go heap of a gateway; nothing of what is none.
func (b *bench) heap(t target) ([]value, error) {
	if t.admin == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(b.ctx, scrapeLimit)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", t.admin)
	}
	c := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edged/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	return heapValues(text.Bytes())
}

// heapValues finds the figures in what /metrics says.
func heapValues(text []byte) ([]value, error) {
	v := map[string]float64{}
	for line := range bytes.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if strings.HasPrefix(name, "go_memstats_heap_") {
			v[name], _ = strconv.ParseFloat(number, 64)
		}
	}
	inUse, found := v["go_memstats_heap_inuse_bytes"]
	if !found {
		return nil, fmt.Errorf("/metrics tells nothing of the Go heap")
	}
	idle := v["go_memstats_heap_idle_bytes"] - v["go_memstats_heap_released_bytes"]
	return []value{{heapUsed, inUse}, {heapIdle, idle}}, nil
}
