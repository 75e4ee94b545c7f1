package quickack

import (
	"io"
	"net"
	"syscall"
	"testing"
)

// quick tells whether the kernel acknowledges at once on c.
func quick(t *testing.T, c *net.TCPConn) bool {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var v int
	if e := raw.Control(func(fd uintptr) { v, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return v != 0
}

// pair is both ends of a connection.
func pair(t *testing.T) (client net.Conn, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client, c.(*net.TCPConn)
}

// request puts acknowledgements off on the server's side, as the kernel does by itself after some exchanges, and reads
// a request.
func request(t *testing.T, client net.Conn, server *net.TCPConn, as net.Conn) {
	t.Helper()
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(as, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	request(t, client, server, server)
	if quick(t, server) {
		t.Error("a plain connection acknowledges at once: this test proves nothing here")
	}
	request(t, client, server, Wrap(server))
	if !quick(t, server) {
		t.Error("a wrapped connection puts acknowledgements off")
	}
}

func TestWrapOfOthers(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Wrap(a) != a {
		t.Error("a pipe was wrapped")
	}
}
