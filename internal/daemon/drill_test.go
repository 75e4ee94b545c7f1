package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"redoubt/internal/client"
	"redoubt/internal/drill"
)

// rehearsal is a drill with few keys in a folder of the test's.
type rehearsal struct {
	drill.Options
	dir, report string
	out         bytes.Buffer
}

func newRehearsal(t *testing.T) *rehearsal {
	dir := t.TempDir()
	r := &rehearsal{dir: filepath.Join(dir, "tmp"), report: filepath.Join(dir, "report.json")}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.Options = drill.Options{Keys: drill.MinKeys, TempDir: r.dir, Report: r.report, Out: &r.out, Start: startDrillCloud(drill.MinKeys, slog.New(slog.DiscardHandler))}
	return r
}

// run runs the drill and returns its report and the names of the proofs that did not hold.
func (r *rehearsal) run(t *testing.T) (rep drill.Report, bad []string, err error) {
	t.Helper()
	err = drill.Run(t.Context(), r.Options)
	b, rerr := os.ReadFile(r.report)
	if rerr != nil {
		t.Fatalf("%v\n%s", rerr, r.out.String())
	}
	if err := json.Unmarshal(b, &rep); err != nil {
		t.Fatal(err)
	}
	for _, p := range rep.Proofs {
		if p.Outcome != "held" {
			bad = append(bad, p.Name)
		}
	}
	if t.Failed() {
		t.Log(r.out.String())
	}
	return rep, bad, err
}

func TestDrill(t *testing.T) {
	t.Parallel()
	r := newRehearsal(t)
	rep, bad, err := r.run(t)
	if err != nil || len(bad) > 0 {
		t.Fatalf("%v\n%s", err, r.out.String())
	}
	if rep.Outcome != "passed" || rep.Keys.Names != drill.MinKeys || len(rep.Proofs) < 14 || rep.DomainID == "" || rep.BackupFolder == "" || rep.RestorePointFolder == "" {
		t.Errorf("report: %+v", rep)
	}
	if m := rep.Measured; m.RecoverySeconds <= 0 || m.RebuildSeconds <= 0 || m.RebuildSeconds > m.RecoverySeconds || m.RecoveryPointSeconds <= 0 || m.WritesAfterBackup != 2 {
		t.Errorf("measured: %+v", m)
	}
	for _, p := range rep.Proofs {
		if p.Checked == 0 || p.Failed != 0 {
			t.Errorf("%+v", p)
		}
	}
	text := r.out.String()
	if strings.Contains(text, "\x1b") || !strings.Contains(text, "PASSED") || !strings.Contains(text, "Recovery point:") {
		t.Errorf("output:\n%s", text)
	}
	if left, err := os.ReadDir(r.dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDrillKeeps(t *testing.T) {
	t.Parallel()
	r := newRehearsal(t)
	r.Keep = true
	r.Start = func(context.Context, string) (drill.Cloud, error) { return drill.Cloud{}, errors.New("no room") }
	rep, bad, err := r.run(t)
	if err == nil || rep.Outcome != "failed" || len(bad) != len(rep.Proofs) || rep.Steps[0].Error == "" {
		t.Errorf("%v: %+v", err, rep)
	}
	if left, err := os.ReadDir(r.dir); err != nil || len(left) != 1 || !strings.Contains(r.out.String(), left[0].Name()) {
		t.Errorf("kept: %v, %v\n%s", left, err, r.out.String())
	}
}

// Each change to the rebuilt HSM makes the drill fail, and what it finds is named.
func TestDrillNoticesTampering(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		tamper func(ctx context.Context, h *client.HSM) error
		bad    []string
		says   []string
	}{
		{"a tag and a policy are gone", removeTag, []string{"inventory-identical"}, []string{"changed: key/" + tagged, `tags.changed was "yes", is gone`, "changed: key/" + tagged + "/rotationpolicy"}},
		{"a role assignment is gone", removeAssignment, []string{"inventory-identical", "roles-enforced"}, []string{"missing: roleassignment/", "the service principal could not sign with its key"}},
		{"a key is another", swapKey, []string{"inventory-identical", "old-signatures-verify", "old-public-keys-hold"},
			[]string{"missing: key/" + tagged, "added: key/" + tagged, "does not verify an old ES384 signature"}},
		{"fates are undone", undoFates, []string{"inventory-identical", "disabled-keys-refused", "deleted-keys-recovered", "recovery-point-exact"},
			[]string{"was not refused with KeyDisabled", "answers as a live key", "the key drill-after-backup is on the rebuilt HSM"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRehearsal(t)
			r.TestOnlyTamper = c.tamper
			rep, bad, err := r.run(t)
			if err == nil || rep.Outcome != "failed" || !slices.Equal(bad, c.bad) {
				t.Errorf("%v: proofs %v, want %v", err, bad, c.bad)
			}
			for _, name := range c.bad {
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("%s is not named: %v", name, err)
				}
			}
			for _, text := range c.says {
				if !strings.Contains(r.out.String(), text) {
					t.Errorf("not said: %s\n%s", text, r.out.String())
				}
			}
		})
	}
}

