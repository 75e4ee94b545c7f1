package hsm

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"redoubt/internal/key"
	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
	"redoubt/internal/store/mem"
)

var lifecycleDigest = make([]byte, 32)

// lifecycle runs random calls against a device and the model at once; any difference fails.
type lifecycle struct {
	r     *testHSM
	model lifeModel
	saved []savedKey // backups of single keys
}

type savedKey struct {
	blob []byte
	key  *modelKey
}

func newLifecycle(r *testHSM) *lifecycle {
	return &lifecycle{r: r, model: lifeModel{keys: make(map[string]*modelKey), maxKeys: r.cfg.maxKeys(), maxVersions: r.cfg.maxVersions()}}
}

// actions are all that can happen to keys.
func (l *lifecycle) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"create": l.create, "import": l.importKey, "rotate": l.rotate, "policy": l.policy, "update": l.update, "delete": l.delete, "recover": l.recover, "purge": l.purge,
		"backup": l.backup, "restore": l.restore, "sign": l.sign, "verify": l.verify, "list": l.list, "clock": l.clock, "later": l.later, "and later": l.later, "much later": l.later,
		"restart": func(*rapid.T) { l.r.restart() },
		"":        l.agree,
	}
}

// TestKeyLifecycleAgainstModel: a random life of a few keys, on both store drivers, with limits that are soon
// reached. -rapid.checks and -rapid.steps make it longer.
func TestKeyLifecycleAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var below store.Store = mem.New()
		if rapid.IntRange(0, 9).Draw(rt, "driver") == 9 { // syncs take their time
			db := must[*bolt.Store](t)(bolt.Open(filepath.Join(t.TempDir(), "store.db"), bolt.Options{Create: true}))
			defer db.Close()
			below = db
		}
		r := newTestHSMOn(t, below)
		r.cfg.MaxKeys, r.cfg.MaxVersions = 2, 5
		r.restart()
		r.testOnlyActivate()
		l := newLifecycle(r)
		defer r.stop()
		rt.Repeat(l.actions())
		if err := r.Check(t.Context()); err != nil {
			rt.Fatal(err)
		}
	})
}

// name draws one of three names, in any letter case.
func (l *lifecycle) name(rt *rapid.T) key.Name {
	return key.Name(rapid.SampledFrom([]string{"one", "ONE", "two", "Two", "three"}).Draw(rt, "name"))
}

func (l *lifecycle) now() int64 { return l.r.clock.Now().Unix() }

func expect(rt *rapid.T, what string, err, want error) {
	rt.Helper()
	if !errors.Is(err, want) {
		rt.Fatalf("%s: %v; want %v", what, err, want)
	}
}

// drawVersion draws what a caller chooses for a version.
func (l *lifecycle) drawVersion(rt *rapid.T) modelVersion {
	date := func(what string) int64 {
		off := rapid.SampledFrom([]int64{0, 0, 0, -3600, 3600, 40 * secondsPerDay}).Draw(rt, what)
		if off == 0 {
			return 0
		}
		return l.now() + off
	}
	return modelVersion{enabled: rapid.IntRange(0, 3).Draw(rt, "enabled") > 0, nbf: date("nbf"), exp: date("exp"),
		tag: rapid.StringMatching(`[a-z]{0,3}`).Draw(rt, "tag"), created: l.now()}
}

func (v *modelVersion) params(spec key.Spec) key.CreateParams {
	return key.CreateParams{Spec: spec, Enabled: &v.enabled, NotBefore: v.nbf, Expires: v.exp, Tags: map[string]string{"t": v.tag}}
}

func (l *lifecycle) create(rt *rapid.T) {
	n, v := l.name(rt), l.drawVersion(rt)
	v.kind = rapid.SampledFrom([]key.Type{key.EC, key.Oct}).Draw(rt, "kind")
	b, err := l.r.CreateKey(l.r.t.Context(), user, n, v.params(key.Spec{Type: v.kind}))
	l.made(rt, n, v, b, err)
}

func (l *lifecycle) importKey(rt *rapid.T) {
	n, v := l.name(rt), l.drawVersion(rt)
	v.kind, v.secret = key.Oct, bytes.Repeat([]byte{rapid.Byte().Draw(rt, "secret")}, 32)
	b, err := l.r.ImportKey(l.r.t.Context(), user, n, ImportParams{CreateParams: v.params(key.Spec{}), Material: KeyMaterial{Type: key.Oct, K: NewSecret(bytes.Clone(v.secret))}})
	l.made(rt, n, v, b, err)
}

// made is the end of making a version as a caller chose it.
func (l *lifecycle) made(rt *rapid.T, n key.Name, v modelVersion, b Bundle, err error) {
	rt.Helper()
	want := datesFit(v.nbf, v.exp)
	if want == nil {
		want = l.model.room(n)
	}
	expect(rt, "make a version", err, want)
	if err == nil {
		v.version = b.Meta.Version
		l.model.add(n, v)
	}
}

