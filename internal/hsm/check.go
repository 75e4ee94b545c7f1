package hsm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/store"
)

// maxProblems bounds what Check reports; one cause can show in every record.
const maxProblems = 50

// Check reads the whole state of the device at one revision, while it goes on working, and reports what
// is not as it must be:
//
//   - every content record has a known name, opens under the root in use, and says of itself what its
//     name says;
//   - a key name is live or deleted, not both; its current version exists and equals what the head shows;
//     it has as many versions and as much material as the head counts;
//   - every version's material opens, parses and belongs to the public part shown;
//   - no version and no material is left without a head, unless a purge noted it for sweeping;
//   - roles compile, and there is an Administrator;
//   - no content lies outside the current generation unless a job is filling one.
//
// Nothing is changed. A healthy device is nil; otherwise the error lists what was found, or says that the
// state could not be read.
func (h *HSM) Check(ctx context.Context) error {
	pin, err := h.store.Pin(ctx, 10*time.Minute)
	if err != nil {
		return storeError("pin the state", err)
	}
	defer pin.Close()
	ck := &checker{h: h, at: pin.Rev(), keys: make(map[key.IncarnationID]*checkedKey), names: make(map[string]string), swept: make(map[key.IncarnationID]bool)}
	if err := ck.walk(ctx); err != nil {
		return err
	}
	ck.finish()
	if len(ck.problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, errors.Join(ck.problems...))
}

// checkedKey is what the records of one incarnation said. Versions and material are counted, not kept.
type checkedKey struct {
	head                *head // nil: no head refers to it
	versions, materials int
	current             bool // the current version was among them
}

type checker struct {
	h  *HSM
	at store.Rev
	v  view

	keys        map[key.IncarnationID]*checkedKey
	names       map[string]string // folded key name -> h/ or d/
	swept       map[key.IncarnationID]bool
	assignments []rbac.Assignment
	definitions []rbac.Definition
	exchangeKey bool
	strays      map[string]bool // other generations
	problems    []error
}

func (ck *checker) report(format string, args ...any) {
	switch len(ck.problems) {
	case maxProblems:
		ck.problems = append(ck.problems, errors.New("and more"))
	default:
		if len(ck.problems) < maxProblems {
			ck.problems = append(ck.problems, fmt.Errorf(format, args...))
		}
	}
}

