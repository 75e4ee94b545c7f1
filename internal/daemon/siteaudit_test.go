package daemon

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/client"
)

// TestAuditRolledBack: an HSM whose audit file was exchanged for an older copy answers nobody, the others do, and the log says
// what to do; once the loss is accepted it works, and its log tells of it.
func TestAuditRolledBack(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	s := r.serve(ServeOptions{})
	h := r.activated("one")
	r.activated("two")
	id := must[client.ManagedHSM](t)(r.client().FindHSM(t.Context(), "one"))
	var file string
	for _, m := range s.fleet.List(false) {
		if m.Name == id.Name {
			file = s.cfg.place().audit(m.ID)
		}
	}
	r.stop(s)
	old := must[[]byte](t)(os.ReadFile(file))

	s = r.serve(ServeOptions{})
	must[client.Key](t)(h.CreateKey(t.Context(), "hidden", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	r.stop(s)
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}

	var log syncBuffer
	s = r.serve(ServeOptions{Log: logger(&log, false)})
	if _, err := h.GetKey(t.Context(), "hidden", ""); err == nil {
		t.Error("an HSM with an older audit file answers")
	}
	two := must[*client.HSM](t)(r.client().HSMNamed("two"))
	must[client.Key](t)(two.CreateKey(t.Context(), "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	r.stop(s)
	if said := log.String(); !strings.Contains(said, "the audit log has lost entries") || !strings.Contains(said, "redoubtd audit accept-loss --hsm one") {
		t.Errorf("the log says: %s", said)
	}

	accept := func(args ...string) (string, error) {
		var out strings.Builder
		c := command(&out, &out)
		c.SetArgs(append([]string{"audit", "accept-loss", "--config", r.file}, args...))
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
	for what, c := range map[string]struct {
		args []string
		says string
	}{
		"no reason":    {[]string{"--hsm", "one"}, "--reason"},
		"unknown HSM":  {[]string{"--hsm", "three", "--reason", "x"}, "not found"},
		"nothing lost": {[]string{"--hsm", "two", "--reason", "x"}, "has lost nothing"},
	} {
		if _, err := accept(c.args...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if out, err := accept("--hsm", "one", "--reason", "the disk was replaced"); err != nil || !strings.Contains(out, "opens at the next start") {
		t.Fatalf("%s: %v", out, err)
	}
	s = r.serve(ServeOptions{})
	must[client.Key](t)(h.GetKey(t.Context(), "hidden", ""))
	r.stop(s)
	found := false
	files := must[[]audit.Segment](t)(audit.Segments(file))
	_, err := audit.VerifyFiles([]string{files[0].Path}, audit.Expect{}, func(e audit.Entry) error {
		found = found || e.Operation == "AuditLossAccepted" && e.Details["reason"] == "the disk was replaced" && e.Details["by"] != ""
		return nil
	})
	if err != nil || !found {
		t.Errorf("the loss is in the log: %t, %v", found, err)
	}
}

// TestServeRotatesAuditFiles: with the configuration's sizes the chain of a served HSM is in several files, and check reads
// all of them.
func TestServeRotatesAuditFiles(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[audit]\nrotate-size = \"64KiB\"\nkeep = 2\n")
	r.init()
	s := r.serve(ServeOptions{})
	h := r.activated("one")
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	file := s.cfg.place().audit(s.fleet.List(false)[0].ID)
	for range 400 {
		must[client.Key](t)(h.GetKey(t.Context(), "k", ""))
	}
	r.stop(s)
	if files := must[[]audit.Segment](t)(audit.Segments(file)); len(files) != 3 || files[0].First == 1 {
		t.Errorf("files: %v", files)
	}
	var out strings.Builder
	cfg := r.config()
	if err := cfg.place().check(t.Context(), &out, discard()); err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
	if err := os.Remove(must[[]audit.Segment](t)(audit.Segments(file))[0].Path); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := cfg.place().check(t.Context(), &out, discard()); !errors.Is(err, errUnsound) || !strings.Contains(out.String(), "are missing") {
		t.Errorf("with a file removed by somebody: %v: %s", err, out.String())
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{"0": 0, "64KiB": 64 << 10, "1MiB": 1 << 20, "3GiB": 3 << 30, "": -1, "64": -1, "-1MiB": -1, "1.5MiB": -1, "0MiB": -1, "01MiB": -1, "9999999999GiB": -1, "1MB": -1, " 1MiB": -1} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); (err == nil) != (want >= 0) || err == nil && (s != want || s.String() != text) {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
	if a := (AuditConfig{RotateSize: 5, RotateAge: Duration(time.Hour), Keep: 7}).options(); a.RotateSize != 5 || a.RotateAge != time.Hour || a.Keep != 7 {
		t.Errorf("%+v", a)
	}
}
