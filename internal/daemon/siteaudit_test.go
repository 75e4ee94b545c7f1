package daemon

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
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

// TestAuditDamaged: a file that is damaged in its middle keeps its HSM, or the server, closed, and what is said helps: after
// accept-loss it is open, the log has who and why, and the bytes are kept.
func TestAuditDamaged(t *testing.T) {
	t.Parallel()
	for _, control := range []bool{false, true} {
		r := newRealm(t, "")
		r.init()
		s := r.serve(ServeOptions{})
		h := r.activated("one")
		must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
		file, flag := s.cfg.place().audit(s.fleet.List(false)[0].ID), "--hsm NAME"
		args := []string{"audit", "accept-loss", "--config", r.file, "--reason", "a bad disk", "--hsm", "one"}
		if control {
			file, flag = s.cfg.place().audit(trailName), "--control"
			args = append(args[:len(args)-2], flag)
		}
		r.stop(s)
		b := must[[]byte](t)(os.ReadFile(file))
		b[len(b)/2] = 0
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}

		var log syncBuffer
		s, err := StartServe(t.Context(), r.config(), ServeOptions{Log: logger(&log, false)})
		if said := log.String(); err == nil {
			r.addr = s.addr.String()
			if _, err := h.GetKey(t.Context(), "k", ""); err == nil || control || !strings.Contains(said, "chain is broken") || !strings.Contains(said, "accept-loss "+flag) {
				t.Errorf("control %t: %v: %s", control, err, said)
			}
			r.stop(s)
		} else if !control || !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), "accept-loss "+flag) {
			t.Errorf("control %t: %v", control, err)
		}
		var out strings.Builder
		c := command(&out, &out)
		c.SetArgs(args)
		if err := c.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "opens at the next start") {
			t.Fatalf("%v: %s", err, out.String())
		}
		s = r.serve(ServeOptions{})
		must[client.Key](t)(h.GetKey(t.Context(), "k", ""))
		r.stop(s)
		entries, _ := entriesOf(t, file)
		at := slices.IndexFunc(entries, func(e audit.Entry) bool { return e.Operation == "AuditLossAccepted" })
		if at < 0 || entries[at].Details["reason"] != "a bad disk" || entries[at].Details["cutSHA256"] == "" {
			t.Fatalf("control %t: the loss is not in the log", control)
		}
		if kept, err := os.ReadFile(filepath.Join(filepath.Dir(file), entries[at].Details["cutFile"])); err != nil || !bytes.HasSuffix(b, kept) || len(kept) < len(b)/2 {
			t.Errorf("control %t: %d bytes are kept, %v", control, len(kept), err)
		}
		cfg := r.config()
		if err := cfg.place().check(t.Context(), &out, discard()); err != nil {
			t.Errorf("control %t: %v: %s", control, err, out.String())
		}
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
