package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"redoubt/internal/client"
	"redoubt/internal/securitydomain"
	"redoubt/test/internal/devcloud"
)

const (
	group         = "compat"
	region        = "westus3"
	cryptoUser    = "Managed HSM Crypto User"
	cryptoOfficer = "Managed HSM Crypto Officer"
)

// world is the dev cloud, and what all programs share.
type world struct {
	options
	programs, modes []string
	bin, work       string
	dev             *devcloud.Process
	env             map[string]string // of env.sh
	local           string            // host and port of own-cloud mode
	officer         client.ManagedIdentityResource
	workload        workload
	admin           administration
	authority       *authority
	bundle          string // file of all authorities to trust

	mu  sync.Mutex
	out io.Writer
}

// newWorld starts the dev cloud and makes the HSMs. A program that is missing fails the run.
func newWorld(ctx context.Context, o options, out io.Writer) (_ *world, err error) {
	w := &world{options: o, out: out}
	if w.programs, err = pick(o.only, allPrograms); err != nil {
		return nil, err
	}
	if w.modes, err = pick(o.modes, modes); err != nil {
		return nil, err
	}
	if w.root, err = filepath.Abs(o.root); err != nil {
		return nil, err
	}
	if w.cache, err = filepath.Abs(o.cache); err != nil {
		return nil, err
	}
	w.bin = filepath.Join(w.root, "bin")
	if w.work, err = os.MkdirTemp("", "redoubt-compat-"); err != nil {
		return nil, err
	}
	if w.keep {
		w.print("working folder: %s", w.work)
	}
	if err := w.begin(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// begin starts what every pass needs.
func (w *world) begin(ctx context.Context) (err error) {
	start := time.Now()
	if w.dev, err = devcloud.StartDev(ctx, filepath.Join(w.bin, "redoubtd"), w.cloud(), filepath.Join(w.work, "server.log"), "--identity-endpoint", "--imds"); err != nil {
		return err
	}
	if w.env, err = devcloud.Environ(ctx, w.cloud()); err != nil {
		return err
	}
	u, err := url.Parse(w.env["REDOUBT_RESOURCE_MANAGER"])
	if err != nil {
		return err
	}
	w.local = u.Host
	if err := w.trust(); err != nil {
		return err
	}
	if err := w.furnish(ctx); err != nil {
		return fmt.Errorf("prepare the dev cloud: %w", err)
	}
	w.print("a dev cloud with %d HSMs after %.1f s", len(w.programs), time.Since(start).Seconds())
	return nil
}

func (w *world) cloud() string { return filepath.Join(w.work, "cloud") }

// trust makes the recorder's authority and the file that clients trust.
func (w *world) trust() (err error) {
	if w.authority, err = newAuthority(); err != nil {
		return err
	}
	theirs, err := os.ReadFile(w.env["SSL_CERT_FILE"])
	if err != nil {
		return err
	}
	w.bundle = filepath.Join(w.work, "bundle.pem")
	return os.WriteFile(w.bundle, append(theirs, w.authority.pem...), 0o600)
}

// furnish makes the principals and an HSM for each program.
func (w *world) furnish(ctx context.Context) error {
	conf, err := w.signIn(client.AuthPassword)
	if err != nil {
		return err
	}
	arm, err := client.New(conf)
	if err != nil {
		return err
	}
	me, err := arm.Me(ctx)
	if err != nil {
		return err
	}
	if _, err := arm.PutResourceGroup(ctx, group, region); err != nil {
		return err
	}
	if w.officer, err = arm.PutManagedIdentity(ctx, group, "officer", region); err != nil {
		return err
	}
	if err := w.addWorkload(ctx); err != nil {
		return err
	}
	if err := w.furnishAdministration(ctx, arm, me); err != nil {
		return err
	}
	user, err := w.objectID(ctx)
	if err != nil {
		return err
	}
	holders, err := devcloud.Holders(3)
	if err != nil {
		return err
	}
	for _, p := range w.programs {
		roles := map[string]string{user: cryptoUser, w.workload.ObjectID: cryptoUser, w.officer.PrincipalID: cryptoOfficer, w.admin.administrator.PrincipalID: administrator}
		if p == "az" {
			roles[me.ID] = cryptoOfficer
		}
		if err := makeHSM(ctx, arm, hsmName(p), me.ID, holders, roles); err != nil {
			return fmt.Errorf("%s: %w", hsmName(p), err)
		}
		if p == "go" {
			if err := allowARM(ctx, arm, hsmName(p)); err != nil {
				return fmt.Errorf("%s: %w", hsmName(p), err)
			}
		}
		if _, err := arm.SetHSMIdentities(ctx, group, hsmName(p), []string{w.admin.attached.ID}); err != nil {
			return err
		}
	}
	return nil
}

// allowARM lets the control plane make and show the keys of an HSM.
func allowARM(ctx context.Context, arm *client.Client, name string) error {
	h, err := arm.HSMNamed(name)
	if err != nil {
		return err
	}
	_, err = h.UpdateSetting(ctx, "AllowKeyManagementOperationsThroughARM", "true")
	return err
}

// makeHSM makes and activates an HSM, and gives roles at / to principals.
func makeHSM(ctx context.Context, arm *client.Client, name, admin string, holders []securitydomain.WrappingKey, roles map[string]string) error {
	if _, err := arm.CreateHSM(ctx, group, name, client.CreateHSM{Location: region, Administrators: []string{admin}, RetentionDays: 7}); err != nil {
		return err
	}
	h, err := arm.HSMNamed(name)
	if err != nil {
		return err
	}
	if _, err := devcloud.Activate(ctx, h, holders); err != nil {
		return err
	}
	defs, err := h.RoleDefinitions(ctx, "/")
	if err != nil {
		return err
	}
	ids := map[string]string{}
	for _, d := range defs {
		ids[d.Properties.RoleName] = d.ID
	}
	for principal, role := range roles {
		if _, err := h.CreateRoleAssignment(ctx, "/", "", principal, ids[role]); err != nil {
			return err
		}
	}
	return nil
}

// signIn configures a client of the dev cloud.
func (w *world) signIn(way string) (client.Config, error) {
	get := func(name string) string {
		if name == "REDOUBT_AUTH" {
			return way
		}
		return w.env[name]
	}
	h, err := devcloud.Browser(get)
	if err != nil {
		return client.Config{}, err
	}
	conf, err := client.FromEnvironment(get, h)
	conf.PollEvery = time.Millisecond
	return conf, err
}

// objectID is that of the service principal, out of a token of its own.
func (w *world) objectID(ctx context.Context) (string, error) {
	conf, err := w.signIn(client.AuthClientSecret)
	if err != nil {
		return "", err
	}
	token, _, err := conf.Credential.Token(ctx, "https://managedhsm.azure.net")
	if err != nil {
		return "", err
	}
	var claims struct {
		OID string `json:"oid"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("the access token is no JWT")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	err = json.Unmarshal(b, &claims)
	return claims.OID, err
}

// upstream is how the recorder reaches the dev cloud.
func (w *world) upstream() (*http.Transport, error) {
	h, err := devcloud.Browser(func(name string) string { return w.env[name] })
	if err != nil {
		return nil, err
	}
	t, ok := h.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("not a transport")
	}
	t.DisableCompression = true          // what came is what is noted
	t.IdleConnTimeout = 30 * time.Second // sooner than the server closes a connection that is kept
	return t, nil
}

// checkState stops the server and lets redoubtd look at what it left.
func (w *world) checkState(ctx context.Context) error {
	if err := w.dev.Stop(); err != nil {
		return err
	}
	w.dev = nil
	out, err := exec.CommandContext(ctx, filepath.Join(w.bin, "redoubtd"), "check", "--data", w.cloud()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("redoubtd check after the run: %w: %s", err, out)
	}
	return nil
}

func (w *world) close() error {
	err := w.dev.Stop()
	if !w.keep {
		err = errors.Join(err, os.RemoveAll(w.work))
	}
	return err
}

func (w *world) print(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.out, format+"\n", args...)
}