const tagged = "drill-p384-00004" // a key of the drill's plan that has tags and a rotation policy

func removeTag(ctx context.Context, h *client.HSM) error {
	k, err := h.GetKey(ctx, tagged, "")
	if err != nil {
		return err
	}
	delete(k.Tags, "changed")
	if _, err = h.UpdateKey(ctx, tagged, "", client.UpdateKey{Tags: k.Tags}); err != nil {
		return err
	}
	_, err = h.SetRotationPolicy(ctx, tagged, client.RotationPolicy{})
	return err
}

func removeAssignment(ctx context.Context, h *client.HSM) error {
	scope := "/keys/drill-p256-00003"
	as, err := h.RoleAssignments(ctx, scope)
	if err != nil {
		return err
	}
	for _, a := range as {
		if strings.HasSuffix(a.Properties.RoleDefinitionID, "21dbd100-6940-42c2-9190-5d6cb909625b") && a.Properties.Scope == scope {
			return h.DeleteRoleAssignment(ctx, scope, a.Name)
		}
	}
	return errors.New("the service principal's assignment is not there")
}

// swapKey puts another key of the same kind in the place of one.
func swapKey(ctx context.Context, h *client.HSM) error {
	old, err := h.DeleteKey(ctx, tagged)
	if err != nil {
		return err
	}
	if err := h.PurgeKey(ctx, tagged); err != nil {
		return err
	}
	_, err = h.CreateKey(ctx, tagged, client.CreateKey{Kty: "EC-HSM", Crv: "P-384", Tags: old.Tags})
	return err
}

// undoFates enables what was disabled, recovers what was deleted, and makes the key that came too late.
func undoFates(ctx context.Context, h *client.HSM) error {
	keys, err := h.ListKeys(ctx)
	if err != nil {
		return err
	}
	yes := true
	for _, k := range keys {
		if !k.Attributes.Enabled {
			if _, err := h.UpdateKey(ctx, k.Name(), "", client.UpdateKey{Attributes: &client.KeyAttributes{Enabled: &yes}}); err != nil {
				return err
			}
		}
	}
	deleted, err := h.ListDeletedKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range deleted {
		if _, err := h.RecoverKey(ctx, k.Name()); err != nil {
			return err
		}
	}
	_, err = h.CreateKey(ctx, "drill-after-backup", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"})
	return err
}

// What a purge leaves behind on the server, and an audit file that was altered, are noticed, too.
func TestDrillNoticesTraces(t *testing.T) {
	t.Parallel()
	r := newRehearsal(t)
	start := r.Start
	r.Start = func(ctx context.Context, dir string) (drill.Cloud, error) {
		c, err := start(ctx, dir)
		stop, device, file := c.Close, c.Device, ""
		c.Device = func(name string) (drill.Device, error) {
			dev, err := device(name)
			dev.Roots = func() (int, error) { return 1, nil }
			file = dev.Audit
			return dev, err
		}
		c.Close = func() error {
			err := stop()
			b, rerr := os.ReadFile(file)
			return errors.Join(err, rerr, os.WriteFile(file, bytes.Replace(b, []byte("RestoreEnded"), []byte("RestoreEnder"), 1), 0o600))
		}
		return c, err
	}
	_, bad, err := r.run(t)
	if want := []string{"source-destroyed", "audit-chains-whole"}; err == nil || !slices.Equal(bad, want) {
		t.Errorf("%v: proofs %v, want %v", err, bad, want)
	}
}

// canceller cancels when it reads a text.
type canceller struct {
	io.Writer
	at     string
	cancel context.CancelFunc
}

func (c canceller) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.at) {
		c.cancel()
	}
	return c.Writer.Write(b)
}

// An interrupted drill stops its cloud and leaves no file, port or goroutine; its report says so. The test
// runs alone, because it counts goroutines.
func TestDrillInterrupted(t *testing.T) {
	before := goleak.IgnoreCurrent()
	r := newRehearsal(t)
	start, proxy := r.Start, ""
	r.Start = func(ctx context.Context, dir string) (drill.Cloud, error) {
		c, err := start(ctx, dir)
		if err == nil {
			proxy = c.Env("HTTPS_PROXY")
		}
		return c, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.Out = canceller{&r.out, "assign roles", cancel} // what comes next is making keys
	err := drill.Run(ctx, r.Options)
	b, rerr := os.ReadFile(r.report)
	if !errors.Is(err, context.Canceled) || rerr != nil || !strings.Contains(string(b), `"outcome": "interrupted"`) {
		t.Errorf("%v, %v: %s", err, rerr, b)
	}
	if left, err := os.ReadDir(r.dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" {
		t.Fatal(proxy, err)
	}
	if c, err := net.Dial("tcp", u.Host); err == nil {
		_ = c.Close()
		t.Error("the proxy still listens")
	}
	goleak.VerifyNone(t, before)
}
