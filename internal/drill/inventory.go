package drill

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"redoubt/internal/client"
)

// An inventory is everything an HSM shows of its content, in a form in which equal content gives equal
// bytes: one line of JSON for each thing, in the order of the ids, with the HSM's own host name replaced
// and lists whose order means nothing sorted. It is a file, so that any number of keys takes no memory but
// their names.

// entry is one line of an inventory. Ids are: deletedkey/NAME, key/NAME/VERSION, key/NAME/current,
// key/NAME/rotationpolicy, roleassignment/GUID, roledefinition/GUID, setting/NAME.
type entry struct {
	ID    string          `json:"id"`
	Value json.RawMessage `json:"value"`
}

// hostMark stands for the HSM's own base URL.
const hostMark = "{hsm}"

// canonical is v as an entry of the HSM at base.
func canonical(base, id string, v any) (entry, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return entry{}, fmt.Errorf("inventory of %s: %w", id, err)
	}
	var plain any
	if err := json.Unmarshal(b, &plain); err != nil {
		return entry{}, fmt.Errorf("inventory of %s: %w", id, err)
	}
	b, err = json.Marshal(unhosted(strings.ToLower(base), plain)) // members of objects come out in name order
	return entry{ID: id, Value: b}, err
}

// unhosted replaces base in all texts and sorts lists of texts: key_ops, actions, scopes.
func unhosted(base string, v any) any {
	switch v := v.(type) {
	case string:
		if len(v) >= len(base) && strings.EqualFold(v[:len(base)], base) && (len(v) == len(base) || v[len(base)] == '/') {
			return hostMark + v[len(base):]
		}
	case map[string]any:
		for k := range v {
			v[k] = unhosted(base, v[k])
		}
	case []any:
		texts := make([]string, 0, len(v))
		for i := range v {
			v[i] = unhosted(base, v[i])
			if s, ok := v[i].(string); ok {
				texts = append(texts, s)
			}
		}
		if len(texts) == len(v) {
			slices.Sort(texts)
			return texts
		}
	}
	return v
}

// inventory is one under way.
type inventory struct {
	h    *client.HSM
	step *step
	out  *bufio.Writer
	last string
	n    int
}

// takeInventory writes the inventory of h to a new file and returns the number of entries. Nobody may
// change the HSM meanwhile.
func takeInventory(ctx context.Context, s *step, h *client.HSM, path string) (n int, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	in := &inventory{h: h, step: s, out: bufio.NewWriter(f)}
	err = in.take(ctx)
	return in.n, errors.Join(err, in.out.Flush(), f.Close())
}

func (in *inventory) take(ctx context.Context) error {
	live, err := in.h.ListKeys(ctx)
	if err != nil {
		return err
	}
	deleted, err := in.h.ListDeletedKeys(ctx)
	if err != nil {
		return err
	}
	in.step.expect(len(live) + 2*len(deleted))
	if err := in.deletedKeys(ctx, deleted); err != nil {
		return err
	}
	names := namesOf(live)
	byKey, err := in.keys(ctx, names)
	if err != nil {
		return err
	}
	return in.rest(ctx, byKey, namesOf(deleted))
}

func namesOf(items []client.KeyItem) []string {
	out := make([]string, len(items))
	for i, k := range items {
		out[i] = k.Name()
	}
	// The order of lines is that of "key/NAME/...", where the slash takes part.
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	return out
}

func (in *inventory) add(id string, v any) error {
	e, err := canonical(in.h.URL(), id, v)
	if err != nil {
		return err
	}
	return in.write(e)
}

func (in *inventory) write(e entry) error {
	if e.ID <= in.last {
		return fmt.Errorf("inventory: %s comes after %s: the HSM lists something twice", e.ID, in.last)
	}
	in.last = e.ID
	in.n++
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = in.out.Write(append(b, '\n'))
	return err
}

