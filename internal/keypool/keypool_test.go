package keypool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	rsa2048 = key.Spec{Type: key.RSA, Bits: 2048, Exponent: 65537}
	rsa4096 = key.Spec{Type: key.RSA, Bits: 4096, Exponent: 65537}
	p256    = key.Spec{Type: key.EC, Curve: key.P256}
)

// forge stands for the slow generator: each key waits for a permit, and is a cheap one in truth.
type forge struct {
	permits       chan error // an error is the generator's
	running, most atomic.Int64
	made          atomic.Int64
	mu            sync.Mutex
	keys          []material.Key // guarded by mu
}

func newForge() *forge { return &forge{permits: make(chan error, 1000)} }

func (f *forge) make(spec key.Spec) (material.Key, error) {
	if spec.Type != key.RSA {
		return material.Generate(spec)
	}
	n := f.running.Add(1)
	defer f.running.Add(-1)
	for m := f.most.Load(); n > m && !f.most.CompareAndSwap(m, n); m = f.most.Load() {
	}
	if err := <-f.permits; err != nil {
		return material.Key{}, err
	}
	f.made.Add(1)
	k, err := material.Generate(key.Spec{Type: key.Oct, Bits: 128})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = append(f.keys, k)
	return k, err
}

func (f *forge) permit(n int) {
	for range n {
		f.permits <- nil
	}
}

func pool(f *forge, workers int, stock map[key.Spec]int) *Pool {
	return New(Options{Workers: workers, Stock: stock, testOnlyMake: f.make})
}

// asked is one Generate under way.
type asked struct {
	done chan struct{}
	k    material.Key
	err  error
}

func ask(ctx context.Context, p *Pool, spec key.Spec) *asked {
	a := &asked{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.k, a.err = p.Generate(ctx, spec)
	}()
	return a
}

func (a *asked) over() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// No more than the bound at once, whoever asks; the others wait, and leave when their context ends.
func TestBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newForge()
		p := pool(f, 2, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var all []*asked
		for range 5 {
			all = append(all, ask(t.Context(), p, rsa2048))
		}
		synctest.Wait()
		gone := ask(ctx, p, rsa4096)
		synctest.Wait()
		if f.running.Load() != 2 {
			t.Errorf("%d keys are being made, want 2", f.running.Load())
		}
		if k, err := p.Generate(t.Context(), p256); err != nil || k.Spec() != p256 {
			t.Errorf("an EC key while RSA waits: %v", err)
		}
		cancel()
		synctest.Wait()
		if !gone.over() || !errors.Is(gone.err, context.Canceled) {
			t.Errorf("the caller who left: %v", gone.err)
		}
		f.permit(5)
		synctest.Wait()
		for _, a := range all {
			if !a.over() || a.err != nil {
				t.Errorf("not served: %v", a.err)
			}
		}
		if f.most.Load() != 2 || f.made.Load() != 5 {
			t.Errorf("%d at once, %d made; want 2, 5", f.most.Load(), f.made.Load())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The stock is filled from the first key of its size on, and no further than its size; a key is handed out once.
func TestStock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newForge()
		p := pool(f, 2, map[key.Spec]int{rsa2048: 3, rsa4096: 1})
		synctest.Wait()
		if f.running.Load() != 0 {
			t.Error("keys are made before anybody asked")
		}
		f.permit(100)
		first := ask(t.Context(), p, rsa2048)
		synctest.Wait()
		if !first.over() || f.made.Load() != 4 {
			t.Fatalf("after the first key %d were made, want it and 3", f.made.Load())
		}
		for len(f.permits) > 0 {
			<-f.permits
		}
		seen := map[string]bool{marshal(first.k): true}
		for i := range 3 { // served although nothing can be made now
			k, err := p.Generate(t.Context(), rsa2048)
			if err != nil || seen[marshal(k)] {
				t.Fatalf("key %d of the stock: handed out before %v, %v", i, seen[marshal(k)], err)
			}
			seen[marshal(k)] = true
		}
		for _, sh := range p.Shelves() {
			want := Shelf{Spec: rsa4096, Full: 1}
			if sh.Spec == rsa2048 {
				want = Shelf{Spec: rsa2048, Full: 3, Asked: tally.Lookups{Hits: 3, Misses: 1}}
			}
			if sh != want {
				t.Errorf("the stock is %+v, want %+v", sh, want)
			}
		}
		synctest.Wait()
		if f.running.Load() != 1 {
			t.Errorf("%d fillers are at work, want 1", f.running.Load())
		}
		f.permit(3)
		synctest.Wait()
		if f.made.Load() != 7 || f.running.Load() != 0 {
			t.Errorf("%d made, %d being made; want 7, 0", f.made.Load(), f.running.Load())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		wiped := 0
		for _, k := range f.keys {
			if _, err := k.Export(); errors.Is(err, material.ErrWiped) {
				wiped++
			} else if !seen[marshal(k)] {
				t.Error("a key of the stock lives on")
			}
		}
		if wiped != 3 {
			t.Errorf("%d keys wiped, want the 3 of the stock", wiped)
		}
	})
}

