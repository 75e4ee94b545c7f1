package hsm

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/secret"
	"redoubt/internal/store"
)

// keyInventory is what there is of one live key, by what does not change when it comes back: everything but its
// incarnation and the content versions of its records.
func (r *testHSM) keyInventory(name key.Name) map[string]string {
	r.t.Helper()
	inc := r.incarnation(name)
	out := make(map[string]string)
	for logical, v := range only(r.t, r.inventory(), name, inc) {
		_, v, _ = strings.Cut(v, " ")
		out[strings.ReplaceAll(logical, string(inc), "INC")] = strings.ReplaceAll(v, string(inc), "INC")
	}
	return out
}

func (r *testHSM) backUpKey(name key.Name) []byte {
	r.t.Helper()
	return must[[]byte](r.t)(r.BackupKey(r.t.Context(), user, name))
}

func (r *testHSM) loseKey(name key.Name) {
	r.t.Helper()
	noErr(r.t, second(r.DeleteKey(r.t.Context(), user, name)))
	noErr(r.t, r.PurgeKey(r.t.Context(), officer, name))
}

// richKey makes a key that has something of everything a key can have.
func (r *testHSM) richKey(name key.Name) {
	r.t.Helper()
	ctx := r.t.Context()
	yes, policy := true, policyOn("a")
	policy.Immutable = true
	first := r.createWith(name, key.CreateParams{Spec: ecSpec, Exportable: &yes, Release: policy, Tags: map[string]string{"a": "b", "ö": "ü"}, NotBefore: 5, Expires: 4_000_000_000})
	r.clock.advance(time.Hour)
	off := false
	r.createWith(name, key.CreateParams{Spec: key.Spec{Type: key.Oct, Bits: 128}, Enabled: &off})
	r.createWith(name, key.CreateParams{Spec: key.Spec{Type: key.EC, Curve: key.P521}, Ops: []string{"verify"}})
	must[Bundle](r.t)(r.UpdateKey(ctx, user, name, first.Meta.Version, key.Change{Tags: map[string]string{"c": "d"}}))
	// What other operations set is kept whatever it is.
	v := r.view()
	hd, s, err := v.loadHead(ctx, name)
	noErr(r.t, err)
	hd.Meta.Imported = true
	hd.Rotation = &key.RotationPolicy{ExpiryTime: "P2Y", Created: 1, Updated: 2}
	record := versionName(hd.Incarnation, hd.Meta.Version)
	_, vs, err := load[key.Meta](ctx, v, record)
	noErr(r.t, err)
	_, err = r.below.Txn(ctx, nil, []store.Op{v.put(headName(name), s, hd), v.put(record, vs, hd.Meta)})
	noErr(r.t, err)
}

func TestKeyBackup(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("other", octSpec)
	r.richKey("Rich")
	r.check()
	want := r.keyInventory("rich")
	if len(want) != 7 {
		t.Fatalf("inventory %v", slices.Sorted(maps.Keys(want)))
	}
	digest := make([]byte, 32)
	versions, _, err := r.ListVersions(ctx, user, "rich", "", 0)
	noErr(t, err)
	blob := r.backUpKey("RICH")
	if !strings.HasPrefix(string(blob), "RDKB\x01"+r.dev().DomainID) || strings.Contains(string(blob), "rich") {
		t.Errorf("the backup begins %q", blob[:60])
	}
	r.check()

	_, err = r.RestoreKey(ctx, user, blob)
	wantErr(t, "over the live key", err, key.ErrExists)
	noErr(t, second(r.DeleteKey(ctx, user, "rich")))
	_, err = r.BackupKey(ctx, user, "rich")
	wantErr(t, "backup of a deleted key", err, key.ErrNotFound)
	_, err = r.RestoreKey(ctx, user, blob)
	wantErr(t, "over the deleted key", err, key.ErrDeleted)
	noErr(t, r.PurgeKey(ctx, officer, "rich"))
	r.clock.advance(time.Hour)

	b := must[Bundle](t)(r.RestoreKey(ctx, user, blob))
	if b.Meta.Name != "Rich" || !b.Meta.Imported || b.Meta.Release == nil || b.Deletion != nil {
		t.Errorf("bundle %+v", b)
	}
	if got := r.keyInventory("rich"); !maps.Equal(got, want) {
		t.Errorf("came back as %v\nwas %v", got, want)
	}
	now, _, err := r.ListVersions(ctx, user, "rich", "", 0)
	noErr(t, err)
	if !reflect.DeepEqual(now, versions) {
		t.Errorf("versions %+v\nwere %+v", now, versions)
	}
	for _, v := range versions {
		if v.Meta.Spec == ecSpec {
			noErr(t, second(r.Sign(ctx, user, "rich", v.Meta.Version, "ES256", digest)))
		}
	}
	noErr(t, second(r.CreateKey(ctx, user, "rich", key.CreateParams{Spec: octSpec})))
	r.restart()
	r.check()
	if got := r.contentNames("v/"); len(got) != 5 {
		t.Errorf("%d versions in all", len(got))
	}

	// A disabled key can be backed up; and each backup is sealed anew.
	noErr(t, second(r.UpdateKey(ctx, user, "other", "", key.Change{Enabled: ptr(false)})))
	one, two := r.backUpKey("other"), r.backUpKey("other")
	if reflect.DeepEqual(one, two) {
		t.Error("two backups are equal")
	}
	r.loseKey("other")
	must[Bundle](t)(r.RestoreKey(ctx, operator, one))
	if r.get("other", "").Attributes.Enabled {
		t.Error("a disabled key came back enabled")
	}
	r.check()
}

