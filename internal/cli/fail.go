package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"redoubt/internal/attestation"
	"redoubt/internal/audit"
	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/client"
	"redoubt/internal/securitydomain"
)

// Exit codes.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNotFound
	exitNotGenuine
	exitInterrupted = 130
)

// advised is an error that knows what to do next.
type advised struct {
	error
	advice string
}

func (e advised) Unwrap() error { return e.error }

// advise adds what to do next to an error.
func advise(err error, format string, args ...any) error {
	return advised{err, fmt.Sprintf(format, args...)}
}

// usage is an error in the arguments that only the verb itself can see.
type usage struct{ error }

func wrongUse(format string, args ...any) error { return usage{fmt.Errorf(format, args...)} }

// report prints an error and chooses the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		fmt.Fprintln(a.err, "redoubt: interrupted")
		fmt.Fprintln(a.err, "  What was started on an HSM goes on there; security-domain wait, or the verb again, tells how it went.")
		return exitInterrupted
	}
	var u usage
	wrong := !a.began || errors.As(err, &u)
	fmt.Fprintln(a.err, "redoubt: "+oneLine(err.Error()))
	if advice := adviceFor(err); advice != "" {
		fmt.Fprintln(a.err, "  "+advice)
	} else if wrong {
		fmt.Fprintln(a.err, "  Add --help to see what the verb takes.")
	}
	switch {
	case wrong:
		return exitUsage
	case client.IsNotFound(err):
		return exitNotFound
	case errors.Is(err, backup.ErrTampered), errors.Is(err, backup.ErrOtherDomain), errors.Is(err, backup.ErrWrongFolder), errors.Is(err, backup.ErrMissingBlock),
		errors.Is(err, backup.ErrNoManifest), errors.Is(err, audit.ErrBroken), errors.Is(err, errWrongDomain), errors.Is(err, attestation.ErrNotGenuine):
		return exitNotGenuine
	}
	return exitFailed
}

// oneLine keeps a foreign text from breaking the layout or driving the terminal.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if steers(r) {
			return -1
		}
		return r
	}, s)
}

// adviceFor is what to do about an error that does not say so itself. Messages of the service do.
func adviceFor(err error) string {
	var ad advised
	if errors.As(err, &ad) {
		return ad.advice
	}
	var e *client.Error
	switch {
	case errors.Is(err, client.ErrNoCredential), errors.Is(err, client.ErrSignIn):
		return "Sign in with az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; --auth chooses between several ways."
	case errors.Is(err, client.ErrUnreachable):
		return "Check the name, and HTTPS_PROXY and SSL_CERT_FILE if a local cloud is meant (. DIR/env.sh sets them)."
	case errors.Is(err, client.ErrChallenge):
		return "Check --hsm-name or --id, and --suffix: the HSM must ask for tokens of its own domain."
	case errors.Is(err, fs.ErrExist):
		return "Choose another name or move the file away; redoubt never overwrites."
	case errors.Is(err, fs.ErrNotExist):
		return "Check the path."
	case errors.Is(err, fs.ErrPermission):
		return "Check who owns the file and its folder, and their modes."
	case errors.Is(err, securitydomain.ErrBadSecurityDomain):
		return "Compare the file's SHA-256 with that of another copy; every copy of a security domain is the same to the byte."
	case errors.Is(err, backup.ErrOtherDomain):
		return "Use the security domain file of the HSM that made this backup."
	case errors.Is(err, backup.ErrNoManifest):
		return "Check the folder's name; a backup without a manifest was interrupted and cannot be restored."
	case errors.Is(err, backup.ErrTampered), errors.Is(err, backup.ErrMissingBlock):
		return "Do not restore this backup; use another copy or an older one."
	case errors.Is(err, attestation.ErrNotGenuine):
		return "Do not rely on this key; get its attestation anew, and compare what you pinned."
	case errors.Is(err, blob.ErrExpired), errors.Is(err, blob.ErrDenied), errors.Is(err, blob.ErrBadCredential):
		return "Make a new SAS token with the permissions rl for this container, or sign in with a role that may read blobs."
	case errors.As(err, &e) && e.Status == http.StatusUnauthorized:
		return "The token was refused: check the tenant you signed in to, and the clock."
	case errors.As(err, &e) && (e.Code == "AccessDenied" || e.Code == "AuthorizationFailed"):
		return "If somebody else was meant to ask: AZURE_CLIENT_ID and its like go before az login; --auth az asks as az login does."
	}
	return ""
}
