package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/client"
)

func entryOf(t *testing.T, base, id string, v any) entry {
	t.Helper()
	e, err := canonical(base, id, v)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The same thing on two HSMs is the same line, whatever the order of lists and members and the letter case
// of the host.
func TestCanonicalIsTheSameOnBothHSMs(t *testing.T) {
	t.Parallel()
	k := func(host string, ops ...string) client.Key {
		return client.Key{Key: client.JWK{Kid: "https://" + host + "/keys/a/1", Kty: "EC-HSM", KeyOps: ops, X: client.Bytes{1, 2}},
			Attributes: client.Attributes{Enabled: true, Created: 5}, Tags: map[string]string{"b": "2", "a": "1"}, RecoveryID: "https://" + host + "/deletedkeys/a"}
	}
	one := entryOf(t, "https://one.managedhsm.azure.net", "key/a/1", k("one.managedhsm.azure.net", "sign", "verify"))
	two := entryOf(t, "https://two.managedhsm.azure.net", "key/a/1", k("TWO.managedhsm.azure.net", "verify", "sign"))
	if string(one.Value) != string(two.Value) {
		t.Errorf("differ:\n%s\n%s", one.Value, two.Value)
	}
	if strings.Contains(string(one.Value), "managedhsm") || !strings.Contains(string(one.Value), `"kid":"{hsm}/keys/a/1"`) {
		t.Errorf("host not replaced: %s", one.Value)
	}
}

func TestCanonicalKeepsWhatMatters(t *testing.T) {
	t.Parallel()
	const base = "https://one.managedhsm.azure.net"
	same := client.Key{Key: client.JWK{Kid: base + "/keys/a/1", KeyOps: []string{"sign"}}, Tags: map[string]string{"a": "1"}}
	first := string(entryOf(t, base, "x", same).Value)
	for what, change := range map[string]func(*client.Key){
		"tag":      func(k *client.Key) { k.Tags = map[string]string{"a": "2"} },
		"no tags":  func(k *client.Key) { k.Tags = nil },
		"ops":      func(k *client.Key) { k.Key.KeyOps = []string{"sign", "verify"} },
		"public":   func(k *client.Key) { k.Key.N = client.Bytes{1} },
		"enabled":  func(k *client.Key) { k.Attributes.Enabled = true },
		"created":  func(k *client.Key) { k.Attributes.Created = 1 },
		"version":  func(k *client.Key) { k.Key.Kid = base + "/keys/a/2" },
		"host":     func(k *client.Key) { k.Key.Kid = base + ".evil.example/keys/a/1" },
		"purge at": func(k *client.Key) { k.ScheduledPurgeDate = 7 },
	} {
		other := same
		change(&other)
		if string(entryOf(t, base, "x", other).Value) == first {
			t.Errorf("a change of %s does not show", what)
		}
	}
}

func write(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inventory")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDiffInventories(t *testing.T) {
	t.Parallel()
	const a, b, c = `{"id":"a","value":{"x":1,"tags":{"n":"1"}}}`, `{"id":"b","value":"v"}`, `{"id":"c","value":[1]}`
	for _, x := range []struct {
		name     string
		one, two []string
		compared int
		want     []string
	}{
		{"same", []string{a, b, c}, []string{a, b, c}, 3, nil},
		{"missing first", []string{a, b}, []string{b}, 2, []string{"missing: a"}},
		{"missing last", []string{a, b}, []string{a}, 2, []string{"missing: b"}},
		{"added", []string{a}, []string{a, b, c}, 3, []string{"added: b", "added: c"}},
		{"nothing left", []string{a, b}, nil, 2, []string{"missing: a", "missing: b"}},
		{"changed member", []string{a}, []string{`{"id":"a","value":{"x":2,"tags":{"n":"1"}}}`}, 1, []string{"changed: a: x was 1, is 2"}},
		{"member gone", []string{a}, []string{`{"id":"a","value":{"x":1,"tags":{}}}`}, 1, []string{`changed: a: tags.n was "1", is gone`}},
		{"member new", []string{a}, []string{`{"id":"a","value":{"x":1,"y":null,"tags":{"n":"1"}}}`}, 1, []string{"changed: a: .y is new: null"}},
		{"other value", []string{b}, []string{`{"id":"b","value":"w"}`}, 1, []string{`changed: b:  was "v", is "w"`}},
		{"another in its place", []string{a, c}, []string{a, b}, 3, []string{"added: b", "missing: c"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			n, err := diffInventories(write(t, x.one...), write(t, x.two...), func(s string) { got = append(got, s) })
			if err != nil || n != x.compared || strings.Join(got, "\n") != strings.Join(x.want, "\n") {
				t.Errorf("%d compared, %v\ngot  %q\nwant %q", n, err, got, x.want)
			}
		})
	}
}

// A difference names a bounded number of members, each with a bounded value.
func TestDiffIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_000)
	one := `{"id":"a","value":{"a":"` + long + `","b":1,"c":1,"d":1,"e":1,"f":1}}`
	two := `{"id":"a","value":{"a":"y","b":2,"c":2,"d":2,"e":2,"f":2}}`
	var got string
	if _, err := diffInventories(write(t, one), write(t, two), func(s string) { got = s }); err != nil {
		t.Fatal(err)
	}
	if len(got) > 400 || !strings.Contains(got, "and 2 more") {
		t.Errorf("%d characters: %s", len(got), got)
	}
}

// What cannot be compared is an error and never "no differences".
func TestDiffRefuses(t *testing.T) {
	t.Parallel()
	good := write(t, `{"id":"a","value":1}`)
	for what, bad := range map[string]string{
		"out of order": write(t, `{"id":"b","value":1}`, `{"id":"a","value":1}`),
		"twice":        write(t, `{"id":"a","value":1}`, `{"id":"a","value":1}`),
		"damaged":      write(t, `{"id":"a","value":1}`, `{"id":"b","va`),
		"not there":    filepath.Join(t.TempDir(), "absent"),
	} {
		if _, err := diffInventories(good, bad, func(string) {}); err == nil {
			t.Errorf("%s: no error", what)
		}
		if _, err := diffInventories(bad, good, func(string) {}); err == nil {
			t.Errorf("%s, the other way round: no error", what)
		}
	}
}

func TestInventoryRefusesTwice(t *testing.T) {
	t.Parallel()
	in := &inventory{last: "key/a/1"}
	if err := in.write(entry{ID: "key/a/1"}); err == nil {
		t.Error("the same id twice")
	}
}

func TestNamesAreInTheOrderOfTheirLines(t *testing.T) {
	t.Parallel()
	var items []client.KeyItem
	for _, n := range []string{"b", "a-b", "a", "a0", "B"} {
		items = append(items, client.KeyItem{Kid: "https://h/keys/" + n})
	}
	last := ""
	for _, n := range namesOf(items) {
		if id := "key/" + n + "/1"; id <= last {
			t.Errorf("%s after %s", id, last)
		} else {
			last = id
		}
	}
}
