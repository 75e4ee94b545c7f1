package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSystemdUnit: the unit file runs this program's commands and keeps what it promises; systemd's own check
// agrees where systemd is installed.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	text := string(must[[]byte](t)(os.ReadFile("../../deploy/redoubtd.service")))
	section, keys := "", map[string][]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if line == "" || line[0] == '#' {
			continue
		}
		if !ok || section == "" {
			t.Fatalf("not a line of a unit file: %q", line)
		}
		keys[section+name] = append(keys[section+name], value)
	}
	for name, want := range map[string]string{
		"User": "redoubt", "LimitCORE": "0", "MemorySwapMax": "0", "NoNewPrivileges": "yes", "MemoryDenyWriteExecute": "yes", "ProtectSystem": "strict", "ReadWritePaths": "/var/lib/redoubt",
		"ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "ProtectProc": "invisible", "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectControlGroups": "yes",
		"RestrictNamespaces": "yes", "RestrictSUIDSGID": "yes", "LockPersonality": "yes", "SystemCallArchitectures": "native", "UMask": "0077", "StateDirectoryMode": "0700",
		"CapabilityBoundingSet": "CAP_NET_BIND_SERVICE", "KillSignal": "SIGTERM", "ExecReload": "/bin/kill -HUP $MAINPID",
	} {
		if got := keys["[Service]"+name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, made := keys["[Service]PrivateUsers"]; made {
		t.Error("PrivateUsers takes the right to bind port 443 away")
	}
	for _, name := range []string{"ExecStart", "ExecStartPre"} {
		args := strings.Fields(strings.Join(keys["[Service]"+name], " "))
		c, rest, err := command(os.Stdout, os.Stderr).Find(args[1:])
		if err != nil || c.ParseFlags(rest) != nil || c.RunE == nil {
			t.Errorf("%s=%s is no command of redoubtd: %v", name, args, err)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd is not installed: its own check was left out")
		return
	}
	// It wants the program to be there; any will do.
	copied := filepath.Join(t.TempDir(), "redoubtd.service")
	if err := os.WriteFile(copied, []byte(strings.ReplaceAll(text, "/usr/local/bin/redoubtd", must[string](t)(os.Executable()))), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", copied).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", copied).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