// TestKeyBackupRefusals: what cannot be restored is refused before anything is written.
func TestKeyBackupRefusals(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("k", octSpec)
	blob := r.backUpKey("k")
	r.loseKey("k")
	before := r.raw()
	refused := func(what string, b []byte, words ...string) {
		t.Helper()
		_, err := r.RestoreKey(ctx, user, b)
		wantErr(t, what, err, key.ErrBadParameter)
		mustSay(t, err, words...)
		if !maps.Equal(r.raw(), before) {
			t.Errorf("%s: something was written", what)
		}
	}
	refused("nothing", nil, "does not begin like one")
	refused("text", []byte("hello"), "does not begin like one")
	for i := range blob {
		bad := slices.Clone(blob)
		bad[i] ^= 1
		refused(fmt.Sprintf("byte %d", i), bad, "The backup of a key")
		if i > 0 {
			refused(fmt.Sprintf("cut at %d", i), blob[:i], "The backup of a key")
		}
	}
	refused("more", append(slices.Clone(blob), 0), "damaged")

	other := newTestHSM(t)
	_, err := other.RestoreKey(ctx, user, blob)
	wantErr(t, "other domain", err, key.ErrBadParameter)
	mustSay(t, err, r.dev().DomainID, other.dev().DomainID)
	other.check()

	// Genuine seals around what is not a key.
	root := r.view().root
	wrap := func(id string, ref seal.Ref, content []byte) []byte {
		return must[[]byte](t)(backup.KeyBackup{DomainID: root.DomainID(), ID: id, Sealed: root.Seal(ref, content)}.Encode())
	}
	id := newID()
	refused("not records", wrap(id, keyBackupRef(id), []byte("x")), "cannot be used")
	refused("no records", wrap(id, keyBackupRef(id), nil), "cannot be used")
	refused("another's id", wrap(id, keyBackupRef(newID()), nil), "damaged")
	refused("another kind", wrap(id, seal.Ref{Kind: seal.KindMaterial, Name: "key-backup/" + id, Version: 1}, nil), "damaged")
	frame := must[backup.KeyBackup](t)(backup.ParseKeyBackup(blob))
	frame.Sealed = slices.Clone(frame.Sealed)
	frame.Sealed[8]++
	refused("epoch", must[[]byte](t)(frame.Encode()), "epoch 1", "epoch 0")
	r.check()
}