func (l *lifecycle) rotate(rt *rapid.T) {
	n := l.name(rt)
	b, err := l.r.RotateKey(l.r.t.Context(), user, n)
	expect(rt, "rotate", err, l.model.mayRotate(n))
	if err == nil {
		l.rotated(n, b.Meta.Version)
	}
}

func (l *lifecycle) rotated(n key.Name, version key.Version) {
	v := l.model.keys[n.Fold()].rotation(l.now())
	v.version = version
	l.model.add(n, v)
}

func (l *lifecycle) policy(rt *rapid.T) {
	n, p := l.name(rt), rapid.SampledFrom([]string{"monthly", "before expiry", ""}).Draw(rt, "policy")
	_, err := l.r.SetRotationPolicy(l.r.t.Context(), user, n, policies[p])
	k, want := l.model.live(n)
	expect(rt, "set a policy", err, want)
	if err == nil {
		k.policy = p
	}
}

// pick draws a version of k, or the empty one that means the current.
func (k *modelKey) pick(rt *rapid.T) (key.Version, *modelVersion) {
	i := rapid.IntRange(0, len(k.versions)).Draw(rt, "version")
	if i == len(k.versions) {
		return "", k.current()
	}
	return k.versions[i].version, &k.versions[i]
}

func (l *lifecycle) update(rt *rapid.T) {
	n, to := l.name(rt), l.drawVersion(rt)
	k, want := l.model.live(n)
	version, v := key.Version(""), &modelVersion{}
	if want == nil {
		version, v = k.pick(rt)
		want = datesFit(to.nbf, to.exp)
	}
	_, err := l.r.UpdateKey(l.r.t.Context(), user, n, version, key.Change{Enabled: &to.enabled, NotBefore: &to.nbf, Expires: &to.exp, Tags: map[string]string{"t": to.tag}})
	expect(rt, "update", err, want)
	if err == nil {
		v.enabled, v.nbf, v.exp, v.tag = to.enabled, to.nbf, to.exp, to.tag
	}
}

func (l *lifecycle) delete(rt *rapid.T) {
	n := l.name(rt)
	_, err := l.r.DeleteKey(l.r.t.Context(), user, n)
	k, want := l.model.live(n)
	expect(rt, "delete", err, want)
	if err == nil {
		k.purgeAt = l.now() + int64(l.r.cfg.RetentionDays)*secondsPerDay
	}
}

func (l *lifecycle) recover(rt *rapid.T) {
	n := l.name(rt)
	_, err := l.r.RecoverKey(l.r.t.Context(), officer, n)
	k, want := l.model.deleted(n)
	expect(rt, "recover", err, want)
	if err == nil {
		k.purgeAt = 0
	}
}

func (l *lifecycle) purge(rt *rapid.T) {
	n := l.name(rt)
	err := l.r.PurgeKey(l.r.t.Context(), officer, n)
	_, want := l.model.deleted(n)
	expect(rt, "purge", err, want)
	if err == nil {
		delete(l.model.keys, n.Fold())
	}
}

func (l *lifecycle) backup(rt *rapid.T) {
	n := l.name(rt)
	blob, err := l.r.BackupKey(l.r.t.Context(), user, n)
	k, want := l.model.live(n)
	expect(rt, "back a key up", err, want)
	if err == nil {
		l.saved = append(l.saved, savedKey{blob, k.clone()})
	}
}

func (l *lifecycle) restore(rt *rapid.T) {
	if len(l.saved) == 0 {
		return
	}
	s := rapid.SampledFrom(l.saved).Draw(rt, "backup")
	b, err := l.r.RestoreKey(l.r.t.Context(), user, s.blob)
	expect(rt, "restore a key", err, l.model.free(s.key.name))
	if err == nil {
		l.model.keys[s.key.name.Fold()] = s.key.clone()
		if b.Meta.Version != s.key.current().version {
			rt.Fatalf("%s was restored with version %s", s.key.name, b.Meta.Version)
		}
	}
}

var signers = map[key.Type]key.Algorithm{key.EC: "ES256", key.Oct: "HS256"}

func (l *lifecycle) sign(rt *rapid.T) {
	n := l.name(rt)
	k, want := l.model.live(n)
	version, v := key.Version(""), &modelVersion{}
	if want == nil {
		version, v = k.pick(rt)
		want = v.use(key.OpSign, l.now())
	}
	s, err := l.r.Sign(l.r.t.Context(), user, n, version, cmp.Or(signers[v.kind], "ES256"), lifecycleDigest)
	expect(rt, "sign", err, want)
	if err != nil {
		return
	}
	v.sig = s.Value
	if v.secret != nil {
		mac := hmac.New(sha256.New, v.secret)
		mac.Write(lifecycleDigest)
		if !hmac.Equal(mac.Sum(nil), s.Value) {
			rt.Fatalf("%s/%s is not the key that was imported", n, v.version)
		}
	}
}

