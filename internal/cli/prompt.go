package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"redoubt/internal/secret"
)

// errNoTerminal: a password is needed and nobody can be asked.
var errNoTerminal = errors.New("there is no terminal to ask for a password on")

// promptTerminal asks on the controlling terminal, so that standard input stays free for data. When ctx ends
// (Ctrl-C) the terminal is put right and the reading is left behind.
func promptTerminal(ctx context.Context, label string) (secret.Bytes, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return secret.Bytes{}, errNoTerminal
	}
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return secret.Bytes{}, errNoTerminal
	}
	fmt.Fprint(tty, label+": ")
	type answer struct {
		text []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		b, err := term.ReadPassword(fd)
		answered <- answer{b, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		fmt.Fprintln(tty)
		return secret.Bytes{}, ctx.Err()
	case got := <-answered:
		fmt.Fprintln(tty)
		_ = tty.Close()
		if got.err != nil {
			return secret.Bytes{}, fmt.Errorf("read a password: %w", got.err)
		}
		return secret.New(got.text), nil
	}
}

// readPasswords reads a file of passwords, one a line; an empty line means none.
func readPasswords(path string) ([]secret.Bytes, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read passwords: %w", err)
	}
	defer clear(b)
	var out []secret.Bytes
	for line := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
		out = append(out, secret.New(bytes.Clone(bytes.TrimSuffix(line, []byte("\r")))))
	}
	return out, nil
}

func wipeAll(s []secret.Bytes) {
	for _, x := range s {
		x.Wipe()
	}
}
