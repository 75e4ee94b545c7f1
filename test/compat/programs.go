package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"redoubt/test/internal/devcloud"
)

// The programs and modes, in the order in which they run. The contract is in README.md.
var (
	allPrograms = []string{"java", "az", "python", "node", "go"} // the slow ones first
	modes       = []string{proxyMode, ownCloudMode}
)

const (
	proxyMode    = "proxy"
	ownCloudMode = "own-cloud"
)

func hsmName(program string) string { return "compat-" + program }

// runProgram runs one verb of a program, behind a recorder of its own unless it is signin, and returns how many steps it reported.
func (w *world) runProgram(ctx context.Context, name, mode, verb string) (steps int, err error) {
	dir, err := w.folder(mode, name+"-"+verb)
	if err != nil {
		return 0, err
	}
	if _, err := w.folder(mode, "artefacts"); err != nil {
		return 0, err
	}
	home, err := w.folder("home", name)
	if err != nil {
		return 0, err
	}
	if verb == signInVerb {
		return w.finish(w.signInProgram(ctx, name, home, dir))
	}
	rec, err := w.startRecorder(name, mode, verb)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rec.close()) }()
	c := exec.CommandContext(ctx, filepath.Join(w.root, "test", "compat", name, "run"), verb)
	c.Dir, c.Env = dir, append(devcloud.CleanEnv(os.Environ()), w.environ(name, mode, home, rec.addr())...)
	return w.finish(c)
}

// finish runs a program to its end and counts its steps.
func (w *world) finish(c *exec.Cmd) (steps int, err error) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a group of its own, to be ended as a whole
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	log, err := os.OpenFile(filepath.Join(c.Dir, "output.log"), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	c.Stdout, c.Stderr = log, log
	ended := c.Run()
	said, err := os.ReadFile(log.Name())
	if err = errors.Join(err, log.Close()); err != nil {
		return 0, err
	}
	if w.verbose {
		w.print("%s", devcloud.Indent(strings.TrimSpace(string(said))))
	}
	if ended != nil {
		return 0, fmt.Errorf("%w\n%s", ended, devcloud.Indent(devcloud.Tail(string(said), 40)))
	}
	if steps = countSteps(strings.NewReader(string(said))); steps == 0 {
		return 0, errors.New("it ended well without a single step")
	}
	return steps, nil
}

// countSteps counts the lines "step: …".
func countSteps(r io.Reader) (n int) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "step: ") {
			n++
		}
	}
	return n
}

// contract is what a program gets that no dev cloud's env.sh has.
func (w *world) contract(name, mode, home string) []string {
	return []string{
		"HOME=" + home, "PATH=" + w.bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		"REDOUBT_COMPAT_PROGRAM=" + name, "REDOUBT_COMPAT_MODE=" + mode, "REDOUBT_COMPAT_CACHE=" + w.cache,
		"REDOUBT_COMPAT_DIR=" + filepath.Join(w.work, mode), "REDOUBT_COMPAT_PROGRAMS=" + strings.Join(w.programs, ","),
		"REDOUBT_COMPAT_PREFIX=" + name + "-" + mode + "-", "REDOUBT_COMPAT_BIN=" + w.bin,
		"REDOUBT_HSM_NAME=" + hsmName(name), "REDOUBT_HSM_URL=https://" + hsmName(name) + ".managedhsm.azure.net",
		"REDOUBT_OFFICER_CLIENT_ID=" + w.officer.ClientID,
	}
}

// environ is what a program gets beside the caller's cleaned environment.
func (w *world) environ(name, mode, home, proxy string) []string {
	env := append(w.contract(name, mode, home),
		"HTTPS_PROXY=http://"+proxy, "https_proxy=http://"+proxy,
		"REQUESTS_CA_BUNDLE="+w.bundle, "SSL_CERT_FILE="+w.bundle, "NODE_EXTRA_CA_CERTS="+w.bundle)
	pass := []string{"NO_PROXY", "no_proxy", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_SUBSCRIPTION_ID", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "REDOUBT_RESOURCE_MANAGER"}
	if name == "az" {
		env = append(env, "AZURE_CONFIG_DIR="+filepath.Join(home, mode), "AZURE_CORE_COLLECT_TELEMETRY=false")
		pass = append(pass, "AZURE_USERNAME", "AZURE_PASSWORD", "REDOUBT_CLOUD")
	}
	for _, v := range pass {
		env = append(env, v+"="+w.env[v])
	}
	env = append(append(env, w.administrationEnv(name)...), "REDOUBT_ATTESTATION="+w.env["REDOUBT_ATTESTATION"])
	if mode == ownCloudMode { // of two values for one name the last counts
		_, port, _ := strings.Cut(w.local, ":")
		env = append(env, "REDOUBT_HSM_URL=https://"+hsmName(name)+".managedhsm.localhost:"+port, "AZURE_AUTHORITY_HOST=https://"+w.local,
			"REDOUBT_ATTESTATION="+w.env["REDOUBT_ATTESTATION_LOCAL"])
	}
	return env
}