func (l *lifecycle) verify(rt *rapid.T) {
	n := l.name(rt)
	k, want := l.model.live(n)
	version, v := key.Version(""), &modelVersion{}
	if want == nil {
		version, v = k.pick(rt)
		want = v.use(key.OpVerify, l.now())
	}
	good, err := l.r.Verify(l.r.t.Context(), user, n, version, cmp.Or(signers[v.kind], "ES256"), lifecycleDigest, v.sig)
	expect(rt, "verify", err, want)
	if err == nil && good != (v.sig != nil) {
		rt.Fatalf("the signature of %s/%s: %v", n, v.version, good)
	}
}

// listed reads all pages of a list.
func listed(rt *rapid.T, max int, list func(after string, max int) ([]Bundle, string, error), show func(Bundle) string) (out []string) {
	for after := ""; ; {
		items, next, err := list(after, max)
		expect(rt, "list", err, nil)
		for _, b := range items {
			out = append(out, show(b))
		}
		if after = next; next == "" {
			slices.Sort(out)
			return out
		}
	}
}

func (l *lifecycle) list(rt *rapid.T) {
	max, ctx := rapid.IntRange(1, 3).Draw(rt, "page"), l.r.t.Context()
	wants := map[bool][]string{}
	for _, k := range l.model.keys {
		wants[k.purgeAt != 0] = append(wants[k.purgeAt != 0], string(k.name))
		if k.purgeAt != 0 {
			continue
		}
		var want []string
		for _, v := range k.versions {
			want = append(want, string(v.version))
		}
		slices.Sort(want)
		got := listed(rt, max, func(after string, max int) ([]Bundle, string, error) {
			return l.r.ListVersions(ctx, auditor, k.name, after, max)
		},
			func(b Bundle) string { return string(b.Meta.Version) })
		if !slices.Equal(got, want) {
			rt.Fatalf("versions of %s: %v; want %v", k.name, got, want)
		}
	}
	for gone, list := range map[bool]listFunc{false: l.r.ListKeys, true: l.r.ListDeleted} {
		slices.Sort(wants[gone])
		got := listed(rt, max, func(after string, max int) ([]Bundle, string, error) { return list(ctx, auditor, after, max) },
			func(b Bundle) string { return string(b.Meta.Name) })
		if !slices.Equal(got, wants[gone]) {
			rt.Fatalf("keys, deleted %v: %v; want %v", gone, got, wants[gone])
		}
	}
}

func (l *lifecycle) clock(rt *rapid.T) {
	l.r.clock.advance(rapid.SampledFrom([]time.Duration{time.Minute, 2 * time.Hour, 3 * aDay, 12 * aDay, 29 * aDay, 31 * aDay, 90 * aDay}).Draw(rt, "time"))
}

// later is time that goes by on a device that somebody runs.
func (l *lifecycle) later(rt *rapid.T) {
	l.clock(rt)
	l.tend(rt)
}

// tend lets the device do what has come due.
func (l *lifecycle) tend(rt *rapid.T) {
	l.r.tend()
	for fold, k := range l.model.keys {
		switch {
		case k.purgeAt != 0 && l.now() >= k.purgeAt:
			delete(l.model.keys, fold)
		case l.model.due(k, l.now()):
			b, err := l.r.GetKey(l.r.t.Context(), user, k.name, "")
			expect(rt, "get a rotated key", err, nil)
			if b.Meta.Version == k.current().version {
				rt.Fatalf("%s was due, and is as it was", k.name)
			}
			l.rotated(k.name, b.Meta.Version)
		}
	}
}

// agree compares every key with the model.
func (l *lifecycle) agree(rt *rapid.T) {
	ctx := l.r.t.Context()
	for fold, k := range l.model.keys {
		if k.purgeAt != 0 {
			b, err := l.r.GetDeletedKey(ctx, auditor, key.Name(fold))
			expect(rt, "get deleted", err, nil)
			if b.Meta.Version != k.current().version || b.Deletion.PurgeAt != k.purgeAt {
				rt.Fatalf("%s shows version %s, to be purged at %d", fold, b.Meta.Version, b.Deletion.PurgeAt)
			}
			continue
		}
		p, err := l.r.GetRotationPolicy(ctx, user, k.name)
		expect(rt, "get the policy", err, nil)
		if want := policies[k.policy]; (p.Policy != nil) != (k.policy != "") || p.Policy != nil && (p.Policy.ExpiryTime != want.ExpiryTime || p.Policy.Actions[0] != want.Actions[0]) {
			rt.Fatalf("the policy of %s is %+v, want %q", fold, p.Policy, k.policy)
		}
		for i, v := range k.versions {
			ask := v.version
			if i == len(k.versions)-1 {
				ask = ""
			}
			b, err := l.r.GetKey(ctx, user, key.Name(fold), ask)
			expect(rt, "get", err, nil)
			a := b.Meta.Attributes
			got := fmt.Sprint(b.Meta.Name, b.Meta.Version, b.Meta.Spec.Type, b.Meta.Imported, a.Enabled, a.NotBefore, a.Expires, a.Created, b.Meta.Tags["t"])
			if want := fmt.Sprint(k.name, v.version, v.kind, v.secret != nil, v.enabled, v.nbf, v.exp, v.created, v.tag); got != want {
				rt.Fatalf("%s: %s; want %s", fold, got, want)
			}
		}
	}
}
