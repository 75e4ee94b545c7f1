// Package release holds the rules of secure key release: the policy that says to whom an exportable key may be
// released, what of an attestation token counts, and the shape of the answer. It is pure: no I/O, no clock, no
// secrets, no signatures. The device asks it, and package release/authority tells whose tokens are believed.
//
// The policy grammar is Azure's, version 1.0.0 ("Azure Managed HSM secure key release policy grammar"); the page of
// this implementation, with its limits, is docs/formats/key-release.md.
package release

import (
	"errors"

	"redoubt/internal/key"
)

var (
	// ErrBadToken: the attestation token is not a signed JWT that can be read, or lacks what a release needs.
	ErrBadToken = errors.New("attestation token refused")
	// ErrUntrusted: nobody trusted has made the token, or not for now: issuer, signature, times.
	ErrUntrusted = errors.New("attestation token not verified")
	// ErrNotMet: the token does not satisfy the release policy.
	ErrNotMet = errors.New("release policy not met")
)

// refusal is an error whose text is made for the caller: the service's words first. errors.Is finds what kind it is.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, text string) error { return &refusal{kind: kind, text: text} }

func badPolicy(text string) error { return refuse(key.ErrBadParameter, "Key Release Policy: "+text) }
