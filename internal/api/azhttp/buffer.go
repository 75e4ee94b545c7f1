package azhttp

import (
	"errors"
	"io"
	"sync"
)

// buffer holds the body of a request or of an answer. Buffers are used again and again; what was in one is
// wiped before it goes back, because it may have been a key or a plaintext. (The buffers of net/http and
// crypto/tls, through which the same bytes go, are out of reach.)
type buffer struct{ b []byte }

const (
	newSize  = 4 << 10
	keepSize = 64 << 10 // larger ones are left to the garbage collector
	minRead  = 512      // room that a read is given at least
)

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, newSize)} }}

func newBuffer() *buffer { return buffers.Get().(*buffer) }

// free wipes the buffer and puts it back.
func (b *buffer) free() {
	clear(b.b)
	if cap(b.b) <= keepSize {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// set replaces the content by what extends it, an append to b.b[:0] that may have moved away.
func (b *buffer) set(content []byte) {
	if old := b.b[:cap(b.b)]; cap(content) > cap(old) {
		clear(old)
	}
	b.b = content
}

// room makes room for n more bytes and leaves no copy of the others behind.
func (b *buffer) room(n int) {
	if cap(b.b)-len(b.b) < n {
		b.set(append(make([]byte, 0, 2*cap(b.b)+n), b.b...))
	}
}

// readAll fills an empty buffer from r to its end. expect is how much will come, less than 0 when nobody said.
func (b *buffer) readAll(r io.Reader, expect int64) error {
	b.b = b.b[:0]
	if expect > 0 && expect < keepSize {
		b.room(int(expect) + 1) // the end is found behind it
	}
	for {
		if len(b.b) == cap(b.b) {
			b.room(minRead)
		}
		n, err := r.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