func (in *inventory) deletedKeys(ctx context.Context, items []client.KeyItem) error {
	return ordered(ctx, namesOf(items), in.h.GetDeletedKey, func(k client.Key) error {
		in.step.add(1)
		return in.add("deletedkey/"+k.Name(), k)
	})
}

// seenKey is one live key: all its versions as entries, and the role assignments made on it.
type seenKey struct {
	versions    []entry // and its rotation policy
	assignments []client.RoleAssignment
}

// keys writes the versions of the named keys, and returns the role assignments made on single keys.
func (in *inventory) keys(ctx context.Context, names []string) ([]client.RoleAssignment, error) {
	var byKey []client.RoleAssignment
	err := ordered(ctx, names, in.see, func(k seenKey) error {
		in.step.add(1)
		byKey = append(byKey, k.assignments...)
		for _, v := range k.versions {
			if err := in.write(v); err != nil {
				return err
			}
		}
		return nil
	})
	return byKey, err
}

func (in *inventory) see(ctx context.Context, name string) (k seenKey, err error) {
	items, err := in.h.ListKeyVersions(ctx, name)
	if err != nil {
		return k, err
	}
	slices.SortFunc(items, func(a, b client.KeyItem) int { return strings.Compare(a.Version(), b.Version()) })
	for _, item := range items {
		full, err := in.h.GetKey(ctx, name, item.Version())
		if err != nil {
			return k, err
		}
		e, err := canonical(in.h.URL(), "key/"+name+"/"+item.Version(), full)
		if err != nil {
			return k, err
		}
		k.versions = append(k.versions, e)
	}
	if k.assignments, err = in.assignmentsOn(ctx, name); err != nil {
		return k, err
	}
	current, err := in.h.GetKey(ctx, name, "")
	if err != nil {
		return k, err
	}
	// The current version stands there twice: the HSM keeps it apart, and both must be right.
	e, err := canonical(in.h.URL(), "key/"+name+"/current", current)
	if err != nil {
		return k, err
	}
	k.versions = append(k.versions, e)
	policy, err := in.h.RotationPolicy(ctx, name)
	if err != nil {
		return k, err
	}
	e, err = canonical(in.h.URL(), "key/"+name+"/rotationpolicy", policy)
	k.versions = append(k.versions, e)
	slices.SortFunc(k.versions, func(a, b entry) int { return strings.Compare(a.ID, b.ID) })
	return k, err
}

// assignmentsOn lists the role assignments made on one key; the list of "/" does not show them.
func (in *inventory) assignmentsOn(ctx context.Context, name string) ([]client.RoleAssignment, error) {
	all, err := in.h.RoleAssignments(ctx, "/keys/"+name)
	return slices.DeleteFunc(all, func(a client.RoleAssignment) bool {
		return !strings.EqualFold(a.Properties.Scope, "/keys/"+name)
	}), err
}

// rest writes roles and settings.
func (in *inventory) rest(ctx context.Context, assignments []client.RoleAssignment, deleted []string) error {
	err := ordered(ctx, deleted, in.assignmentsOn, func(as []client.RoleAssignment) error {
		in.step.add(1)
		assignments = append(assignments, as...)
		return nil
	})
	if err != nil {
		return err
	}
	top, err := in.h.RoleAssignments(ctx, "/")
	if err != nil {
		return err
	}
	definitions, err := in.h.RoleDefinitions(ctx, "/")
	if err != nil {
		return err
	}
	settings, err := in.h.Settings(ctx)
	if err != nil {
		return err
	}
	lines := map[string]any{}
	for _, a := range append(top, assignments...) {
		lines["roleassignment/"+a.Name] = a
	}
	for _, r := range definitions {
		lines["roledefinition/"+r.Name] = r
	}
	for _, v := range settings {
		lines["setting/"+v.Name] = v
	}
	for _, id := range sortedKeys(lines) {
		if err := in.add(id, lines[id]); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
