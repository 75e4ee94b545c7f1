package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

// releaseFlags say to whom a key may be released, as az's flags do.
type releaseFlags struct{ policy, exportable, immutable string }

func (r *releaseFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.policy, "policy", "", "release policy: a file of JSON, or the JSON itself")
	yesNoFlag(c, &r.immutable, "immutable", "the policy can never be changed")
}

func (r *releaseFlags) exportableFlag(c *cobra.Command) {
	yesNoFlag(c, &r.exportable, "exportable", "the key may be released according to its policy")
}

// read returns what was given, nil for what was not.
func (r *releaseFlags) read() (policy *client.ReleasePolicy, exportable *bool, err error) {
	if exportable, err = yesOrNo("--exportable", r.exportable); err != nil {
		return nil, nil, err
	}
	immutable, err := yesOrNo("--immutable", r.immutable)
	if err != nil {
		return nil, nil, err
	}
	if r.policy == "" {
		if immutable != nil {
			return nil, nil, wrongUse("--immutable goes with --policy")
		}
		return nil, exportable, nil
	}
	text := []byte(r.policy)
	if !strings.HasPrefix(strings.TrimSpace(r.policy), "{") {
		if text, err = readFile("release policy", r.policy); err != nil {
			return nil, nil, err
		}
	}
	if !json.Valid(text) {
		return nil, nil, fmt.Errorf("the release policy %s is not JSON", oneLine(shorten(r.policy, 60)))
	}
	return &client.ReleasePolicy{Data: text, Immutable: immutable != nil && *immutable}, exportable, nil
}

// yesNoFlag is a flag of which az tells three states: left out, true (alone, too) and false.
func yesNoFlag(c *cobra.Command, to *string, name, usage string) {
	c.Flags().StringVar(to, name, "", usage+": true or false")
	c.Flags().Lookup(name).NoOptDefVal = "true"
}

// yesOrNo is the value of such a flag, nil when it was left out.
func yesOrNo(flag, s string) (*bool, error) {
	if s == "" {
		return nil, nil
	}
	yes := yesNo[strings.ToLower(s)]
	if yes == "" {
		return nil, wrongUse("%s %s: use true or false", flag, s)
	}
	on := yes == "true"
	return &on, nil
}

func shorten(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// shownRelease is how az prints a release policy.
type shownRelease struct {
	ContentType string `json:"contentType"`
	Data        string `json:"encodedPolicy"` // the policy's text
	Immutable   bool   `json:"immutable"`
}

func showPolicy(p *client.ReleasePolicy) *shownRelease {
	if p == nil {
		return nil
	}
	return &shownRelease{p.ContentType, string(p.Data), p.Immutable}
}