// walk visits every record of the device. The device record sorts first, so the rest can be judged by it.
func (ck *checker) walk(ctx context.Context) error {
	q := store.Query{Prefix: ck.h.at(""), Limit: 200, At: ck.at}
	for first := true; ; first = false {
		page, err := ck.h.store.Range(ctx, q)
		if err != nil {
			return storeError("read the state", err)
		}
		kvs := page.KVs
		if first {
			if len(kvs) == 0 || kvs[0].Key != ck.h.deviceKey() {
				return fmt.Errorf("%w: there is no device record", ErrCorrupt)
			}
			if err := ck.device(ctx, kvs[0]); err != nil {
				return err
			}
			kvs = kvs[1:]
		}
		for _, kv := range kvs {
			if err := ck.record(ctx, kv); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
		q.After = page.KVs[len(page.KVs)-1].Key
	}
}

func (ck *checker) device(ctx context.Context, kv store.KV) error {
	d, err := parseDevice(kv.Val)
	if err != nil {
		return err
	}
	root, err := ck.h.rootFor(ctx, d.Root)
	if err != nil {
		return err
	}
	ck.v = view{h: ck.h, dev: d, rev: kv.Mod, root: root}
	if d.ID != ck.h.cfg.ID {
		ck.report("the device record is that of HSM %s", d.ID)
	}
	switch d.State {
	case Provisioned, Recovering:
	case Active, Restoring:
		if d.DomainID != root.DomainID() || d.Epoch != root.Epoch() {
			ck.report("the device says security domain %s epoch %d, its root is %s", d.DomainID, d.Epoch, root)
		}
	default:
		ck.report("the device record has state %q", d.State)
	}
	if (d.State == Restoring) && d.Job == "" {
		ck.report("the device is Restoring without a job")
	}
	return nil
}

// record sorts one record by where it lies.
func (ck *checker) record(ctx context.Context, kv store.KV) error {
	rest := strings.TrimPrefix(kv.Key, ck.h.at(""))
	if local, ok := strings.CutPrefix(rest, "l/"); ok {
		ck.local(local, kv)
		return nil
	}
	gen, logical, ok := strings.Cut(strings.TrimPrefix(rest, "g/"), "/")
	if !strings.HasPrefix(rest, "g/") || !ok {
		ck.report("unknown record %s", kv.Key)
		return nil
	}
	if gen != ck.v.dev.Generation {
		if ck.strays == nil {
			ck.strays = make(map[string]bool)
		}
		ck.strays[gen] = true
		return nil
	}
	return ck.content(ctx, logical, kv)
}

func (ck *checker) local(name string, kv store.KV) {
	kind, id, _ := strings.Cut(name, "/")
	switch {
	case kind == "out" && id != "":
		var e audit.Entry
		if err := json.Unmarshal(kv.Val, &e); err != nil || e.ID == "" {
			ck.report("audit outbox record %s is damaged: %v", id, err)
		}
	case name == "audit":
		if _, err := audit.ParseHead(string(kv.Val)); err != nil {
			ck.report("the remembered head of the audit log: %w", err)
		}
	case strings.HasPrefix(name, "sweep/k/"):
		if string(kv.Val) == ck.v.dev.Generation {
			ck.swept[key.IncarnationID(strings.TrimPrefix(name, "sweep/k/"))] = true
		}
	case kind == "job" && id != "":
		hd, err := seal.Header(kv.Val)
		if err == nil {
			_, err = ck.v.root.Open(ck.h.jobRef(id, hd.Version), kv.Val)
		}
		if err != nil {
			ck.report("the document of job %s: %w", id, err)
		}
	case name == "xk":
		ck.exchangeKey = true
		s, err := ck.v.root.OpenSecret((&call{h: ck.h}).exchangeKeyRef(), kv.Val)
		if err != nil {
			ck.report("the exchange key: %w", err)
		}
		s.Wipe()
	default:
		ck.report("unknown record %s", kv.Key)
	}
}

// content opens a record of the current generation and judges it by its kind.
func (ck *checker) content(ctx context.Context, logical string, kv store.KV) error {
	kind, ok := kindOf(logical)
	if !ok {
		ck.report("unknown record %s", kv.Key)
		return nil
	}
	if kind == seal.KindMaterial { // opened with its version; here it is only counted
		inc, _, _ := strings.Cut(strings.TrimPrefix(logical, "m/"), "/")
		ck.key(key.IncarnationID(inc)).materials++
		return nil
	}
	_, plain, err := ck.v.unseal(logical, kv)
	if err != nil {
		ck.report("%w", err)
		return nil
	}
	switch kind {
	case seal.KindHead, seal.KindDeletedHead:
		decode(ck, logical, plain, ck.head)
	case seal.KindVersion:
		var stop error
		decode(ck, logical, plain, func(logical string, m key.Meta) { stop = ck.version(ctx, logical, m) })
		return stop
	case seal.KindRoleAssignment:
		decode(ck, logical, plain, ck.assignment)
	case seal.KindRoleDefinition:
		decode(ck, logical, plain, ck.definition)
	case seal.KindSetting:
		decode(ck, logical, plain, ck.setting)
	default: // material is checked with its version; no other kind has a logical name
	}
	return nil
}

// decode parses a record strictly: a field this program does not know would be lost at the next change.
func decode[T any](ck *checker, logical string, plain []byte, judge func(string, T)) {
	var r T
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		ck.report("%s does not parse: %w", logical, err)
		return
	}
	judge(logical, r)
}

func (ck *checker) key(inc key.IncarnationID) *checkedKey {
	k := ck.keys[inc]
	if k == nil {
		k = &checkedKey{}
		ck.keys[inc] = k
	}
	return k
}

func (ck *checker) head(logical string, hd head) {
	prefix, fold, _ := strings.Cut(logical, "/")
	if hd.Meta.Name.Fold() != fold {
		ck.report("%s is the head of key %s", logical, hd.Meta.Name)
	}
	if (prefix == "d") != (hd.Deletion != nil) {
		ck.report("%s: live heads have no deletion date and deleted ones have one", logical)
	}
	if other, ok := ck.names[fold]; ok {
		ck.report("key %s is under %s/ and under %s/", fold, other, prefix)
	}
	ck.names[fold] = prefix
	if hd.Versions < 1 { // more than the limit is no damage: it may have been lowered, or the key restored
		ck.report("%s counts %d versions", logical, hd.Versions)
	}
	if p := hd.Rotation; p != nil {
		if _, err := p.Check(); err != nil || p.Blank() {
			ck.report("%s has a rotation policy that cannot be: %v", logical, err)
		}
	}
	k := ck.key(hd.Incarnation)
	if k.head != nil {
		ck.report("%s and %s have the same incarnation", k.head.Meta.Name, hd.Meta.Name)
	}
	k.head = &hd
}

