package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/authn"
)

// errUnbelieved is the outcome of a token that is good for neither plane; why has been printed.
var errUnbelieved = errors.New("the token is good for neither plane")

// errNoToken is told without what was given instead: it may be a token.
var errNoToken = errors.New("the token is read from standard input, and there is none: redoubtd config token --config FILE < token.txt; " +
	"as an argument, whoever may list this machine's processes would see it")

func configTokenCommand() *cobra.Command {
	c := withConfig(&cobra.Command{Use: "token --config FILE", Short: "Say who an access token, read from standard input, stands for, and at which plane it is good",
		Example: "  redoubtd config token --config FILE < token.txt",
		Long: `Read an access token from standard input and check it as a server with this configuration would: the issuer's
keys are fetched, the server itself is not asked. What it says of its principal is printed, with the object ids
that roles can be assigned to; the token itself is not. The exit code is 0 if it is good for a plane.`},
		func(c *cobra.Command, cfg Config) error {
			b, err := io.ReadAll(io.LimitReader(c.InOrStdin(), 2*authn.MaxTokenBytes))
			if err != nil {
				return err
			}
			token := strings.TrimPrefix(strings.TrimSpace(string(b)), "Bearer ")
			if token == "" {
				return errNoToken
			}
			return explainToken(c.Context(), cfg, token, c.OutOrStdout())
		})
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 { // cobra's own words would repeat it
			return errNoToken
		}
		return nil
	}
	return c
}

func explainToken(ctx context.Context, cfg Config, token string, out io.Writer) (err error) {
	s := &Server{cfg: cfg, log: slog.New(slog.DiscardHandler), o: ServeOptions{testOnlyClock: time.Now}}
	defer func() { err = errors.Join(err, s.close(0, s.log)) }()
	v, err := s.verifiers()
	if err != nil {
		return err
	}
	good := false
	for _, p := range []struct {
		name string
		*authn.Verifier
	}{{"data plane", v.device}, {"control plane", v.control}} {
		id, err := p.Verify(ctx, token)
		if err != nil {
			fmt.Fprintf(out, "%-14s refused: %v\n", p.name, err)
			continue
		}
		fmt.Fprintf(out, "%-14s good until %s\n", p.name, id.Expires.UTC().Format(time.RFC3339))
		if !good {
			defer describe(out, id)
		}
		good = true
	}
	if !good {
		return errUnbelieved
	}
	return nil
}

// describe prints what a token says of its principal.
func describe(out io.Writer, id authn.Identity) {
	p, kind := id.Principal, "person"
	if id.App {
		kind = "program"
	}
	for _, line := range [][2]string{{"issuer", id.Issuer}, {"audience", id.Audience}, {"kind", kind}, {"object id", p.ID}, {"tenant", p.Tenant}, {"user name", p.UPN},
		{"application", p.AppID}, {"display name", id.Name}} {
		if line[1] != "" {
			fmt.Fprintf(out, "%-14s %q\n", line[0], line[1])
		}
	}
	for _, g := range p.Groups {
		fmt.Fprintf(out, "%-14s %s\n", "group", g)
	}
	if p.GroupsLost != "" {
		fmt.Fprintf(out, "%-14s %s\n", "but", p.GroupsLost)
	}
}