func marshal(k material.Key) string { return string(k.Marshal().Expose()) }

// A caller who waits for a turn takes a key that comes into stock meanwhile.
func TestWaiterTakesFromStock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newForge()
		p := pool(f, 1, map[key.Spec]int{rsa2048: 1})
		f.permit(1)
		if _, err := p.Generate(t.Context(), rsa2048); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the filler holds the only slot
		waiting := ask(t.Context(), p, rsa2048)
		synctest.Wait()
		f.permit(1)
		synctest.Wait()
		if !waiting.over() || waiting.err != nil || f.made.Load() != 2 {
			t.Errorf("%d made, %v", f.made.Load(), waiting.err)
		}
		f.permit(1)
		synctest.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A generator that fails tells the caller, stops the filler, and is tried again by the next caller.
func TestFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, broken := newForge(), errors.New("broken")
		p := pool(f, 1, map[key.Spec]int{rsa2048: 2})
		f.permits <- broken
		f.permits <- broken
		if _, err := p.Generate(t.Context(), rsa2048); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		if f.running.Load() != 0 {
			t.Error("the filler goes on")
		}
		f.permit(3)
		if _, err := p.Generate(t.Context(), rsa2048); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if f.made.Load() != 3 {
			t.Errorf("%d made, want 3", f.made.Load())
		}
		for _, spec := range []key.Spec{{}, {Type: key.RSA, Bits: 1024}, {Type: key.RSA, Exponent: 2}} {
			if _, err := p.Generate(t.Context(), spec); !errors.Is(err, key.ErrBadParameter) {
				t.Errorf("%+v: %v", spec, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Close ends those who wait, waits for the filler and leaves nothing behind; it may be called again.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newForge()
		p := pool(f, 1, map[key.Spec]int{rsa2048: 4})
		f.permit(1)
		if _, err := p.Generate(t.Context(), rsa2048); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the filler holds the only slot
		waiting := ask(t.Context(), p, rsa4096)
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- p.Close() }()
		synctest.Wait()
		if !waiting.over() || !errors.Is(waiting.err, ErrClosed) {
			t.Errorf("who waited: %v", waiting.err)
		}
		f.permit(1) // the filler's key gets done, and no other is begun
		if err := <-closed; err != nil || f.made.Load() != 2 {
			t.Errorf("%d made, %v", f.made.Load(), err)
		}
		if _, err := p.Generate(t.Context(), rsa2048); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.keys[1].Export(); !errors.Is(err, material.ErrWiped) {
			t.Errorf("the filler's last key: %v", err)
		}
	})
}

// The real thing once: the keys are what was asked for.
func TestRealKeys(t *testing.T) {
	t.Parallel()
	p := New(Options{Stock: map[key.Spec]int{rsa2048: 1}})
	defer p.Close()
	for _, spec := range []key.Spec{{Type: key.RSA}, rsa2048, {Type: key.RSA, Bits: 2048, Exponent: 3}, {Type: key.Oct, Bits: 192}, {Type: key.EC, Curve: key.P256K}} {
		want, _ := key.NewSpec(spec.Type, spec.Bits, spec.Curve, spec.Exponent)
		if k, err := p.Generate(t.Context(), spec); err != nil || k.Spec() != want {
			t.Errorf("%s: %s, %v", want, k.Spec(), err)
		}
	}
	for spec, n := range Stock() {
		if want, err := key.NewSpec(spec.Type, spec.Bits, spec.Curve, spec.Exponent); err != nil || want != spec || n < 1 {
			t.Errorf("the stock has %d of %+v", n, spec)
		}
	}
}
