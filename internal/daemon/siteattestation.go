package daemon

import (
	"fmt"
	"io"
	"os"
	"slices"

	"redoubt/internal/release"
	trust "redoubt/internal/release/authority"
)

func (c *Config) checkAttestation(bad *problems) {
	for i, a := range c.Attestation {
		if err := release.CheckAuthority(a.URL); err != nil {
			bad.add("attestation.url", "%w", err)
		}
		if slices.ContainsFunc(c.Attestation[:i], func(o AttestationConfig) bool { return release.SameAuthority(o.URL, a.URL) }) {
			bad.add("attestation.url", "%s stands twice", a.URL)
		}
		bad.path("attestation.keys-file", a.KeysFile)
	}
}

// believedAttestation reads the keys of the attestation services that are believed. Nothing is fetched: a release of a key depends on
// this machine's files alone.
func (c *Config) believedAttestation() (*trust.Set, error) {
	var issuers []trust.Issuer
	for _, a := range c.Attestation {
		b, err := readOwn(a.KeysFile, trust.MaxKeys)
		if err != nil {
			return nil, fmt.Errorf("attestation.keys-file: %w", err)
		}
		keys, err := trust.ParseKeys(b)
		if err != nil {
			return nil, fmt.Errorf("attestation.keys-file: %s: %w", a.KeysFile, err)
		}
		issuers = append(issuers, trust.Issuer{URL: a.URL, Keys: keys})
	}
	return trust.New(issuers...)
}

// readOwn reads a file that says whom to believe, and that nobody but its owner may therefore write.
func readOwn(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s can be changed by other users (mode %04o); run: chmod go-w %s", path, info.Mode().Perm(), path)
	}
	return io.ReadAll(io.LimitReader(f, limit+1))
}
