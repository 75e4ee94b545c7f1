package syslog

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"redoubt/internal/audit"
)

// sources are the chains of a folder, each read on from where it was confirmed.
type sources struct {
	s    *Sender
	list []*source
	turn int // whose lines are given out
	n    int // how many in this turn
}

// turnMost is how many lines of one chain are sent before another one's turn comes.
const turnMost = 1000

type source struct {
	chain string // path
	r     *audit.Reader
	sent  audit.Position // behind the last line that was given out; zero: none was
	bad   bool           // it cannot be read; the log says so
	more  bool           // its turn ended before its lines did
}

// line is what next gives out.
type line struct {
	audit.Line
	chain string // name, without folder and ending
}

func (s *Sender) sources() *sources {
	return &sources{s: s}
}

// refresh takes up the chains that have come.
func (x *sources) refresh() error {
	chains, err := audit.Chains(x.s.cfg.Dir)
	for _, c := range chains {
		if !slices.ContainsFunc(x.list, func(o *source) bool { return o.chain == c }) {
			x.list = append(x.list, &source{chain: c})
		}
	}
	return err
}

// next gives out one more line; nil: there is none now. A chain that cannot be read does not keep the others from being sent.
func (x *sources) next() (*line, error) {
	if x.turn == 0 && x.n == 0 {
		if err := x.refresh(); err != nil {
			return nil, err
		}
	}
	for ; x.turn < len(x.list); x.turn, x.n = x.turn+1, 0 {
		c := x.list[x.turn]
		if c.more = x.n == turnMost; c.bad || c.more {
			continue
		}
		ln, err := x.s.read(c)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			c.bad = true
			x.s.cfg.Log.Error("an audit log cannot be read to send it to the syslog receiver; it is tried again", "file", c.chain, "error", err)
			continue
		}
		x.n++
		name := filepath.Base(c.chain)
		return &line{ln, strings.TrimSuffix(name, filepath.Ext(name))}, nil
	}
	again := slices.ContainsFunc(x.list, func(c *source) bool { return c.more })
	for _, c := range x.list {
		c.more = false
	}
	if x.turn, x.n = 0, 0; again {
		return x.next()
	}
	return nil, nil
}

// read reads the next line of a chain, as far as its writer stands for it.
func (s *Sender) read(c *source) (audit.Line, error) {
	if c.r == nil {
		s.mu.Lock()
		from := s.done[c.chain]
		s.mu.Unlock()
		r, err := audit.NewReader(c.chain, from)
		if errors.Is(err, audit.ErrBroken) {
			s.cfg.Log.Error("an audit log is not the one that was sent to the syslog receiver; what there is of it is sent again", "file", c.chain, "error", err)
			r, err = audit.NewReader(c.chain, audit.Position{})
		}
		if err != nil {
			return audit.Line{}, err
		}
		c.r = r
	}
	if h, ok := s.cfg.Head(c.chain); ok && c.r.Position().Seq >= h.Seq {
		return audit.Line{}, io.EOF
	}
	ln, err := c.r.Next()
	if err == nil {
		c.sent = c.r.Position()
	}
	return ln, err
}

func (x *sources) close() {
	for _, c := range x.list {
		if c.r != nil {
			_ = c.r.Close() // only read
		}
	}
}
