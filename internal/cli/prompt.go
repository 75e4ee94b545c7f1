package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"redoubt/internal/secret"
)

// errNoTerminal: a password is needed and nobody can be asked.
var errNoTerminal = errors.New("there is no terminal to ask for a password on")

// promptTerminal asks on the controlling terminal, so that standard input stays free for data.
func promptTerminal(label string) (secret.Bytes, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return secret.Bytes{}, errNoTerminal
	}
	defer func() { _ = tty.Close() }()
	fmt.Fprint(tty, label+": ")
	b, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("read a password: %w", err)
	}
	return secret.New(b), nil
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