// TestKeyCopyRefusals: records that open each for itself and are not one whole key.
func TestKeyCopyRefusals(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("k", ecSpec)
	r.create("k", ecSpec)
	r.create("l", ecSpec)
	v := r.view()
	root := v.root
	good := must[[]backup.Record](t)(v.keyRecords(ctx, "k"))
	other := must[[]backup.Record](t)(v.keyRecords(ctx, "l"))
	if k, err := openKeyCopy(root, good); err != nil || len(k.versions) != 2 {
		t.Fatalf("%+v, %v", k, err)
	}
	hd, _, err := v.loadHead(ctx, "k")
	noErr(t, err)
	reseal := func(i int, record any) []backup.Record {
		out := slices.Clone(good)
		out[i].Sealed = v.put(good[i].Name, stamp{}, record).Val
		return out
	}
	changed := func(do func(*head)) head {
		h := hd
		do(&h)
		return h
	}
	current := 3
	if !strings.HasSuffix(good[3].Name, string(hd.Meta.Version)) {
		current = 4
	}
	older := 7 - current
	meta := func(do func(*key.Meta)) []backup.Record {
		m := hd.Meta
		do(&m)
		return reseal(current, m)
	}
	for what, records := range map[string][]backup.Record{
		"none": nil, "head alone": good[:1], "no version": good[:3], "a version less": good[:4], "another key's head": append(slices.Clone(other[:1]), good[1:]...),
		"another key's material": append(append(slices.Clone(good[:1]), other[1], good[2]), good[3:]...),
		"materials exchanged":    {good[0], {Name: good[1].Name, Sealed: good[2].Sealed}, {Name: good[2].Name, Sealed: good[1].Sealed}, good[3], good[4]},
		"versions exchanged":     {good[0], good[1], good[2], good[4], good[3]},
		"no head":                {good[1], good[1], good[2], good[3], good[4]},
		"deleted":                reseal(0, changed(func(h *head) { h.Deletion = &key.Deletion{} })),
		"count":                  reseal(0, changed(func(h *head) { h.Versions = 3 })),
		"incarnation":            reseal(0, changed(func(h *head) { h.Incarnation = "x" })),
		"name":                   reseal(0, changed(func(h *head) { h.Meta.Name = "l" })),
		"current":                reseal(0, changed(func(h *head) { h.Meta.Version = key.NewVersion() })),
		"head differs":           reseal(0, changed(func(h *head) { h.Meta.Attributes.Enabled = false })),
		"unknown member":         reseal(0, map[string]any{"incarnation": hd.Incarnation, "future": 1}),
		"exportable differs": func() []backup.Record {
			_, id, _ := strings.Cut(strings.TrimPrefix(good[older].Name, "v/"), "/")
			m := must[key.Meta](t)(v.loadVersion(ctx, hd, key.Version(id)))
			m.Attributes.Exportable = true
			return reseal(older, m)
		}(),
		"version differs":    meta(func(m *key.Meta) { m.Attributes.Enabled = false }),
		"version of another": meta(func(m *key.Meta) { m.Name = "l" }),
		"version id":         meta(func(m *key.Meta) { m.Version = key.NewVersion() }),
		"no version id":      meta(func(m *key.Meta) { m.Version = "../x" }),
		"type":               meta(func(m *key.Meta) { m.Spec = octSpec }),
		"public part": func() []backup.Record {
			m := hd.Meta
			m.Public.X = slices.Clone(m.Public.Y)
			out := reseal(0, changed(func(h *head) { h.Meta = m }))
			out[current].Sealed = v.put(good[current].Name, stamp{}, m).Val
			return out
		}(),
	} {
		if k, err := openKeyCopy(root, records); err == nil {
			t.Errorf("%s: %+v", what, k)
		}
	}
}

// TestLargestKeyBackup: as many versions as a key can have, of the longest keys, with all tags at their longest.
func TestLargestKeyBackup(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	spec := must[key.Spec](t)(key.NewSpec(key.RSA, 4096, "", 0))
	mat := must[material.Key](t)(material.Generate(spec))
	plain := mat.Marshal()
	tags := make(map[string]string)
	for i := range key.MaxTags {
		tags[fmt.Sprintf("%02d", i)+strings.Repeat("\x01", key.MaxTagChars-2)] = strings.Repeat("\x01", key.MaxTagChars) // six bytes each in JSON
	}
	for range key.MaxVersions {
		c := must[*call](t)(r.begin(t.Context(), user, OpKeyCreate, rbac.KeyScope("big")))
		m := must[key.Meta](t)(newMeta("big", key.CreateParams{Spec: spec, Tags: tags}, r.now()))
		noErr(t, second(c.addVersion(t.Context(), &creation{meta: m, source: func() (material.Key, error) { return material.Parse(spec, plain) }})))
	}
	want := r.keyInventory("big")
	blob := r.backUpKey("big")
	t.Logf("%d bytes", len(blob))
	if len(blob) > backup.MaxKeyBackup/2 {
		t.Errorf("%d bytes", len(blob))
	}
	r.loseKey("big")
	must[Bundle](t)(r.RestoreKey(t.Context(), user, blob))
	if !maps.Equal(r.keyInventory("big"), want) {
		t.Error("it came back otherwise")
	}
	r.check()
}

