package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/client"
)

// TestServeNetworkRules: the address that counts is the one the connection comes from; who is let in signs, who is not
// is told so, and both reach the control plane.
func TestServeNetworkRules(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	r.serve(ServeOptions{})
	h := r.activated("one")
	arm, ctx := r.client(), t.Context()
	here := r.http
	elsewhere := &http.Client{Transport: r.from("127.0.0.2")}
	t.Cleanup(elsewhere.CloseIdleConnections)
	as := func(c *http.Client) (*client.Client, *client.HSM) {
		r.http = c
		defer func() { r.http = here }()
		arm := r.client()
		return arm, must[*client.HSM](t)(arm.HSMNamed("one"))
	}
	otherARM, other := as(elsewhere)
	refused := func(err error, inner string, says ...string) {
		t.Helper()
		var e *client.Error
		if !errors.As(err, &e) || e.Status != http.StatusForbidden {
			t.Fatalf("%v, want %s", err, inner)
		}
		for _, s := range says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v does not say %q", err, s)
			}
		}
	}
	must[[]client.Setting](t)(other.Settings(ctx))
	must[client.ManagedHSM](t)(arm.SetHSMNetwork(ctx, group, "one", client.NetworkRules{DefaultAction: "Deny", IPRules: []client.IPRule{{Value: "127.0.0.1"}}}, ""))
	must[[]client.Setting](t)(h.Settings(ctx))
	_, err := other.Settings(ctx)
	refused(err, "ForbiddenByFirewall", "Client address: 127.0.0.2", "--ip-address 127.0.0.2")
	must[client.ManagedHSM](t)(otherARM.SetHSMNetwork(ctx, group, "one", client.NetworkRules{DefaultAction: "Deny"}, ""))
	for _, one := range []*client.HSM{h, other} { // everybody is locked out, until the control plane says otherwise
		_, err := one.Settings(ctx)
		refused(err, "ForbiddenByFirewall", "not authorized")
	}
	must[client.ManagedHSM](t)(otherARM.SetHSMNetwork(ctx, group, "one", client.NetworkRules{DefaultAction: "Allow"}, "Disabled"))
	_, err = h.Settings(ctx)
	refused(err, "ForbiddenByConnection", "Public network access is disabled")
	must[client.ManagedHSM](t)(otherARM.SetHSMNetwork(ctx, group, "one", client.NetworkRules{DefaultAction: "Allow"}, "Enabled"))
	must[[]client.Setting](t)(h.Settings(ctx))
}

// from is the realm's transport with connections from another address of this machine.
func (r *realm) from(address string) *http.Transport {
	tr := r.http.Transport.(*http.Transport).Clone()
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext(ctx, "tcp", r.addr)
	}
	return tr
}
