package hsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"redoubt/internal/key"
)

// modelKey is what a key name should be: the obvious implementation, without stores, seals or crashes.
type modelKey struct {
	name     key.Name
	deleted  bool
	versions []modelVersion // oldest first
}

type modelVersion struct {
	version key.Version
	enabled bool
	tag     string
	sig     []byte // of digest, made when the version was
}

var lifecycleDigest = make([]byte, 32)

// lifecycle runs random calls against a device and the model at once; any difference fails.
type lifecycle struct {
	r     *testHSM
	model map[string]*modelKey
}

func TestKeyLifecycleAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := &lifecycle{r: newTestHSM(t), model: make(map[string]*modelKey)}
		defer l.r.stop()
		rt.Repeat(map[string]func(*rapid.T){
			"create": l.create, "update": l.update, "delete": l.delete, "recover": l.recover, "purge": l.purge,
			"verify": l.verify, "list": l.list, "restart": func(*rapid.T) { l.r.restart() },
			"": func(rt *rapid.T) { l.agree(rt) },
		})
		if err := l.r.Check(t.Context()); err != nil {
			rt.Fatal(err)
		}
	})
}

// name draws one of three names, in any letter case.
func (l *lifecycle) name(rt *rapid.T) (key.Name, *modelKey) {
	n := rapid.SampledFrom([]string{"one", "ONE", "two", "Two", "three"}).Draw(rt, "name")
	return key.Name(n), l.model[strings.ToLower(n)]
}

func expect(rt *rapid.T, what string, err, want error) {
	rt.Helper()
	if !errors.Is(err, want) {
		rt.Fatalf("%s: %v; want %v", what, err, want)
	}
}

func (l *lifecycle) create(rt *rapid.T) {
	n, m := l.name(rt)
	tag := rapid.StringMatching(`[a-z]{0,3}`).Draw(rt, "tag")
	b, err := l.r.CreateKey(l.r.t.Context(), user, n, key.CreateParams{Spec: ecSpec, Tags: map[string]string{"t": tag}})
	if m != nil && m.deleted {
		expect(rt, "create over a deleted key", err, key.ErrDeleted)
		return
	}
	expect(rt, "create", err, nil)
	if m == nil {
		m = &modelKey{name: n}
		l.model[n.Fold()] = m
	}
	s, err := l.r.Sign(l.r.t.Context(), user, n, b.Meta.Version, "ES256", lifecycleDigest)
	expect(rt, "sign", err, nil)
	m.versions = append(m.versions, modelVersion{b.Meta.Version, true, tag, s.Value})
}

// pick draws a version of m, or the empty one that means the current.
func (m *modelKey) pick(rt *rapid.T) (key.Version, *modelVersion) {
	i := rapid.IntRange(0, len(m.versions)).Draw(rt, "version")
	if i == len(m.versions) {
		return "", &m.versions[i-1]
	}
	return m.versions[i].version, &m.versions[i]
}

func (l *lifecycle) update(rt *rapid.T) {
	n, m := l.name(rt)
	if m == nil || m.deleted {
		_, err := l.r.UpdateKey(l.r.t.Context(), user, n, "", key.Change{})
		expect(rt, "update of no key", err, key.ErrNotFound)
		return
	}
	v, mv := m.pick(rt)
	mv.enabled = rapid.Bool().Draw(rt, "enabled")
	mv.tag = rapid.StringMatching(`[a-z]{0,3}`).Draw(rt, "tag")
	_, err := l.r.UpdateKey(l.r.t.Context(), user, n, v, key.Change{Enabled: &mv.enabled, Tags: map[string]string{"t": mv.tag}})
	expect(rt, "update", err, nil)
}

func (l *lifecycle) delete(rt *rapid.T) {
	n, m := l.name(rt)
	_, err := l.r.DeleteKey(l.r.t.Context(), user, n)
	if m == nil || m.deleted {
		expect(rt, "delete of no key", err, key.ErrNotFound)
		return
	}
	expect(rt, "delete", err, nil)
	m.deleted = true
}

func (l *lifecycle) recover(rt *rapid.T) {
	n, m := l.name(rt)
	_, err := l.r.RecoverKey(l.r.t.Context(), officer, n)
	if m == nil || !m.deleted {
		expect(rt, "recover of no deleted key", err, key.ErrDeletedNotFound)
		return
	}
	expect(rt, "recover", err, nil)
	m.deleted = false
}

func (l *lifecycle) purge(rt *rapid.T) {
	n, m := l.name(rt)
	err := l.r.PurgeKey(l.r.t.Context(), officer, n)
	if m == nil || !m.deleted {
		expect(rt, "purge of no deleted key", err, key.ErrDeletedNotFound)
		return
	}
	expect(rt, "purge", err, nil)
	delete(l.model, n.Fold())
}

func (l *lifecycle) verify(rt *rapid.T) {
	n, m := l.name(rt)
	if m == nil || m.deleted {
		_, err := l.r.Verify(l.r.t.Context(), user, n, "", "ES256", lifecycleDigest, nil)
		expect(rt, "verify with no key", err, key.ErrNotFound)
		return
	}
	v, mv := m.pick(rt)
	ok, err := l.r.Verify(l.r.t.Context(), user, n, v, "ES256", lifecycleDigest, mv.sig)
	if !mv.enabled {
		expect(rt, "verify with a disabled version", err, key.ErrDisabled)
		return
	}
	expect(rt, "verify", err, nil)
	if !ok {
		rt.Fatalf("the signature of %s/%s no longer verifies", n, mv.version)
	}
}

func (l *lifecycle) list(rt *rapid.T) {
	max := rapid.IntRange(1, 3).Draw(rt, "page")
	for prefix, list := range map[string]listFunc{"live": l.r.ListKeys, "deleted": l.r.ListDeleted} {
		var want, got []string
		for _, m := range l.model {
			if m.deleted == (prefix == "deleted") {
				want = append(want, string(m.name))
			}
		}
		after := ""
		for {
			items, next, err := list(l.r.t.Context(), auditor, after, max)
			expect(rt, "list", err, nil)
			for _, b := range items {
				got = append(got, string(b.Meta.Name))
			}
			if after = next; next == "" {
				break
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			rt.Fatalf("%s keys: %v; want %v", prefix, got, want)
		}
	}
	l.r.clock.advance(time.Minute)
}

// agree compares every key with the model.
func (l *lifecycle) agree(rt *rapid.T) {
	for fold, m := range l.model {
		if m.deleted {
			b, err := l.r.GetDeletedKey(l.r.t.Context(), auditor, key.Name(fold))
			expect(rt, "get deleted", err, nil)
			if b.Meta.Version != m.versions[len(m.versions)-1].version {
				rt.Fatalf("%s shows version %s", fold, b.Meta.Version)
			}
			continue
		}
		for i, mv := range m.versions {
			v := mv.version
			if i == len(m.versions)-1 {
				v = ""
			}
			b, err := l.r.GetKey(l.r.t.Context(), user, key.Name(fold), v)
			expect(rt, "get", err, nil)
			got := fmt.Sprint(b.Meta.Name, b.Meta.Version, b.Meta.Attributes.Enabled, b.Meta.Tags["t"])
			if want := fmt.Sprint(m.name, mv.version, mv.enabled, mv.tag); got != want {
				rt.Fatalf("%s: %s; want %s", fold, got, want)
			}
		}
	}
}
