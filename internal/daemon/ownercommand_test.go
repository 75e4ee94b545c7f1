package daemon

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/client"
)

// TestOwnerAdd: when no Owner is left who can sign in, an operator gives it back on the stopped server, and the audit log of
// every HSM, of a soft-deleted one too, tells of it.
func TestOwnerAdd(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.rewrite(`owners = ["`+siteOwner+`"]`, `owners = ["`+siteOwner+`", "0c0c0c0c-0b0b-0c0c-0d0d-0e0e0e0e0e0e"]`)
	r.init()
	s := r.serve(ServeOptions{})
	ctx := t.Context()
	r.activated("one")
	r.activated("gone")
	if err := r.client().DeleteHSM(ctx, group, "gone"); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, m := range append(s.fleet.List(false), s.fleet.List(true)...) {
		files[m.Name] = s.cfg.place().audit(m.ID)
	}
	add := func(args ...string) (string, error) {
		var out bytes.Buffer
		c := command(&out, &out)
		c.SetArgs(append([]string{"owner", "add", "--config", r.file}, args...))
		err := c.ExecuteContext(ctx)
		return out.String(), err
	}
	refused := func(what, word string, args ...string) {
		t.Helper()
		if out, err := add(args...); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v %s", what, err, out)
		}
	}
	refused("a running server", "the server runs; stop it first", stranger)

	// The owner gives the role up; the other one has left, and nobody can sign in as them.
	token := r.idp.sign(r.idp.good("https://" + siteHost))
	roles := "https://" + siteHost + "/subscriptions/" + siteSub + "/providers/Microsoft.Authorization/roleAssignments"
	var list struct {
		Value []struct {
			ID         string
			Properties struct{ PrincipalID string }
		}
	}
	if err := json.NewDecoder(r.ask(http.MethodGet, roles+"?api-version=2022-04-01", token).Body).Decode(&list); err != nil || len(list.Value) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	own := list.Value[0]
	if own.Properties.PrincipalID != siteOwner {
		own = list.Value[1]
	}
	if resp := r.ask(http.MethodDelete, "https://"+siteHost+own.ID+"?api-version=2022-04-01", token); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d", resp.StatusCode)
	}
	_, err := r.client().CreateHSM(ctx, group, "two", client.CreateHSM{Location: region, Administrators: []string{siteOwner}, RetentionDays: 7})
	says(t, "without a role", err, "AuthorizationFailed")
	r.stop(s)

	refused("no GUID", "is not an object id", "me@example.com")
	refused("nobody", "owner add --config FILE OBJECT-ID [flags] (arguments beside flags: 0, needed: 1)")
	if out, err := add(strings.ToUpper(siteOwner), "--reason", "the last one gave it up"); err != nil || !strings.Contains(out, siteOwner+" is Owner") || !strings.Contains(out, "those of 2 HSMs") {
		t.Fatalf("%v %s", err, out)
	}
	refused("again", "already", siteOwner)

	s = r.serve(ServeOptions{})
	must[client.ManagedHSM](t)(r.client().CreateHSM(ctx, group, "two", client.CreateHSM{Location: region, Administrators: []string{siteOwner}, RetentionDays: 7}))
	must[client.ManagedHSM](t)(r.client().RecoverHSM(ctx, group, region, "gone"))
	r.stop(s)
	files["the control plane"] = s.cfg.place().audit(trailName)
	for name, file := range files {
		found := 0
		rep, err := audit.Verify(bytes.NewReader(must[[]byte](t)(os.ReadFile(file))), "", func(e audit.Entry) error {
			if e.Operation == entryOwnerAdd && e.Details["owner"] == siteOwner && e.Details["by"] != "" && e.Details["reason"] == "the last one gave it up" {
				found++
			}
			return nil
		})
		if err != nil || found != 1 || rep.Head.Seq == 0 {
			t.Errorf("%s: %d entries, %v", name, found, err)
		}
	}
	data := r.path("data")
	r.write("redoubt.toml", bytes.ReplaceAll(must[[]byte](t)(os.ReadFile(r.file)), []byte(siteSub), []byte(siteTenant)))
	refused("another site's data", "was made for subscription", stranger)
	if err := os.Rename(data, data+"-away"); err != nil {
		t.Fatal(err)
	}
	refused("no data", "is missing", stranger)
}
