package cli

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

const shownPolicyBody = `{"id":"https://contosomhsm.managedhsm.azure.net/keys/k/rotationpolicy","lifetimeActions":[{"trigger":{"timeAfterCreate":"P18M"},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P2Y","created":1767323045,"updated":1767323046}}`

// Policies go over the wire in the API's form, in whichever of az's forms they were given.
func TestRotationPolicyUpdate(t *testing.T) {
	t.Parallel()
	const full = `{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P18M"},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P2Y"}}`
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(full), 0o600); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		full: full,
		file: full,
		` {"lifetimeActions":[{"action":"Rotate","timeAfterCreate":"P18M","timeBeforeExpiry":null}],"expiresIn":"P2Y","id":"x","createdOn":"y","updatedOn":null}`:                             full,
		`{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P18M","timeBeforeExpiry":null},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P2Y","created":1,"updated":2},"id":null}`: full,
		`{"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P28D"},"action":{"type":"Rotate"}}],"expiryTime":"P1Y"}`:                                                                         `{"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P28D"},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P1Y"}}`,
		`{"lifetimeActions": [], "attributes": {}}`: `{"lifetimeActions":[],"attributes":{}}`,
	} {
		got := ""
		w := &wire{routes: map[string]http.HandlerFunc{"PUT contosomhsm.managedhsm.azure.net/keys/k/rotationpolicy": func(rw http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got = string(b)
			answer(rw, 200, shownPolicyBody)
		}}}
		run(t, w, nil, "key", "rotation-policy", "update", "--hsm-name", "contosomhsm", "--name", "k", "--value", given).want(t, 0, `"expiresIn": "P2Y"`)
		if got != want {
			t.Errorf("%s went as %s", given, got)
		}
	}
	for given, word := range map[string]string{"": "neither JSON nor a file", "policy.json": "neither JSON nor a file", `{"lifetimeAction":[]}`: "lifetimeAction", `{"attributes":{"expiry":"P1Y"}}`: "expiry",
		`{"lifetimeActions":[{"action":{"typ":"Rotate"}}]}`: "typ", `{} {}`: "something behind it", `{"expiresIn":5}`: "expiresIn", t.TempDir(): "is a folder"} {
		run(t, &wire{}, nil, "key", "rotation-policy", "update", "--hsm-name", "contosomhsm", "--name", "k", "--value", given).want(t, 1, word)
	}
}

func TestRotationPolicyShowAndRotate(t *testing.T) {
	t.Parallel()
	const base = "contosomhsm.managedhsm.azure.net/keys/"
	w := &wire{routes: map[string]http.HandlerFunc{
		"GET " + base + "k/rotationpolicy":     says(200, shownPolicyBody),
		"GET " + base + "plain/rotationpolicy": says(200, `{"id":"x","lifetimeActions":[],"attributes":{}}`),
		"POST " + base + "k/rotate":            says(200, `{"key":{"kid":"https://`+base+`k/1","kty":"oct-HSM","key_ops":[]},"attributes":{"enabled":true,"exp":1767323045}}`),
		"POST " + base + "plain/rotate":        says(400, `{"error":{"code":"BadParameter","message":"Key plain has no rotation policy"}}`),
	}}
	run(t, w, nil, "key", "rotation-policy", "show", "--id", "https://"+base+"k").want(t, 0, `{
  "createdOn": "2026-01-02T03:04:05+00:00",
  "expiresIn": "P2Y",
  "id": "https://contosomhsm.managedhsm.azure.net/keys/k/rotationpolicy",
  "lifetimeActions": [
    {
      "action": "Rotate",
      "timeAfterCreate": "P18M",
      "timeBeforeExpiry": null
    }
  ],
  "updatedOn": "2026-01-02T03:04:06+00:00"
}`)
	run(t, w, nil, "key", "rotation-policy", "show", "--hsm-name", "contosomhsm", "-n", "plain").want(t, 0, `"expiresIn": null`, `"lifetimeActions": []`)
	run(t, w, nil, "key", "rotate", "--hsm-name", "contosomhsm", "-n", "k").want(t, 0, `"kid": "https://`+base+`k/1"`, `"expires": "2026-01-02T03:04:05+00:00"`)
	run(t, w, nil, "key", "rotate", "--hsm-name", "contosomhsm", "-n", "plain").want(t, 1, "has no rotation policy")
	run(t, w, nil, "key", "rotate", "--hsm-name", "contosomhsm").want(t, 2, "--name is needed")
}
