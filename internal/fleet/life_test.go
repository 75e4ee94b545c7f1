package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
	"redoubt/internal/store"
)

func TestLife(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	ctx := t.Context()
	made, err := s.Create(ctx, s.Resource("ContosoMHSM"))
	if err != nil || made.ID == "" || made.Created != s.Clock.Now().Unix() {
		t.Fatalf("Create: %+v, %v", made, err)
	}
	d, r, err := s.Device("CONTOSOmhsm")
	if err != nil || d.ID() != made.ID || r.Name != "ContosoMHSM" {
		t.Fatalf("Device: %+v, %v", r, err)
	}
	if _, err := s.Create(ctx, s.Resource("contosomhsm")); !errors.Is(err, fleet.ErrNameTaken) {
		t.Errorf("second Create: %v", err)
	}
	if err := s.Purge(ctx, "contosomhsm"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("Purge of a live HSM: %v", err)
	}
	gone, err := s.Delete(ctx, "contosomhsm")
	if err != nil || gone.Deletion.At != s.Clock.Now().Unix() || gone.Deletion.PurgeAt != s.Clock.Now().AddDate(0, 0, 28).Unix() {
		t.Fatalf("Delete: %+v, %v", gone.Deletion, err)
	}
	if _, _, err := s.Device("contosomhsm"); !errors.Is(err, fleet.ErrUnknownHost) {
		t.Errorf("Device of a deleted HSM: %v", err)
	}
	_, err = s.Create(ctx, s.Resource("contosomhsm"))
	if !errors.Is(err, fleet.ErrSoftDeleted) || !strings.Contains(err.Error(), "az keyvault recover --hsm-name ContosoMHSM") {
		t.Errorf("Create over a deleted HSM: %v", err)
	}
	if _, err := s.Delete(ctx, "contosomhsm"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("second Delete: %v", err)
	}
	s.Restart()
	if back, err := s.Recover(ctx, "CONTOSOMHSM"); err != nil || back.ID != made.ID || back.Deletion != nil {
		t.Fatalf("Recover: %+v, %v", back, err)
	}
	if _, err := s.Recover(ctx, "contosomhsm"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("second Recover: %v", err)
	}
	if _, err := s.Delete(ctx, "contosomhsm"); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(ctx, "contosomhsm"); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, s, made.ID)
	if again, err := s.Create(ctx, s.Resource("contosomhsm")); err != nil || again.ID == made.ID {
		t.Errorf("Create after purge: %+v, %v", again, err)
	}
}

// nothingLeft wants no record and no root of that HSM. Its audit file stays.
func nothingLeft(t *testing.T, s *hsmtest.Site, id string) {
	t.Helper()
	for _, k := range slices.Concat(s.Records("/hsm/"), s.Records("/fleet/"), s.RootFiles()) {
		if strings.Contains(k, id) {
			t.Errorf("left behind: %s", k)
		}
	}
	if !hsmtest.Exists(s.Dir + "/audit/" + id + ".jsonl") {
		t.Error("the audit file is gone")
	}
}