// TestKeyBackupAudit: who took a backup and who restored it shows, and nothing secret does.
func TestKeyBackupAudit(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.create("k", octSpec)
	blob := r.backUpKey("k")
	r.loseKey("k")
	must[Bundle](t)(r.RestoreKey(t.Context(), user, blob))
	wantErr(t, "stranger", second(r.RestoreKey(t.Context(), stranger, blob)), rbac.ErrDenied)
	r.stop()
	id := hex.EncodeToString(blob[40:56])
	seen := make(map[string]int)
	for _, e := range r.auditLog() {
		if e.Operation == "KeyBackup" || e.Operation == "KeyRestore" {
			seen[fmt.Sprint(e.Operation, e.Result, e.Target, e.Details)]++
		}
	}
	if want := map[string]int{
		fmt.Sprint("KeyBackup", "Success", "/keys/k", map[string]string{"versions": "1", "backup": id}):                                                1,
		fmt.Sprint("KeyRestore", "Success", "/keys", map[string]string{"key": "k", "versions": "1", "backup": id, "sourceDomain": string(blob[5:40])}): 1,
		fmt.Sprint("KeyRestore", "Denied", "/keys", map[string]string(nil)):                                                                            1,
	}; !maps.Equal(seen, want) {
		t.Errorf("%v; want %v", seen, want)
	}
}

// goldenRoot is the root of testdata/key-backup-v1.hex.
func goldenRoot(t testing.TB) *seal.Root {
	t.Helper()
	return must[*seal.Root](t)(seal.FromDomain(secret.New([]byte(strings.Repeat("R", 32))), secret.New([]byte(strings.Repeat("S", 32))), 3))
}

// TestGoldenKeyBackup: a backup made by an earlier release opens for ever.
func TestGoldenKeyBackup(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "key-backup-v1.hex"))
	noErr(t, err)
	blob := must[[]byte](t)(hex.DecodeString(strings.Join(strings.Fields(string(text)), "")))
	c := &call{h: &HSM{cfg: Config{Name: "golden"}}, v: view{root: goldenRoot(t)}}
	k := must[*keyCopy](t)(c.openKeyBackup(blob))
	if k.head.Meta.Name != "Golden" || len(k.versions) != 3 || k.head.Rotation == nil || k.head.Meta.Release == nil {
		t.Errorf("%+v", k)
	}
}

// FuzzRestoreKey: whatever is sealed inside a genuine frame, opening it neither panics nor takes what is not a key.
func FuzzRestoreKey(f *testing.F) {
	root := goldenRoot(f)
	id := strings.Repeat("0a", 16)
	c := &call{h: &HSM{cfg: Config{Name: "golden"}}, v: view{root: root}}
	h := "h/k"
	f.Add(h, []byte(`{"incarnation":"`+id+`","versions":1,"meta":{"name":"k","version":"`+id+`"}}`), []byte("RDM1\x03 0123456789abcdef"), []byte(`{"name":"k","version":"`+id+`"}`))
	f.Fuzz(func(t *testing.T, name string, hd, mat, meta []byte) {
		if name == "" {
			return
		}
		var records []backup.Record
		for _, r := range []struct {
			name  string
			plain []byte
		}{{name, hd}, {"m/" + id + "/" + id, mat}, {"v/" + id + "/" + id, meta}} {
			kind, ok := kindOf(r.name)
			if !ok {
				kind = seal.KindHead
			}
			records = append(records, backup.Record{Name: r.name, Sealed: root.Seal(seal.Ref{Kind: kind, Name: r.name, Version: 1}, r.plain)})
		}
		content, err := backup.EncodeRecords(records)
		if err != nil {
			return
		}
		frame := backup.KeyBackup{DomainID: root.DomainID(), ID: id, Sealed: root.Seal(keyBackupRef(id), content)}
		blob, err := frame.Encode()
		if err != nil {
			t.Fatal(err)
		}
		k, err := c.openKeyBackup(blob)
		if err != nil {
			if !errors.Is(err, key.ErrBadParameter) {
				t.Error(err)
			}
			return
		}
		if headName(k.head.Meta.Name) != name || len(k.versions) != 1 {
			t.Errorf("took %+v", k)
		}
	})
}
