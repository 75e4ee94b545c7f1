package quickack

import (
	"net"
	"syscall"
)

type conn struct {
	net.Conn
	raw syscall.RawConn
}

// Wrap returns c, acknowledging at once what is read from it. What is not a TCP connection stays as it is.
func Wrap(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	return &conn{Conn: c, raw: raw}
}

// Read implements net.Conn. The kernel goes back to putting off by itself (tcp(7), TCP_QUICKACK), so it is told
// after every read; this also sends what it has put off already.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		_ = c.raw.Control(func(fd uintptr) { // without it the peer is slower, no more
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
		})
	}
	return n, err
}