// tags are n tags, each as long as it may be.
func tags(n int) map[string]string {
	out := make(map[string]string, n)
	for i := range n {
		out[fmt.Sprintf("%03d%s", i, strings.Repeat("n", 509))] = strings.Repeat("v", 256)
	}
	return out
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	for name, c := range map[string]struct {
		change func(*fleet.Resource)
		want   error
	}{
		"short name":          {func(r *fleet.Resource) { r.Name = "ab" }, fleet.ErrBadName},
		"long name":           {func(r *fleet.Resource) { r.Name = strings.Repeat("a", 25) }, fleet.ErrBadName},
		"leading digit":       {func(r *fleet.Resource) { r.Name = "1abc" }, fleet.ErrBadName},
		"double hyphen":       {func(r *fleet.Resource) { r.Name = "a--b" }, fleet.ErrBadName},
		"trailing hyphen":     {func(r *fleet.Resource) { r.Name = "abc-" }, fleet.ErrBadName},
		"dot":                 {func(r *fleet.Resource) { r.Name = "ab.c" }, fleet.ErrBadName},
		"slash":               {func(r *fleet.Resource) { r.Name = "ab/c" }, fleet.ErrBadName},
		"no location":         {func(r *fleet.Resource) { r.Location = "" }, fleet.ErrBadResource},
		"long group":          {func(r *fleet.Resource) { r.ResourceGroup = strings.Repeat("g", 91) }, fleet.ErrBadResource},
		"group with slash":    {func(r *fleet.Resource) { r.ResourceGroup = "a/b" }, fleet.ErrBadResource},
		"group with control":  {func(r *fleet.Resource) { r.ResourceGroup = "a\x00b" }, fleet.ErrBadResource},
		"no tenant":           {func(r *fleet.Resource) { r.Tenant = "" }, fleet.ErrBadResource},
		"odd location":        {func(r *fleet.Resource) { r.Location = "west/us" }, fleet.ErrBadResource},
		"unknown SKU":         {func(r *fleet.Resource) { r.SKUName = "Standard_B2" }, fleet.ErrBadSKU},
		"another family":      {func(r *fleet.Resource) { r.SKUFamily = "C" }, fleet.ErrBadSKU},
		"public access":       {func(r *fleet.Resource) { r.PublicAccess = "Sometimes" }, fleet.ErrBadResource},
		"51 tags":             {func(r *fleet.Resource) { r.Tags = tags(51) }, fleet.ErrBadResource},
		"nameless tag":        {func(r *fleet.Resource) { r.Tags = map[string]string{"": "x"} }, fleet.ErrBadResource},
		"long tag":            {func(r *fleet.Resource) { r.Tags = map[string]string{strings.Repeat("n", 513): "x"} }, fleet.ErrBadResource},
		"long value":          {func(r *fleet.Resource) { r.Tags = map[string]string{"n": strings.Repeat("v", 257)} }, fleet.ErrBadResource},
		"slash in a tag":      {func(r *fleet.Resource) { r.Tags = map[string]string{"a/b": "x"} }, fleet.ErrBadResource},
		"tag twice":           {func(r *fleet.Resource) { r.Tags = map[string]string{"Env": "x", "env": "y"} }, fleet.ErrBadResource},
		"6 days":              {func(r *fleet.Resource) { r.RetentionDays = 6 }, fleet.ErrBadResource},
		"91 days":             {func(r *fleet.Resource) { r.RetentionDays = 91 }, fleet.ErrBadResource},
		"no administrator":    {func(r *fleet.Resource) { r.Admins = nil }, fleet.ErrBadResource},
		"an odd one":          {func(r *fleet.Resource) { r.Admins = []string{"alice"} }, hsm.ErrBadRequest},
		"many administrators": {func(r *fleet.Resource) { r.Admins = slices.Repeat([]string{hsmtest.Admin}, 51) }, hsm.ErrBadRequest},
	} {
		r := s.Resource("refused")
		c.change(&r)
		if _, err := s.Create(t.Context(), r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if left := append(s.Records("/hsm/"), s.Records("/fleet/")...); len(left) > 0 {
		t.Errorf("refused creations left %q", left)
	}
	if left := s.RootFiles(); len(left) > 0 {
		t.Errorf("refused creations left %q", left)
	}
}

func TestNamesAreUniqueWhateverTheirCase(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	names := []string{"contosomhsm", "CONTOSOMHSM", "ContosoMHSM", "cONTOSOmhsm"}
	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := s.Create(t.Context(), s.Resource(names[i%len(names)]))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if !errors.Is(err, fleet.ErrNameTaken) && !errors.Is(err, fleet.ErrCreating) {
				t.Errorf("Create: %v", err)
			}
		})
	}
	wg.Wait()
	if made != 1 || len(s.List(false)) != 1 || len(s.Records("/fleet/hsm/")) != 1 || len(s.Records("/fleet/new/")) != 0 {
		t.Errorf("%d creations succeeded, %d HSMs listed, records %q", made, len(s.List(false)), s.Records("/fleet/"))
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	var wg sync.WaitGroup
	for _, n := range []string{"hsm-a", "hsm-b", "hsm-c", "hsm-d"} {
		wg.Go(func() {
			for range 3 {
				if _, err := s.Create(t.Context(), s.Resource(n)); err != nil {
					t.Errorf("create %s: %v", n, err)
				}
				if _, err := s.Delete(t.Context(), n); err != nil {
					t.Errorf("delete %s: %v", n, err)
				}
				if err := s.Purge(t.Context(), n); err != nil {
					t.Errorf("purge %s: %v", n, err)
				}
				s.List(true)
			}
		})
	}
	wg.Wait()
	if left := slices.Concat(s.Records("/hsm/"), s.Records("/fleet/"), s.RootFiles()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned("contosomhsm")
	ctx := t.Context()
	r, err := s.Update(ctx, "ContosoMHSM", func(r *fleet.Resource) error {
		r.Tags, r.Identities, r.PurgeProtection = map[string]string{"a": "b"}, []string{"/subscriptions/s/mi"}, true
		return nil
	})
	if err != nil || r.Tags["a"] != "b" {
		t.Fatalf("Update: %+v, %v", r, err)
	}
	s.Restart()
	if r, err = s.Get("contosomhsm"); err != nil || !r.PurgeProtection || len(r.Identities) != 1 {
		t.Errorf("after a restart: %+v, %v", r, err)
	}
	for name, change := range map[string]func(*fleet.Resource){
		"name":           func(r *fleet.Resource) { r.Name = "other" },
		"id":             func(r *fleet.Resource) { r.ID = "other" },
		"tenant":         func(r *fleet.Resource) { r.Tenant = "other" },
		"SKU":            func(r *fleet.Resource) { r.SKUName = "Custom_B32" },
		"administrators": func(r *fleet.Resource) { r.Admins = []string{hsmtest.Stranger} },
		"retention":      func(r *fleet.Resource) { r.RetentionDays = 90 },
		"no purge protection any more": func(r *fleet.Resource) {
			r.PurgeProtection = false
		},
	} {
		if _, err := s.Update(ctx, "contosomhsm", func(r *fleet.Resource) error { change(r); return nil }); !errors.Is(err, fleet.ErrImmutable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Update(ctx, "contosomhsm", func(r *fleet.Resource) error { r.Location = "eastus"; return nil }); !errors.Is(err, fleet.ErrElsewhere) {
		t.Errorf("location: %v", err)
	}
	stop := errors.New("no")
	if _, err := s.Update(ctx, "contosomhsm", func(*fleet.Resource) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("refused by its own change: %v", err)
	}
	if _, err := s.Update(ctx, "nobody", func(*fleet.Resource) error { return nil }); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestPurgeProtection(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	r := s.Resource("contosomhsm")
	r.PurgeProtection = true
	ctx := t.Context()
	made, err := s.Create(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(ctx, "contosomhsm"); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(ctx, "contosomhsm"); !errors.Is(err, fleet.ErrPurgeProtected) {
		t.Errorf("Purge: %v", err)
	}
	s.Clock.Advance(28 * 24 * time.Hour)
	if err := s.Purge(ctx, "contosomhsm"); err != nil {
		t.Errorf("Purge after the retention: %v", err)
	}
	nothingLeft(t, s, made.ID)
}

// TestChangesOutliveTheirClient: the client of a creation or purge may go away at any time.
func TestChangesOutliveTheirClient(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Create(gone, s.Resource("contosomhsm")); err != nil {
		t.Error(err)
	}
	if _, err := s.Delete(gone, "contosomhsm"); err != nil {
		t.Error(err)
	}
	if _, err := s.Recover(gone, "contosomhsm"); err != nil {
		t.Error(err)
	}
	if _, err := s.Delete(gone, "contosomhsm"); err != nil {
		t.Error(err)
	}
	if err := s.Purge(gone, "contosomhsm"); err != nil {
		t.Error(err)
	}
}

// TestOneBrokenHSM: an HSM that cannot be opened is reported as unavailable, can be deleted, and keeps no
// other from working.
func TestOneBrokenHSM(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	broken := s.Provisioned("broken").ID()
	s.Provisioned("healthy")
	openAudit := s.Config.OpenAudit
	s.Config.OpenAudit = func(id string) (*audit.Log, error) {
		if id == broken {
			return nil, audit.ErrBroken
		}
		return openAudit(id)
	}
	s.Restart()
	s.HSM("healthy")
	if _, _, err := s.Device("broken"); !errors.Is(err, hsm.ErrUnavailable) || !errors.Is(err, audit.ErrBroken) {
		t.Errorf("Device: %v", err)
	}
	if _, err := s.Get("broken"); err != nil {
		t.Errorf("Get: %v", err)
	}
	checked := map[string]error{}
	if err := s.Fleet.Check(t.Context(), func(r fleet.Resource, err error) { checked[r.Name] = err }); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(checked["broken"], audit.ErrBroken) || checked["healthy"] != nil || len(checked) != 2 {
		t.Errorf("Check: %v", checked)
	}
	if _, err := s.Delete(t.Context(), "broken"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := s.Recover(t.Context(), "broken"); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("Recover: %v", err)
	}
	if err := s.Purge(t.Context(), "broken"); err != nil {
		t.Errorf("Purge: %v", err)
	}
}

// TestCheckOfDeleted: soft-deleted HSMs are examined, too.
func TestCheckOfDeleted(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active("contosomhsm")
	if _, err := s.Delete(t.Context(), "contosomhsm"); err != nil {
		t.Fatal(err)
	}
	s.Check()
	ra := s.Records("/hsm/" + d.ID() + "/g/")
	i := slices.IndexFunc(ra, func(k string) bool { return strings.Contains(k, "/ra/") })
	kv, _, err := s.Below.Get(t.Context(), ra[i])
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(kv.Val)
	damaged[len(damaged)-1] ^= 1
	for _, val := range [][]byte{damaged, kv.Val} {
		if _, err := s.Below.Txn(t.Context(), nil, []store.Op{store.Put(ra[i], val)}); err != nil {
			t.Fatal(err)
		}
		var found error
		if err := s.Fleet.Check(t.Context(), func(_ fleet.Resource, err error) { found = err }); err != nil {
			t.Fatal(err)
		}
		if errors.Is(found, hsm.ErrCorrupt) != (&val[0] == &damaged[0]) {
			t.Errorf("Check: %v", found)
		}
	}
}

// TestDamagedRecord: a resource record that does not parse stops the start with its name.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned("contosomhsm")
	s.Stop()
	key := s.Records("/fleet/hsm/")[0]
	kv, _, err := s.Below.Get(t.Context(), key)
	if err == nil {
		_, err = s.Below.Txn(t.Context(), nil, []store.Op{store.Put(key, []byte("{"))})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Open(t.Context(), s.Config); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("Open: %v", err)
	}
	if !json.Valid(kv.Val) {
		t.Error("the record is not JSON")
	}
	if _, err := s.Below.Txn(t.Context(), nil, []store.Op{store.Put(key, kv.Val)}); err != nil {
		t.Fatal(err)
	}
	s.Restart()
}
