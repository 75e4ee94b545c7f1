package fleet_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"redoubt/internal/fleet"
	"redoubt/internal/hsmtest"
	"redoubt/internal/store"
)

// TestAdmit: the device comes with the rules of its resource, from creation on and after every change.
func TestAdmit(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	r := s.Resource("contosomhsm")
	r.NetworkACLs = json.RawMessage(`{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"}]}`)
	if _, err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	admit := func(client string) (error, error) {
		_, r, err := s.Device("contosomhsm")
		if err != nil {
			t.Fatal(err)
		}
		return r.Admit(client, hsmtest.Admin), r.AdmitTrusted(client, hsmtest.Admin)
	}
	update := func(change func(*fleet.Resource)) {
		if _, err := s.Update(t.Context(), "contosomhsm", func(r *fleet.Resource) error { change(r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err, trusted := admit("10.1.2.3"); err != nil || trusted != nil {
		t.Errorf("an address that is let in: %v, %v", err, trusted)
	}
	err, trusted := admit("203.0.113.7")
	if !errors.Is(err, fleet.ErrFirewall) || trusted != nil || !strings.Contains(err.Error(), "Client address: 203.0.113.7\r\nCaller: oid="+hsmtest.Admin+"\r\nVault: contosomhsm;location=westus3") {
		t.Errorf("one that is not: %v, %v", err, trusted)
	}
	update(func(r *fleet.Resource) {
		r.NetworkACLs = json.RawMessage(`{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"}]}`)
	})
	if _, trusted := admit("203.0.113.7"); !errors.Is(trusted, fleet.ErrFirewall) {
		t.Errorf("with bypass None: %v", trusted)
	}
	if _, trusted := admit("10.1.2.3"); trusted != nil {
		t.Errorf("with bypass None, an address that is let in: %v", trusted)
	}
	update(func(r *fleet.Resource) { r.PublicAccess = "Disabled" })
	for _, restart := range []bool{false, true} {
		if err, _ := admit("10.1.2.3"); !errors.Is(err, fleet.ErrNotPublic) {
			t.Errorf("without public access: %v", err)
		}
		if restart {
			s.Restart()
		}
	}
	if (fleet.Resource{}).Admit("127.0.0.1", "") == nil {
		t.Error("a resource of no fleet lets somebody in")
	}
}

// TestUnreadableNetworkRules: what was stored before rules were checked, or by another hand, closes the HSM and leaves
// the control plane to set it right.
func TestUnreadableNetworkRules(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	id := s.Provisioned("contosomhsm").ID()
	kv, _, err := s.Config.Store.Get(t.Context(), "/fleet/hsm/"+id)
	if err != nil {
		t.Fatal(err)
	}
	damaged := strings.Replace(string(kv.Val), `"public_access"`, `"network_acls":{"defaultAction":7},"public_access"`, 1)
	if _, err := s.Config.Store.Txn(t.Context(), nil, []store.Op{store.Put(kv.Key, []byte(damaged))}); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	_, r, err := s.Device("contosomhsm")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Admit("127.0.0.1", ""); err == nil {
		t.Error("unreadable rules let somebody in")
	}
	tag := func(r *fleet.Resource) error { r.Tags = map[string]string{"a": "b"}; return nil }
	if _, err := s.Update(t.Context(), "contosomhsm", tag); !errors.Is(err, fleet.ErrBadResource) {
		t.Errorf("another change: %v", err)
	}
	if _, err := s.Update(t.Context(), "contosomhsm", func(r *fleet.Resource) error {
		r.NetworkACLs = json.RawMessage(`{}`)
		return nil
	}); err != nil {
		t.Error(err)
	}
	if _, r, _ := s.Device("contosomhsm"); r.Admit("127.0.0.1", "") != nil {
		t.Error("set right, and still closed")
	}
}

// BenchmarkAdmit is what the network rules cost each request of the data plane.
func BenchmarkAdmit(b *testing.B) {
	s := hsmtest.New(b)
	for name, acls := range map[string]string{"open": `{}`, "ten ranges": `{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/16"},{"value":"10.1.0.0/16"},{"value":"10.2.0.0/16"},{"value":"10.3.0.0/16"},{"value":"10.4.0.0/16"},` +
		`{"value":"10.5.0.0/16"},{"value":"10.6.0.0/16"},{"value":"10.7.0.0/16"},{"value":"10.8.0.0/16"},{"value":"10.9.0.0/16"}]}`} {
		r := s.Resource("contosomhsm-" + name[:1])
		r.NetworkACLs = json.RawMessage(acls)
		if _, err := s.Create(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		_, r, err := s.Device(r.Name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Admit("10.9.2.3", hsmtest.Admin); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
