package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) keyRotate() *cobra.Command {
	var t keyAddress
	c := a.verb("rotate", "Make a new version of a key as its rotation policy says", "The key needs a rotation policy: redoubt key rotation-policy update.", func(ctx context.Context) error {
		h, err := t.open(a)
		if err != nil {
			return err
		}
		k, err := h.RotateKey(ctx, t.name)
		if err != nil {
			return fmt.Errorf("rotate key %s: %w", t.name, err)
		}
		return a.printKey(k)
	})
	t.flags(c)
	return c
}

func (a *app) rotationPolicy() *cobra.Command {
	return group("rotation-policy", "When an HSM rotates a key by itself", a.rotationPolicyShow(), a.rotationPolicyUpdate())
}

func (a *app) rotationPolicyShow() *cobra.Command {
	var t keyAddress
	c := a.verb("show", "Show the rotation policy of a key", "A key without one has no lifetime actions and nothing in expiresIn.", func(ctx context.Context) error {
		h, err := t.open(a)
		if err != nil {
			return err
		}
		p, err := h.RotationPolicy(ctx, t.name)
		if err != nil {
			return fmt.Errorf("show the rotation policy of key %s: %w", t.name, err)
		}
		return a.printPolicy(p)
	})
	t.flags(c)
	return c
}

func (a *app) rotationPolicyUpdate() *cobra.Command {
	var t keyAddress
	var value string
	c := a.verb("update", "Replace the rotation policy of a key", `The policy is JSON, or a file with it:

  {"lifetimeActions": [{"trigger": {"timeAfterCreate": "P18M"}, "action": {"type": "Rotate"}}],
   "attributes": {"expiryTime": "P2Y"}}

A trigger is timeAfterCreate, or timeBeforeExpiry, which needs expiryTime; durations are ISO 8601. Versions are made at
most every 28 days. {"lifetimeActions": [], "attributes": {}} takes the policy away.`, func(ctx context.Context) error {
		p, err := readPolicy(value)
		if err != nil {
			return err
		}
		h, err := t.open(a)
		if err != nil {
			return err
		}
		if p, err = h.SetRotationPolicy(ctx, t.name, p); err != nil {
			return fmt.Errorf("update the rotation policy of key %s: %w", t.name, err)
		}
		return a.printPolicy(p)
	})
	t.flags(c)
	c.Flags().StringVar(&value, "value", "", "the policy as JSON, or the path of a file with it")
	return require(c, "value")
}

// givenPolicy is a policy as az takes it: as the API has it, as az prints it, and in between.
type givenPolicy struct {
	Actions    []givenAction `json:"lifetimeActions"`
	ExpiresIn  string        `json:"expiresIn"`
	ExpiryTime string        `json:"expiryTime"`
	Attributes *struct {
		ExpiryTime string `json:"expiryTime"`
		ExpiresIn  string `json:"expiresIn"`
		Created    any    `json:"created"`
		Updated    any    `json:"updated"`
	} `json:"attributes"`
	ID        any `json:"id"`
	CreatedOn any `json:"createdOn"`
	UpdatedOn any `json:"updatedOn"`
}

type givenAction struct {
	Trigger *givenTrigger `json:"trigger"`
	givenTrigger
	Action givenType `json:"action"`
}

type givenTrigger struct {
	AfterCreate  string `json:"timeAfterCreate"`
	BeforeExpiry string `json:"timeBeforeExpiry"`
}

// givenType is the type of an action, in an object or bare.
type givenType string

// UnmarshalJSON implements json.Unmarshaler.
func (t *givenType) UnmarshalJSON(b []byte) error {
	var o struct {
		Type string `json:"type"`
	}
	if bytes.HasPrefix(b, []byte("{")) {
		err := strictJSON(b, &o)
		*t = givenType(o.Type)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}

// strictJSON refuses members it does not know: a word misspelled must not read as a policy that asks for nothing.
func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind it")
	}
	return nil
}

// readPolicy reads --value.
func readPolicy(value string) (p client.RotationPolicy, err error) {
	text := []byte(value)
	if _, err := os.Stat(value); err == nil {
		if text, err = readFile("rotation policy", value); err != nil {
			return p, err
		}
	} else if !strings.HasPrefix(strings.TrimSpace(value), "{") {
		return p, fmt.Errorf("--value is neither JSON nor a file: %w", err)
	}
	var g givenPolicy
	if err := strictJSON(text, &g); err != nil {
		return p, fmt.Errorf("--value is not a rotation policy: %w", err)
	}
	p.Attributes.ExpiryTime = cmp.Or(g.ExpiresIn, g.ExpiryTime)
	if g.Attributes != nil {
		p.Attributes.ExpiryTime = cmp.Or(g.Attributes.ExpiresIn, g.Attributes.ExpiryTime, p.Attributes.ExpiryTime)
	}
	for _, a := range g.Actions {
		t := a.givenTrigger
		if a.Trigger != nil {
			t = *a.Trigger
		}
		p.Actions = append(p.Actions, client.LifetimeAction{Trigger: client.LifetimeTrigger(t), Action: client.LifetimeType{Type: string(a.Action)}})
	}
	return p, nil
}

// shownPolicy is how az prints a rotation policy.
type shownPolicy struct {
	CreatedOn *string       `json:"createdOn"`
	ExpiresIn *string       `json:"expiresIn"`
	ID        string        `json:"id"`
	Actions   []shownAction `json:"lifetimeActions"`
	UpdatedOn *string       `json:"updatedOn"`
}

type shownAction struct {
	Action       string  `json:"action"`
	AfterCreate  *string `json:"timeAfterCreate"`
	BeforeExpiry *string `json:"timeBeforeExpiry"`
}

func (a *app) printPolicy(p client.RotationPolicy) error {
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	out := shownPolicy{CreatedOn: azTime(p.Attributes.Created), ExpiresIn: text(p.Attributes.ExpiryTime), ID: p.ID, Actions: []shownAction{}, UpdatedOn: azTime(p.Attributes.Updated)}
	for _, l := range p.Actions {
		out.Actions = append(out.Actions, shownAction{l.Action.Type, text(l.Trigger.AfterCreate), text(l.Trigger.BeforeExpiry)})
	}
	return a.print(out, "id", "expiresIn", "createdOn", "updatedOn")
}
