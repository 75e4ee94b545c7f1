package handoff_test

import (
	"errors"
	"net"
	"testing"

	"redoubt/internal/handoff"
)

// TestHandoff: a connection that is given is the one that is accepted; after Close neither waits for the other.
func TestHandoff(t *testing.T) {
	t.Parallel()
	l := handoff.New(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7})
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	given := make(chan error, 1)
	go func() { given <- l.Give(there) }()
	got, err := l.Accept()
	if err != nil || got != there {
		t.Errorf("accepted %v, %v", got, err)
	}
	if err := <-given; err != nil {
		t.Error(err)
	}
	if l.Addr().String() != "127.0.0.1:7" {
		t.Errorf("address %s", l.Addr())
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		waiting <- err
	}()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	if err := l.Give(there); !errors.Is(err, net.ErrClosed) {
		t.Errorf("give after close: %v", err)
	}
}
