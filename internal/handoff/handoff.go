// Package handoff is a listener for connections that come from inside the process: a proxy that has read who is
// asked for gives the connection on to the server that answers there.
package handoff

import (
	"net"
	"sync"
)

// Listener is a net.Listener whose connections are given to it. Make it with New; every method may be called from
// any goroutine.
type Listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

// New makes a listener that says it listens on addr.
func New(addr net.Addr) *Listener {
	return &Listener{conns: make(chan net.Conn), done: make(chan struct{}), addr: addr}
}

// Give passes a connection to whoever accepts next. After Close it is net.ErrClosed, and the connection is still the
// caller's.
func (l *Listener) Give(c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.done:
		return net.ErrClosed
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Closing twice is allowed.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.addr }
