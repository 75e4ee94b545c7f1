package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/attestation"
	"redoubt/internal/key"
	"redoubt/internal/seal"
)

func (a *app) keyGetAttestation() *cobra.Command {
	var t keyAddress
	var version, file string
	c := a.verb("get-attestation", "Get the evidence of an HSM about a key", `Signed statements that the key is in this HSM, where it came from and what it may do; of the newest version, unless --version names
another. With --file they are written there, for people without access to verify: redoubt key verify-attestation.`, func(ctx context.Context) error {
		if file != "" {
			if err := checkAbsent("attestation", file); err != nil {
				return err
			}
		}
		h, err := t.open(a)
		if err != nil {
			return err
		}
		if version != "" {
			t.version = version
		}
		got, err := h.KeyAttestation(ctx, t.name, t.version)
		if err != nil {
			return fmt.Errorf("get the attestation of key %s: %w", t.name, err)
		}
		e := attestation.Evidence{Certificates: got.Certificates, Private: got.Private, Public: got.Public, Version: got.Version}
		if len(e.Private) == 0 {
			return fmt.Errorf("get the attestation of key %s: the HSM gave none", t.name)
		}
		if root, err := attestation.RootOf(e.Certificates); err == nil {
			a.note("Attestation root (SHA-256): %s. Before it is trusted, compare it with that of redoubt show --hsm-name NAME.", root)
		}
		if file == "" {
			return a.print(rawJSON(e.File()), "version")
		}
		return createPublic("attestation", file, e.File())
	})
	t.flags(c)
	c.Flags().StringVarP(&version, "version", "v", "", "version of the key")
	c.Flags().StringVarP(&file, "file", "f", "", "file to write")
	return c
}

// rawJSON prints as the JSON that it is.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

type verifyAttestation struct{ file, root, domainID string }

func (a *app) keyVerifyAttestation() *cobra.Command {
	var v verifyAttestation
	c := a.verb("verify-attestation", "Check the evidence of an HSM about a key, and say what it proves", `Of the file that key get-attestation wrote (redoubt's or az's). Offline.

Trust comes from outside the file: --root pins one HSM, by the SHA-256 of its attestation root or a PEM file with that certificate;
--domain-id accepts every HSM of a security domain. redoubt show prints both. Without either only the integrity is checked, since
anyone can make evidence with keys of their own. What the key may do and whether it is enabled are as at the time that is printed.
Exit code 4 means that the evidence is not genuine.`, func(context.Context) error { return v.run(a) })
	f := c.Flags()
	f.StringVarP(&v.file, "attestation-file", "f", "", "file that key get-attestation wrote")
	f.StringVar(&v.file, "file", "", "")
	_ = f.MarkHidden("file")
	f.StringVar(&v.root, "root", "", "attestation root of the HSM: 64 hex digits, or a PEM file")
	f.StringVar(&v.domainID, "domain-id", "", "security domain of the HSM")
	c.MarkFlagsOneRequired("attestation-file", "file")
	c.MarkFlagsMutuallyExclusive("attestation-file", "file")
	return c
}

// attested is what evidence proves.
type attested struct {
	Proved   string `json:"proved"` // who made it, as far as is known
	HSM      string `json:"hsm"`
	HSMID    string `json:"hsmId"`
	DomainID string `json:"domainId"`
	Root     string `json:"root"` // SHA-256 of the attestation root

	Key        string              `json:"key"`
	Kty        string              `json:"kty"`
	Bits       *int                `json:"bits"`
	Crv        *string             `json:"crv"`
	Origin     string              `json:"origin"`
	Exportable bool                `json:"exportable"`
	Policy     *attestation.Policy `json:"releasePolicy"`
	Enabled    bool                `json:"enabled"`
	KeyOps     []key.Op            `json:"keyOps"`
	Created    *string             `json:"created"`
	Time       *string             `json:"time"`
	Age        string              `json:"age"`
	Thumbprint *string             `json:"thumbprint"`
	Public     *attestation.JWK    `json:"publicKey"`
}

func (v verifyAttestation) run(a *app) error {
	want, proved, err := v.expect()
	if err != nil {
		return err
	}
	b, err := readFile("attestation", v.file)
	if err != nil {
		return err
	}
	e, err := attestation.ParseFile(b)
	if err != nil {
		return fmt.Errorf("%s: %w", v.file, err)
	}
	p, err := attestation.Verify(e, attestation.Scheme{Verify: seal.VerifyEndorsement, DomainID: seal.DomainIDOf}, want)
	if err != nil {
		return fmt.Errorf("%s: %w", v.file, err)
	}
	if want == (attestation.Expect{}) {
		a.note("Warning: neither --root nor --domain-id is given: integrity only, whoever made it.")
	}
	return a.print(attested{Proved: proved, HSM: p.HSM, HSMID: p.HSMID, DomainID: p.DomainID, Root: p.Root, Key: p.Key, Kty: p.Kty, Bits: unlessZero(p.Bits), Crv: unlessZero(p.Crv),
		Origin: p.Origin, Exportable: p.Exportable, Policy: p.Policy, Enabled: p.Enabled, KeyOps: p.KeyOps, Created: azTime(p.Created), Time: azTime(p.Time),
		Age: age(a.now().Sub(time.Unix(p.Time, 0))), Thumbprint: unlessZero(p.Thumbprint), Public: p.Public},
		"proved", "hsm", "key", "kty", "origin", "exportable", "time")
}

func unlessZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// expect is what the user knows, and what that proves.
func (v verifyAttestation) expect() (want attestation.Expect, proved string, err error) {
	proved = "integrity only"
	if v.domainID != "" {
		if !domainIDText.MatchString(v.domainID) {
			return want, "", wrongUse("%q is not a domain id (sd- and 32 hex digits)", v.domainID)
		}
		want.DomainID, proved = v.domainID, "made by an HSM of the security domain"
	}
	if v.root == "" {
		return want, proved, nil
	}
	if want.Root, err = attestation.ParseFingerprint(v.root); err != nil {
		text, rerr := readFile("attestation root", v.root)
		if errors.Is(rerr, os.ErrNotExist) {
			return want, "", wrongUse("--root %s: there is no such file, and %w", v.root, err)
		}
		if rerr == nil {
			want.Root, rerr = attestation.RootOf(text)
		}
		if rerr != nil {
			return want, "", fmt.Errorf("--root %s: %w", v.root, rerr)
		}
	}
	return want, "made by the HSM of the pinned root", nil
}
