package daemon

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/client"
)

// entriesOf reads a chain of a site whose server may run.
func entriesOf(t *testing.T, path string) (out []audit.Entry, rep audit.Report) {
	t.Helper()
	var files []string
	for _, s := range must[[]audit.Segment](t)(audit.Segments(path)) {
		files = append(files, s.Path)
	}
	rep, err := audit.VerifyFiles(files, audit.Expect{Growing: true}, func(e audit.Entry) error { out = append(out, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out, rep
}

// TestControlPlaneLog: a served site records what is done in its control plane and what reaches no HSM, signed by a key of its
// own, and notices an older copy of that file.
func TestControlPlaneLog(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	s := r.serve(ServeOptions{})
	r.activated("one")
	arm := r.client()
	if err := arm.DeleteHSM(t.Context(), group, "one"); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"one." + siteSuffix, "elsewhere.example.org"} {
		q := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+siteHost+"/keys?sig=canary", nil))
		q.Host = host
		resp := must[*http.Response](t)(r.http.Do(q))
		_ = resp.Body.Close()
	}
	place := s.cfg.place()
	r.stop(s)
	file := place.audit(trailName)
	entries, rep := entriesOf(t, file)
	var said []string
	for _, e := range entries {
		said = append(said, fmt.Sprint(e.Operation, " ", e.Result, " ", e.Status))
	}
	all := strings.Join(said, "\n")
	for _, want := range []string{"Microsoft.KeyVault/managedHSMs/write Started 0\nMicrosoft.KeyVault/managedHSMs/write Success 200", "Microsoft.KeyVault/managedHSMs/delete Started 0\nMicrosoft.KeyVault/managedHSMs/delete Success 200",
		"UnknownHost Failed 404", "UnknownHost Failed 421"} {
		if !strings.Contains(all, want) {
			t.Errorf("there is no %q in\n%s", want, all)
		}
	}
	if rep.Checkpoints == 0 || len(rep.Signers) != 1 || rep.SinceCheck != 0 {
		t.Errorf("%+v", rep)
	}
	old := must[[]byte](t)(os.ReadFile(file))
	if strings.Contains(string(old), "canary") {
		t.Error("a query got into the log")
	}

	s = r.serve(ServeOptions{})
	if _, err := arm.RecoverHSM(t.Context(), group, region, "one"); err != nil {
		t.Fatal(err)
	}
	r.stop(s)
	if _, again := entriesOf(t, file); len(again.Signers) != 1 {
		t.Error("the signing key is another one after a restart")
	}
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := StartServe(t.Context(), r.config(), ServeOptions{}); !errors.Is(err, errTrailLost) || !strings.Contains(err.Error(), "accept-loss --control") {
		t.Errorf("with an older copy of the control plane's log: %v", err)
	}
	var out strings.Builder
	if err := place.check(t.Context(), &out, discard()); !errors.Is(err, errUnsound) || !strings.Contains(out.String(), "DAMAGED  the control plane's audit log") {
		t.Errorf("check: %v: %s", err, out.String())
	}
	accept := func() error {
		c := command(&out, &out)
		c.SetArgs([]string{"audit", "accept-loss", "--config", r.file, "--control", "--reason", "restored from a backup"})
		return c.ExecuteContext(t.Context())
	}
	if err := accept(); err != nil {
		t.Fatal(err)
	}
	if err := accept(); err == nil || !strings.Contains(err.Error(), "has lost nothing") {
		t.Errorf("twice: %v", err)
	}
	s = r.serve(ServeOptions{})
	must[client.ManagedHSM](t)(arm.FindHSM(t.Context(), "one"))
	r.stop(s)
	entries, _ = entriesOf(t, file)
	found := false
	for _, e := range entries {
		found = found || e.Operation == "AuditLossAccepted" && e.Details["reason"] == "restored from a backup"
	}
	if !found {
		t.Error("the loss is not in the log")
	}
}
