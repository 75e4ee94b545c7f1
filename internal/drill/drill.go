package drill

import (
	"context"
	"errors"
	"io"
)

// Options configure a drill.
type Options struct {
	Keys   int
	Report string
	Keep   bool
	Out    io.Writer
	Start  func(ctx context.Context, dir string) (Cloud, error)
}

// Cloud is a running dev cloud.
type Cloud struct {
	Env   func(name string) string
	Close func() error
}

// Run runs the drill.
func Run(context.Context, Options) error { return errors.New("not yet") }
