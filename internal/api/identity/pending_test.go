package identity

import (
	"fmt"
	"testing"
	"time"
)

func TestPendingIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := newPending[int](func() time.Time { return now }, time.Minute)
	for i := range maxPending {
		if !p.add(fmt.Sprint(i), i) {
			t.Fatalf("no room at %d", i)
		}
	}
	if p.add("more", 1) {
		t.Error("no bound")
	}
	now = now.Add(time.Minute)
	if _, ok := p.take("1"); ok {
		t.Error("expired item taken")
	}
	if !p.add("more", 1) {
		t.Error("expired items are not dropped")
	}
}
