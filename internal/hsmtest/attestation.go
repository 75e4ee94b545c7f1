package hsmtest

import (
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"sync"

	"redoubt/internal/api/attest"
	"redoubt/internal/key"
	"redoubt/internal/release/authority"
)

// Attestation is the issuer of the site's attestation tokens.
const Attestation = "https://redoubt.attest.azure.net"

// Recipient is the RSA key of an attested environment, the same for all tests of the process.
var Recipient = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func (s *Site) openAttestation() *authority.Set {
	s.T.Helper()
	var err error
	s.Attest, err = attest.New(attest.Config{Key: issuerKey(), Base: func(string) string { return Attestation }, Clock: s.Clock.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.T.Fatal(err)
	}
	set, err := authority.New(authority.Issuer{URL: Attestation, Keys: s.Attest.Keys()})
	if err != nil {
		s.T.Fatal(err)
	}
	return set
}

// AttestationToken is a genuine attestation token with claims, for the owner of Recipient.
func (s *Site) AttestationToken(claims map[string]any) string {
	s.T.Helper()
	t, err := s.Attest.Token(Attestation, &Recipient().PublicKey, claims)
	if err != nil {
		s.T.Fatal(err)
	}
	return t
}

// Policy is a release policy, met by tokens of the site with claim sdk-test.
func Policy() *key.ReleasePolicy {
	return &key.ReleasePolicy{Data: []byte(PolicyText)}
}

// PolicyText is the normal form of Policy.
const PolicyText = `{"anyOf":[{"allOf":[{"claim":"sdk-test","equals":"true"}],"authority":"` + Attestation + `"}],"version":"1.0.0"}`
