package main

import (
	"encoding/json"
	"os"
	"strings"
)

// release is what az has for secure key release: policies at create and set-attributes. The release itself is for
// programs inside a trusted environment, and no command of az.
func (s *session) release() {
	n := s.name("released")
	policy := func(claim string) string {
		return string(must(json.Marshal(map[string]any{"version": "1.0.0", "anyOf": []any{map[string]any{"authority": env("REDOUBT_ATTESTATION"),
			"allOf": []any{map[string]any{"claim": claim, "equals": "true"}}}}})))
	}
	file := s.file("release.json")
	fatal(os.WriteFile(file, []byte(policy("first")), 0o600))
	var b bundle
	s.key(&b, "create", "--name", n, "--kty", "RSA-HSM", "--size", "2048", "--exportable", "true", "--policy", file)
	want(b.Attributes.Exportable && b.ReleasePolicy != nil && !b.ReleasePolicy.Immutable, "%s: %+v", n, b)
	s.refusedKey("release policy", "create", "--name", s.prefix+"nobody", "--kty", "RSA-HSM", "--exportable", "true")
	s.key(&b, "set-attributes", "--name", n, "--policy", policy("second"), "--immutable", "true")
	want(b.ReleasePolicy != nil && b.ReleasePolicy.Immutable, "%s: %+v", n, b)
	s.refusedKey("mmutable", "set-attributes", "--name", n, "--policy", policy("third"))
	step("release policies set, changed, and made immutable")
	for _, option := range []string{"--default-cvm-policy", "--default-data-disk-policy"} { // az asks the control plane for the attestation service
		s.key(&b, "create", "--name", s.name("release"+option), "--kty", "RSA-HSM", "--exportable", "true", option)
		want(b.ReleasePolicy != nil && strings.Contains(b.ReleasePolicy.EncodedPolicy, env("REDOUBT_ATTESTATION")), "%s: %+v", option, b.ReleasePolicy)
	}
	step("az's own release policies for confidential machines")
}
