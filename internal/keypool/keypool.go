// Package keypool makes key material for all HSMs of a process: never more RSA keys at once than there are
// processors, and the usual ones a little ahead of time.
//
// An RSA key takes from a tenth of a second to seconds of one processor. Without a bound, a few callers who
// create keys could take every processor from those who use theirs. With a stock, the second key of a size is
// there at once. Sizes that nobody asks for cost nothing.
package keypool

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/tally"
)

// ErrClosed: the pool was closed.
var ErrClosed = errors.New("keypool: closed")

// Options say how much a pool may do. The zero value bounds and keeps no stock.
type Options struct {
	Workers int // RSA keys made at once; 0: GOMAXPROCS
	// Stock is how many keys of a spec are kept ready, from the first one asked for on. RSA only.
	Stock map[key.Spec]int

	testOnlyMake func(key.Spec) (material.Key, error) // in the place of material.Generate
}

// Stock is a small stock of the RSA keys people create: about four processor-seconds to fill, all of it.
func Stock() map[key.Spec]int {
	return map[key.Spec]int{
		{Type: key.RSA, Bits: 2048, Exponent: 65537}: 4,
		{Type: key.RSA, Bits: 3072, Exponent: 65537}: 2,
		{Type: key.RSA, Bits: 4096, Exponent: 65537}: 1,
	}
}

// Pool makes keys. Methods may be called from any goroutine.
type Pool struct {
	make    func(key.Spec) (material.Key, error)
	slots   chan struct{} // a token for each key being made
	shelves map[key.Spec]*shelf

	life   context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	closing bool           // guarded by mu: no new filler
	work    sync.WaitGroup // fillers
}

// shelf is the stock of one spec.
type shelf struct {
	asked   tally.Ratio       // was a key ready
	ready   chan material.Key // as long as the stock is large
	filling bool              // guarded by Pool.mu: a filler is at work
}

// New makes a pool. It starts nothing: the first filler runs when the first key of a stocked spec was made.
func New(o Options) *Pool {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.testOnlyMake == nil {
		o.testOnlyMake = material.Generate
	}
	p := &Pool{make: o.testOnlyMake, slots: make(chan struct{}, o.Workers), shelves: make(map[key.Spec]*shelf)}
	for spec, n := range o.Stock {
		if n > 0 && spec.Type == key.RSA {
			p.shelves[spec] = &shelf{ready: make(chan material.Key, n)}
		}
	}
	p.life, p.cancel = context.WithCancel(context.Background())
	return p
}

// Generate returns a key of spec that nobody else gets. RSA keys come from the stock or wait for their turn,
// until ctx ends; one that is being made is made to its end. Other keys take microseconds and are made at once.
func (p *Pool) Generate(ctx context.Context, spec key.Spec) (material.Key, error) {
	spec, err := key.NewSpec(spec.Type, spec.Bits, spec.Curve, spec.Exponent)
	if err != nil {
		return material.Key{}, fmt.Errorf("generate: %w", err)
	}
	if spec.Type != key.RSA {
		return p.make(spec)
	}
	if p.life.Err() != nil {
		return material.Key{}, ErrClosed
	}
	sh := p.shelves[spec]
	var ready chan material.Key // nil, which never gives any, without a stock
	if sh != nil {
		ready = sh.ready
		defer p.fill(spec, sh)
	}
	select {
	case k := <-ready:
		sh.asked.Note(true)
		return k, nil
	default:
	}
	if sh != nil {
		sh.asked.Note(false)
	}
	select {
	case k := <-ready:
		return k, nil
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
		return p.make(spec)
	case <-p.life.Done():
		return material.Key{}, ErrClosed
	case <-ctx.Done():
		return material.Key{}, fmt.Errorf("wait for a turn to make an RSA key: %w", ctx.Err())
	}
}

// Shelf is the stock of one spec.
type Shelf struct {
	Spec        key.Spec
	Ready, Full int           // keys there are, and that there may be
	Asked       tally.Lookups // a hit is a key that was ready
}

// Shelves tells what is in stock.
func (p *Pool) Shelves() []Shelf {
	out := make([]Shelf, 0, len(p.shelves))
	for spec, sh := range p.shelves {
		out = append(out, Shelf{Spec: spec, Ready: len(sh.ready), Full: cap(sh.ready), Asked: sh.asked.Read()})
	}
	return out
}

// fill starts a filler for a shelf unless one is at work or there is nothing to do.
func (p *Pool) fill(spec key.Spec, sh *shelf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing || sh.filling || len(sh.ready) == cap(sh.ready) {
		return
	}
	sh.filling = true
	p.work.Go(func() { p.filler(spec, sh) })
}

// filler makes keys, one at a time and each in its turn, until the shelf is full. One that fails leaves it to
// the next Generate, which will tell its caller.
func (p *Pool) filler(spec key.Spec, sh *shelf) {
	for more := true; more; {
		err := p.add(spec, sh)
		p.mu.Lock()
		more = err == nil && len(sh.ready) < cap(sh.ready)
		sh.filling = more
		p.mu.Unlock()
	}
}

// add waits for a slot and makes a key for the shelf. The key is there before the slot is free, so that a caller
// who waits for either takes the key.
func (p *Pool) add(spec key.Spec, sh *shelf) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-p.life.Done():
		return ErrClosed
	}
	if p.life.Err() != nil { // both were possible
		return ErrClosed
	}
	k, err := p.make(spec)
	if err != nil {
		return err
	}
	select {
	case sh.ready <- k:
	default: // cannot be: there is one filler for each shelf
		k.Wipe()
	}
	return nil
}

// Close ends the fillers, waiting for the key that one may be making, and wipes the stock. Calls of Generate
// that wait for their turn end with ErrClosed.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
	for _, sh := range p.shelves {
		for range len(sh.ready) {
			select {
			case k := <-sh.ready:
				k.Wipe()
			default:
			}
		}
	}
	return nil
}
