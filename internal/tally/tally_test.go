package tally

import (
	"reflect"
	"sync"
	"testing"
	"time"
)

func TestRatio(t *testing.T) {
	t.Parallel()
	var r Ratio
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() { r.Note(i%3 == 0) })
	}
	wg.Wait()
	if got := r.Read().Add(Lookups{1, 2}); got != (Lookups{101, 202}) {
		t.Errorf("%+v", got)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	h := NewHistogram(time.Millisecond, time.Second)
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, time.Second, time.Second + 1, time.Hour} {
		h.Observe(d)
	}
	got := h.Read()
	want := Distribution{Count: 6, Sum: (2*time.Millisecond + 2*time.Second + time.Hour + 2).Seconds(), Buckets: map[float64]uint64{0.001: 2, 1: 4}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func BenchmarkHistogram(b *testing.B) {
	h := NewHistogram(time.Microsecond, time.Millisecond, 10*time.Millisecond, time.Second)
	b.ReportAllocs()
	for b.Loop() {
		h.Observe(3 * time.Millisecond)
	}
}
