package dataplane_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// TestReleaseThroughAKeysLife: what came in is what goes out, of every version, and after key backup and restore; and the policy stays with the key.
func TestReleaseThroughAKeysLife(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	c, officer := as(w, hsmtest.User), as(w, hsmtest.Officer)
	target := map[string]string{"target": s.AttestationToken(map[string]any{"sdk-test": true})}
	refused := map[string]string{"target": s.AttestationToken(map[string]any{"other": true})}
	release := func(path string) []byte {
		t.Helper()
		c.do("POST /keys/"+path+"/release", refused).WantError(403, "Forbidden", "AccessDenied", "claim \"sdk-test\"")
		payload, _ := jws(t, value(t, c.do("POST /keys/"+path+"/release", target)))
		return released(t, payload, "CKM_RSA_AES_KEY_WRAP", sha1.New())
	}
	policy := jwk{"attributes": jwk{"exportable": true}, "release_policy": jwk{"data": policyData, "immutable": true}}

	k := make([]byte, 24)
	_, _ = rand.Read(k)
	old := c.do("PUT /keys/oct", policy.with("key", jwk{"kty": "oct", "k": b64(k)})).Want(200).Map()["key"].(map[string]any)["kid"].(string)[len(keys):]
	c.do("PUT /keys/oct", jwk{"key": jwk{"kty": "oct", "k": b64(make([]byte, 16))}}).Want(200) // inherits
	c.do("POST /keys/oct/create", `{"kty":"oct"}`).Want(200)

	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.do("PUT /keys/rsa", policy.with("key", rsaJWK(t, priv))).Want(200)
	want, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point := ec.PublicKey().Bytes()
	c.do("PUT /keys/ec", policy.with("key", jwk{"kty": "EC", "crv": "P-256", "d": b64(ec.Bytes()), "x": b64(point[1:33]), "y": b64(point[33:])})).Want(200)
	check := func() {
		t.Helper()
		if got := release(old); !bytes.Equal(got, k) {
			t.Errorf("of an older version %x, not %x", got, k)
		}
		if got := release("oct"); len(got) != 32 {
			t.Errorf("of the current version %d bytes", len(got))
		}
		if !bytes.Equal(release("rsa"), want) {
			t.Error("another RSA key")
		}
		if got, err := x509.ParsePKCS8PrivateKey(release("ec")); err != nil {
			t.Error(err)
		} else if same, ok := got.(interface {
			ECDH() (*ecdh.PrivateKey, error)
		}); !ok {
			t.Errorf("%T", got)
		} else if d, err := same.ECDH(); err != nil || !d.Equal(ec) {
			t.Errorf("another EC key, %v", err)
		}
	}
	check()
	for _, name := range []string{"oct", "rsa", "ec"} {
		backup := value(t, c.do("POST /keys/"+name+"/backup", nil))
		before := c.do("GET /keys/"+name, nil).Want(200)
		c.do("DELETE /keys/"+name, nil).Want(200)
		c.do("POST /keys/"+name+"/release", target).WantError(404, "KeyNotFound", "")
		officer.do("DELETE /deletedkeys/"+name, nil).Want(204)
		if back := c.do("POST /keys/restore", map[string]string{"value": backup}).Want(200); !bytes.Equal(back.Body, before.Body) {
			t.Errorf("came back as %s, was %s", back.Body, before.Body)
		}
	}
	check()
	other := b64([]byte(strings.Replace(hsmtest.PolicyText, "sdk-test", "other", 1)))
	c.do("PATCH /keys/rsa", `{"release_policy":{"data":"`+other+`"}}`).WantError(400, "BadParameter", "", "Immutable Key Release Policy cannot be modified")
}
