package cloud

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/store"
	"redoubt/internal/store/mem"
	"redoubt/internal/store/storetest"
)

// fresh is a bootstrapped cloud with its first credentials.
func fresh(t *testing.T, s store.Store) (*Cloud, Account, Credentials) {
	t.Helper()
	c := Open(s)
	var cred Credentials
	a, err := c.Bootstrap(t.Context(), Options{Deliver: func(_ Account, got Credentials) error { cred = got; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c, a, cred
}

func TestBootstrapIsTheSameCloudForEver(t *testing.T) {
	t.Parallel()
	s := mem.New()
	c, a, cred := fresh(t, s)
	if a.User.UPN != "operator@contoso.onmicrosoft.com" || cred.Password == "" || cred.Password == cred.ClientSecret {
		t.Errorf("unexpected account %+v", a)
	}
	again, err := Open(s).Bootstrap(t.Context(), Options{Domain: "other.example", Deliver: func(Account, Credentials) error {
		t.Error("credentials made twice")
		return nil
	}})
	if err != nil || again != a {
		t.Errorf("second start: %+v, %v; want %+v", again, err, a)
	}
	for _, id := range []string{a.User.ObjectID, a.ServicePrincipal.ObjectID} {
		if ok, err := c.IsOwner(t.Context(), strings.ToUpper(id)); !ok || err != nil {
			t.Errorf("%s is not owner: %v", id, err)
		}
	}
	if ok, _ := c.IsOwner(t.Context(), NewGUID()); ok {
		t.Error("a stranger is owner")
	}
}

func TestBootstrapDeliversBeforeItCommits(t *testing.T) {
	t.Parallel()
	s := mem.New()
	boom := errors.New("disk full")
	if _, err := Open(s).Bootstrap(t.Context(), Options{Deliver: func(Account, Credentials) error { return boom }}); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if _, err := Open(s).Tenant(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("a cloud without credentials was made: %v", err)
	}
}

// A crash at the one write of Bootstrap leaves a cloud whose delivered credentials work, or none.
func TestBootstrapCrash(t *testing.T) {
	t.Parallel()
	for _, fault := range []storetest.Fault{storetest.Lost, storetest.Stored} {
		f := storetest.NewFaults(mem.New())
		f.FailAt(1, fault)
		var cred Credentials
		o := Options{Deliver: func(_ Account, c Credentials) error { cred = c; return nil }}
		if _, err := Open(f).Bootstrap(t.Context(), o); err == nil {
			t.Fatalf("%v: no error", fault)
		}
		f.Revive()
		c := Open(f)
		a, err := c.Bootstrap(t.Context(), o)
		if err != nil {
			t.Fatalf("%v: %v", fault, err)
		}
		if _, err := c.CheckPassword(t.Context(), a.User.UPN, cred.Password); err != nil {
			t.Errorf("%v: password: %v", fault, err)
		}
		if _, err := c.CheckSecret(t.Context(), a.ServicePrincipal.AppID, cred.ClientSecret); err != nil {
			t.Errorf("%v: secret: %v", fault, err)
		}
	}
}

func TestReissue(t *testing.T) {
	t.Parallel()
	s := mem.New()
	c, a, old := fresh(t, s)
	var cred Credentials
	if _, err := c.Bootstrap(t.Context(), Options{Reissue: true, Deliver: func(_ Account, n Credentials) error { cred = n; return nil }}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CheckPassword(t.Context(), a.User.UPN, old.Password); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("old password: %v", err)
	}
	u, err := c.CheckPassword(t.Context(), a.User.UPN, cred.Password)
	if err != nil || u.Stamp == a.User.Stamp {
		t.Errorf("new password: %v, stamp %q", err, u.Stamp)
	}
	if _, err := c.CheckSecret(t.Context(), a.ServicePrincipal.AppID, cred.ClientSecret); err != nil {
		t.Errorf("new secret: %v", err)
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	t.Parallel()
	c := Credentials{Password: "hunter2", ClientSecret: "hunter3"}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), c.String()} {
		if strings.Contains(s, "hunter") {
			t.Errorf("printed %s", s)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	s := mem.New()
	c, a, cred := fresh(t, s)
	ctx := t.Context()
	for range 2 { // the second time from memory
		if u, err := c.CheckPassword(ctx, strings.ToUpper(a.User.UPN), cred.Password); err != nil || u != a.User {
			t.Errorf("password: %+v, %v", u, err)
		}
	}
	for _, bad := range [][2]string{{a.User.UPN, "x"}, {a.User.UPN, ""}, {"nobody@contoso.example", cred.Password}, {"a/b@c", "x"}, {"", ""}} {
		if _, err := c.CheckPassword(ctx, bad[0], bad[1]); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := c.CheckSecret(ctx, NewGUID(), "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown application: %v", err)
	}
	if _, err := c.CheckSecret(ctx, a.ServicePrincipal.ObjectID, cred.ClientSecret); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("object id for application id: %v", err)
	}
	// Nothing in the store is a secret or leads to one.
	page, err := s.Range(ctx, store.Query{Prefix: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range page.KVs {
		if strings.Contains(string(kv.Val), cred.Password) || strings.Contains(string(kv.Val), cred.ClientSecret) {
			t.Errorf("%s holds a secret", kv.Key)
		}
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	c, a, _ := fresh(t, mem.New())
	ctx := t.Context()
	alice, err := c.AddUser(ctx, User{UPN: "Alice@Contoso.onmicrosoft.com", DisplayName: "Alice"}, "pw")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddUser(ctx, User{UPN: "alice@contoso.ONMICROSOFT.com"}, "pw"); !errors.Is(err, ErrExists) {
		t.Errorf("same name twice: %v", err)
	}
	for _, bad := range []string{"", "alice", "a b@c", "a/b@c"} {
		if _, err := c.AddUser(ctx, User{UPN: bad}, "pw"); !errors.Is(err, ErrInvalid) {
			t.Errorf("user name %q: %v", bad, err)
		}
	}
	mi, created, err := c.EnsureManagedIdentity(ctx, "/subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Backup", "westus3", nil)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	for id, kind := range map[string]Kind{a.User.ObjectID: KindUser, alice.ObjectID: KindUser,
		a.ServicePrincipal.ObjectID: KindServicePrincipal, strings.ToUpper(mi.PrincipalID): KindManagedIdentity} {
		if p, err := c.Principal(ctx, id); err != nil || p.Kind != kind {
			t.Errorf("%s: %+v, %v", id, p, err)
		}
	}
	all, err := c.Principals(ctx)
	if err != nil || len(all) != 4 {
		t.Errorf("%d principals, %v", len(all), err)
	}
	for _, id := range []string{alice.ObjectID, mi.PrincipalID, a.ServicePrincipal.ObjectID} {
		if err := c.DeletePrincipal(ctx, id); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Principal(ctx, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s is still there: %v", id, err)
		}
	}
	if _, err := c.AddUser(ctx, User{UPN: "alice@contoso.onmicrosoft.com"}, "pw"); err != nil {
		t.Errorf("name is not free again: %v", err)
	}
	if got, err := Open(c.s).Bootstrap(ctx, Options{}); err != nil || got.ServicePrincipal.ObjectID != a.ServicePrincipal.ObjectID {
		t.Errorf("start after the first service principal was deleted: %+v, %v", got, err)
	}
}

func TestManagedIdentityKeepsItsIDs(t *testing.T) {
	t.Parallel()
	c := Open(mem.New())
	id := "/subscriptions/S/resourcegroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mi"
	var mu sync.Mutex
	seen := map[string]int{}
	made := 0
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := id
			if i%2 == 0 {
				name = strings.ToUpper(id) + "/"
			}
			mi, created, err := c.EnsureManagedIdentity(t.Context(), name, "westus3", map[string]string{"i": fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[mi.PrincipalID+mi.ClientID]++
			if created {
				made++
			}
		})
	}
	wg.Wait()
	if len(seen) != 1 || made != 1 {
		t.Errorf("%d identities, created %d times", len(seen), made)
	}
	if list, err := c.ManagedIdentities(t.Context(), "/subscriptions/s/resourceGroups/g"); err != nil || len(list) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	if list, err := c.ManagedIdentities(t.Context(), "/subscriptions/s/resourceGroups/gg"); err != nil || len(list) != 0 {
		t.Errorf("list of another group: %v, %v", list, err)
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	c := Open(mem.New())
	ctx := t.Context()
	g, created, err := c.PutResourceGroup(ctx, ResourceGroup{Subscription: "S", Name: "ContosoResourceGroup", Location: "westus3"})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	again, created, err := c.PutResourceGroup(ctx, ResourceGroup{Subscription: "s", Name: "contosoresourcegroup", Location: "eastus"})
	if err != nil || created || again.ID() != g.ID() || again.Location != "eastus" {
		t.Errorf("update: %+v %v %v", again, created, err)
	}
	a, created, err := c.PutStorageAccount(ctx, StorageAccount{Subscription: "S", ResourceGroup: g.Name, Name: "ContosoBackup"})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if raw, err := base64.StdEncoding.DecodeString(a.Keys[0].Value); err != nil || len(raw) != 64 || a.Keys[0].Value == a.Keys[1].Value {
		t.Errorf("keys %v", a.Keys)
	}
	b, created, err := c.PutStorageAccount(ctx, StorageAccount{Subscription: "s", ResourceGroup: "CONTOSOresourcegroup", Name: "contosobackup", Kind: "StorageV2"})
	if err != nil || created || b.Keys != a.Keys || b.Name != "ContosoBackup" || b.Kind != "StorageV2" {
		t.Errorf("update: %+v %v %v", b, created, err)
	}
	if _, _, err := c.PutStorageAccount(ctx, StorageAccount{Subscription: "S", ResourceGroup: "other", Name: "contosobackup"}); !errors.Is(err, ErrExists) {
		t.Errorf("name of another group: %v", err)
	}
	for _, bad := range []string{"", "ab", "has-dash", strings.Repeat("a", 25), "a/b"} {
		if _, _, err := c.PutStorageAccount(ctx, StorageAccount{Subscription: "S", ResourceGroup: "g", Name: bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("account name %q: %v", bad, err)
		}
	}
	r, err := c.RegenerateStorageKey(ctx, "CONTOSOBACKUP", "KEY2")
	if err != nil || r.Keys[0] != a.Keys[0] || r.Keys[1].Value == a.Keys[1].Value {
		t.Errorf("regenerate: %v", err)
	}
	if _, err := c.RegenerateStorageKey(ctx, "contosobackup", "key3"); !errors.Is(err, ErrInvalid) {
		t.Errorf("key3: %v", err)
	}
	if _, _, err := c.EnsureManagedIdentity(ctx, g.ID()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mi", "", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteResourceGroup(ctx, "S", "contosoRESOURCEgroup"); err != nil {
		t.Fatal(err)
	}
	page, err := c.s.Range(ctx, store.Query{Prefix: root})
	if err != nil || len(page.KVs) != 0 {
		t.Errorf("left behind: %v, %v", page.KVs, err)
	}
}

func TestStoreFailureIsNotNotFound(t *testing.T) {
	t.Parallel()
	s := mem.New()
	c, a, cred := fresh(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := c.CheckPassword(context.WithoutCancel(t.Context()), a.User.UPN, cred.Password)
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrBadCredentials) {
		t.Errorf("got %v", err)
	}
}

func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=8192,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWhhc2hzb21laGFzaHNvbWVoYXNoc29tZWhhc2g")
	f.Add("$argon2id$v=19$m=4294967295,t=9,p=1$AAAA$AAAA")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err == nil && (p.String() != s || p.memory > 256<<10 || p.time > 16) {
			t.Fatalf("accepted %q as %+v", s, p)
		}
	})
}