// version judges a version together with its material. Heads sort before versions, so its head is known.
func (ck *checker) version(ctx context.Context, logical string, m key.Meta) error {
	incText, ver, _ := strings.Cut(strings.TrimPrefix(logical, "v/"), "/")
	inc := key.IncarnationID(incText)
	k := ck.key(inc)
	k.versions++
	if string(m.Version) != ver {
		ck.report("%s says that it is version %s", logical, m.Version)
	}
	if spec, err := key.NewSpec(m.Spec.Type, m.Spec.Bits, m.Spec.Curve, m.Spec.Exponent); err != nil || spec != m.Spec {
		ck.report("%s has no valid key type: %v", logical, err)
	}
	if k.head != nil && m.Name != k.head.Meta.Name {
		ck.report("%s belongs to key %s, its head to %s", logical, m.Name, k.head.Meta.Name)
	}
	if k.head != nil && m.Attributes.Exportable != k.head.Meta.Attributes.Exportable {
		ck.report("%s and the current version of %s are not both exportable", logical, m.Name)
	}
	if k.head != nil && m.Version == k.head.Meta.Version {
		k.current = true
		if !reflect.DeepEqual(m, k.head.Meta) {
			ck.report("%s differs from what the head of %s shows", logical, m.Name)
		}
	}
	if k.head == nil {
		return nil // orphans are reported once, at the end
	}
	return ck.material(ctx, materialName(inc, m.Version), m)
}

func (ck *checker) material(ctx context.Context, logical string, m key.Meta) error {
	at := ck.v.contentKey(logical)
	page, err := ck.h.store.Range(ctx, store.Query{Prefix: at, Limit: 1, At: ck.at})
	if err != nil {
		return storeError("read "+logical, err)
	}
	if len(page.KVs) == 0 || page.KVs[0].Key != at {
		ck.report("%s is missing", logical)
		return nil
	}
	if err := checkMaterial(ck.v.root, logical, page.KVs[0].Val, m); err != nil {
		ck.report("%w", err)
	}
	return nil
}

// checkMaterial opens material, and wipes it: it must parse and belong to the public part that version m shows.
func checkMaterial(r *seal.Root, logical string, sealed []byte, m key.Meta) error {
	hd, err := seal.Header(sealed)
	if err != nil {
		return fmt.Errorf("%s: %w", logical, err)
	}
	s, err := r.OpenSecret(ref(logical, hd.Version), sealed)
	if err != nil {
		return fmt.Errorf("%s: %w", logical, err)
	}
	defer s.Wipe()
	k, err := material.Parse(m.Spec, s)
	if err != nil {
		return fmt.Errorf("%s: %w", logical, err)
	}
	defer k.Wipe()
	if !reflect.DeepEqual(k.Public(), m.Public) {
		return fmt.Errorf("%s is not the private half of what version %s/%s shows", logical, m.Name, m.Version)
	}
	return nil
}

// finish judges what only the whole can tell.
func (ck *checker) finish() {
	for inc, k := range ck.keys {
		switch {
		case k.head != nil && (k.versions != k.head.Versions || k.materials != k.head.Versions):
			ck.report("key %s counts %d versions; there are %d, and the material of %d", k.head.Meta.Name, k.head.Versions, k.versions, k.materials)
		case k.head != nil && !k.current:
			ck.report("key %s has no current version %s", k.head.Meta.Name, k.head.Meta.Version)
		case k.head != nil && ck.swept[inc]:
			ck.report("key %s is to be swept and has a head", k.head.Meta.Name)
		case k.head == nil && !ck.swept[inc]:
			ck.report("incarnation %s has %d versions and the material of %d, but no head and no note to sweep it", inc, k.versions, k.materials)
		}
	}
	if _, err := rbac.Compile(ck.assignments, ck.definitions); err != nil {
		ck.report("roles do not compile: %w", err)
	}
	admins := 0
	for _, a := range ck.assignments {
		if administersAll(a) {
			admins++
		}
	}
	if admins == 0 {
		ck.report("the HSM has no Administrator")
	}
	if ck.exchangeKey != (ck.v.dev.Exchange != "") {
		ck.report("the device record and the exchange key kept do not agree")
	}
	if ck.v.dev.Job == "" {
		for gen := range ck.strays {
			ck.report("generation %s is left over", gen)
		}
	}
}
