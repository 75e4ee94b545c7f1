package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// keys are create, show, list, list-versions, set-attributes.
func (s *session) keys() {
	for _, bits := range []int{2048, 3072} {
		var b bundle
		n := s.name(fmt.Sprintf("rsa-%d", bits))
		s.key(&b, "create", "--name", n, "--kty", "RSA-HSM", "--size", strconv.Itoa(bits))
		s.check(&b, n, "RSA-HSM")
		equal(len(b.Key.N)*8, bits, n+": bits")
	}
	for curve, bytes := range map[string]int{"P-256": 32, "P-384": 48, "P-521": 66, "P-256K": 32} {
		var b bundle
		n := s.name("ec-" + curve)
		s.key(&b, "create", "--name", n, "--kty", "EC-HSM", "--curve", curve)
		s.check(&b, n, "EC-HSM")
		equal(b.Key.Crv, curve, n+": curve")
		want(len(b.Key.X) == bytes && len(b.Key.Y) == bytes, "%s: coordinates of %d and %d bytes", n, len(b.Key.X), len(b.Key.Y))
	}
	for _, bits := range []int{128, 192, 256} {
		var b bundle
		n := s.name(fmt.Sprintf("oct-%d", bits))
		s.key(&b, "create", "--name", n, "--kty", "oct-HSM", "--size", strconv.Itoa(bits))
		s.check(&b, n, "oct-HSM")
	}
	step("created RSA-HSM, EC-HSM and oct-HSM keys of each size and curve")
	s.attributes()
	s.lists()
	s.refusedKey("KeyNotFound", "show", "--name", s.prefix+"nobody")
	s.refusedKey("BadParameter", "create", "--name", s.prefix+"nobody", "--kty", "RSA-HSM", "--size", "1024")
	s.refusedKey("BadParameter", "create", "--name", "under_score", "--kty", "EC-HSM", "--curve", "P-256")
	step("keys that are not there, and such as cannot be")
}

// attributes makes a key with each of them, and changes them.
func (s *session) attributes() {
	const from, to = "2020-01-01T00:00:00Z", "2041-01-01T00:00:00Z"
	n := s.name("attributes")
	var made, shown, changed bundle
	s.key(&made, "create", "--name", n, "--kty", "EC", "--curve", "P-256", "--protection", "hsm", "--ops", "sign", "verify", "--tags", "team=payroll", "a=b",
		"--not-before", from, "--expires", to, "--disabled", "true")
	s.check(&made, n, "EC-HSM")
	want(!made.Attributes.Enabled && made.Tags["team"] == "payroll" && len(made.Tags) == 2, "%s: %+v", n, made)
	want(slices.Equal(slices.Sorted(slices.Values(made.Key.KeyOps)), []string{"sign", "verify"}), "%s: operations %v", n, made.Key.KeyOps)
	equal(made.Attributes.Expires.Format(time.RFC3339), to, n+": expires")
	equal(made.Attributes.NotBefore.Format(time.RFC3339), from, n+": not before")
	s.refusedKey("disabled", "sign", "--name", n, "--algorithm", "ES256", "--digest", base64Of(digestOf("ES256", text)))

	s.key(&changed, "set-attributes", "--name", n, "--enabled", "true", "--ops", "verify", "--tags", "c=d", "--expires", "2042-01-01T00:00:00Z")
	want(changed.Attributes.Enabled && len(changed.Tags) == 1 && changed.Tags["c"] == "d" && slices.Equal(changed.Key.KeyOps, []string{"verify"}), "%s: %+v", n, changed)
	equal(changed.Attributes.Expires.Year(), 2042, n+": expires after set-attributes")
	s.key(&changed, "set-attributes", "--name", n, "--version", made.version(), "--enabled", "false")
	want(!changed.Attributes.Enabled && slices.Equal(changed.Key.KeyOps, []string{"verify"}), "%s: %+v", n, changed)
	for _, args := range [][]string{{"--name", n}, {"--name", n, "--version", made.version()}} {
		s.key(&shown, "show", args...)
		equal(shown.Key.Kid, made.Key.Kid, "what show says")
	}
	s.json(&shown, "keyvault", "key", "show", "--id", made.Key.Kid)
	equal(string(shown.Key.X), string(made.Key.X), "what show says by id")
	step("attributes, tags and operations set, shown and changed")
}

// lists makes more versions than a page holds.
func (s *session) lists() {
	n := s.name("versions")
	made := map[string]bool{}
	for _, curve := range []string{"P-256", "P-384", "P-521"} {
		var b bundle
		s.key(&b, "create", "--name", n, "--kty", "EC-HSM", "--curve", curve)
		made[b.version()] = true
	}
	var versions, few, all []item
	s.key(&versions, "list-versions", "--name", n)
	equal(len(versions), 3, "versions")
	for _, v := range versions {
		want(made[v.Kid[len(v.Kid)-32:]], "%s is in the list of versions", v.Kid)
	}
	s.key(&few, "list-versions", "--name", n, "--maxresults", "2")
	equal(len(few), 2, "versions of at most two")
	s.key(&all, "list")
	want(contains(names(all), n), "%s is not in the list of keys: %v", n, names(all))
	s.key(&few, "list", "--maxresults", "2")
	equal(len(few), 2, "keys of at most two")
	s.json(&all, "keyvault", "key", "list", "--id", env("REDOUBT_HSM_URL"))
	want(contains(names(all), n), "%s is not in the list of keys by id", n)
	step("listed keys and versions")
}
