// Package tally counts what happens inside the server: atomic numbers that cost a few nanoseconds and never
// wait. Who shows them (package metrics) reads them when asked; the packages that count know nothing of it.
//
// Numbers begin at zero when the thing that counts is made, and only grow.
package tally

import (
	"sync/atomic"
	"time"
)

// Ratio counts how often a cache had what was asked for. The zero value is ready.
type Ratio struct{ hits, misses atomic.Uint64 }

// Note counts one look-up.
func (r *Ratio) Note(hit bool) {
	if hit {
		r.hits.Add(1)
		return
	}
	r.misses.Add(1)
}

// Lookups is a Ratio as it was read.
type Lookups struct{ Hits, Misses uint64 }

// Read returns the numbers.
func (r *Ratio) Read() Lookups { return Lookups{r.hits.Load(), r.misses.Load()} }

// Add is the sum of two.
func (l Lookups) Add(o Lookups) Lookups { return Lookups{l.Hits + o.Hits, l.Misses + o.Misses} }

// Histogram counts durations by upper bounds. Make it with NewHistogram.
type Histogram struct {
	bounds []time.Duration
	counts []atomic.Uint64 // one more than bounds: what is above all of them
	sum    atomic.Int64    // nanoseconds
}

// NewHistogram makes one with these upper bounds, which grow.
func NewHistogram(bounds ...time.Duration) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Distribution is a Histogram as it was read.
type Distribution struct {
	Count   uint64
	Sum     float64            // seconds
	Buckets map[float64]uint64 // how many took at most so many seconds
}

// Read returns the numbers. They were never all true at one moment, but no observation is counted twice.
func (h *Histogram) Read() Distribution {
	d := Distribution{Sum: time.Duration(h.sum.Load()).Seconds(), Buckets: make(map[float64]uint64, len(h.bounds))}
	for i := range h.counts {
		d.Count += h.counts[i].Load()
		if i < len(h.bounds) {
			d.Buckets[h.bounds[i].Seconds()] = d.Count
		}
	}
	return d
}
