package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"redoubt/internal/client"
	"redoubt/test/internal/devcloud"
)

const (
	hsmName    = "keycloak-hsm"
	cryptoUser = "Managed_HSM_Crypto_User"
	reader     = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	digest     = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
)

// scene is what the steps of the Keycloak run use.
type scene struct {
	*run
	kc      *keycloak
	site    *site
	proxy   *proxy
	ca      string
	signers string // object id of the group
}

// keycloak is the run with a real Keycloak.
func (r *run) keycloak(ctx context.Context) (err error) {
	s := &scene{run: r}
	defer func() {
		if err != nil && s.site != nil {
			err = fmt.Errorf("%w\nend of the server's log:\n%s", err, s.site.Tail())
		}
		err = errors.Join(err, s.stop())
	}()
	if err := s.begin(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{s.makeHSM, s.roles, s.rotation, s.disabled} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) stop() error {
	err := s.proxy.stop()
	if s.site != nil {
		err = errors.Join(err, s.site.Stop())
	}
	if s.kc != nil {
		err = errors.Join(err, s.kc.Stop())
	}
	return err
}

// begin starts Keycloak, the realm and the site that trusts it.
func (s *scene) begin(ctx context.Context) error {
	pair, ca, err := s.certificates("localhost", controlHost, "*."+suffix)
	if err != nil {
		return err
	}
	s.ca = ca
	direct, err := trusting(ca, nil)
	if err != nil {
		return err
	}
	if s.kc, err = startKeycloak(ctx, s.cache, s.dir, pair, direct); err != nil {
		return err
	}
	s.did("Keycloak %s runs", keycloakVersion)
	if err := s.kc.furnish(ctx); err != nil {
		return fmt.Errorf("make the realm: %w", err)
	}
	issuer := s.kc.issuer("hsm")
	if s.site, err = s.startSite(ctx, pair, ca, tenant, olivia, issuer, fmt.Sprintf(`[[issuers]]
url = %q
tenant = %q
subject-is-id = true
group-names = true
claims.app-id = "client_id"
`, issuer, tenant)); err != nil {
		return err
	}
	keycloak := strings.TrimPrefix(s.kc.origin, "https://")
	s.proxy, err = startProxy(ctx, func(hostport string) string {
		switch {
		case isSite(hostport):
			return s.site.address
		case hostport == keycloak:
			return "127.0.0.1" + keycloak[strings.Index(keycloak, ":"):]
		}
		return ""
	})
	s.did("redoubtd serve trusts its realm")
	return err
}

// person is a form that asks Keycloak for somebody's token.
func (s *scene) person(name string) url.Values {
	return url.Values{"grant_type": {"password"}, "client_id": {"people"}, "username": {name}, "password": {s.kc.password}}
}

func (s *scene) machine() url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {"machine"}, "client_secret": {s.kc.password}}
}

// credential gets tokens for our own client.
type credential struct {
	s    *scene
	form url.Values
}

// Token implements client.Credential.
func (c credential) Token(ctx context.Context, resource string) (string, time.Time, error) {
	form := url.Values{"scope": {map[string]string{deviceAudience: "device", controlAudience: "control"}[strings.TrimRight(resource, "/")]}}
	for k, v := range c.form {
		form[k] = v
	}
	token, lifetime, err := c.s.kc.grant(ctx, "hsm", form)
	return token, time.Now().Add(lifetime), err
}

// arm is our own client, as somebody.
func (s *scene) arm(form url.Values) (*client.Client, error) {
	h, err := trusting(s.ca, s.proxy)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{HTTP: h, Credential: credential{s, form}, ResourceManager: controlAudience, HSMSuffix: suffix, Subscription: subscription, Tenant: tenant})
}

// makeHSM makes an HSM as the subscription's owner, who is its administrator, and takes its security domain.
func (s *scene) makeHSM(ctx context.Context) error {
	arm, err := s.arm(s.person("olivia"))
	if err != nil {
		return err
	}
	if _, err := arm.PutResourceGroup(ctx, "g", "westus3"); err != nil {
		return err
	}
	if _, err := arm.CreateHSM(ctx, "g", hsmName, client.CreateHSM{Location: "westus3", Administrators: []string{olivia}, RetentionDays: 7}); err != nil {
		return err
	}
	h, err := arm.HSMNamed(hsmName)
	if err != nil {
		return err
	}
	holders, err := devcloud.Holders(3)
	if err != nil {
		return err
	}
	if _, err := devcloud.Activate(ctx, h, holders); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, s.bin("redoubtd"), "config", "group-id", "--issuer", s.kc.issuer("hsm"), "/hsm/signers").Output()
	if err != nil {
		return err
	}
	s.signers, _, _ = strings.Cut(string(out), " ")
	s.did("the owner made and activated an HSM")
	return nil
}

// roles: assignments to a group, made by the Python SDK, count for its members, people and programs, and for nobody
// else.
func (s *scene) roles(ctx context.Context) error {
	admin, err := s.python(ctx, s.person("olivia"))
	if err != nil {
		return err
	}
	defer admin.close()
	member, err := s.goes(ctx, "hsm", s.person("mia"))
	if err != nil {
		return err
	}
	defer member.close()
	if err := member.want("create", http.StatusForbidden, "keys/create", "Managed HSM Crypto User"); err != nil {
		return err
	}
	if err := errors.Join(admin.want("assign "+cryptoUser+" "+s.signers+" /keys", http.StatusOK), member.want("create", http.StatusOK), member.want(digest, http.StatusOK)); err != nil {
		return err
	}
	s.did("azkeys: a member of the group makes a key and signs")
	if err := s.others(ctx); err != nil {
		return err
	}
	return s.control(ctx)
}

// others are a program that joins the group, somebody who is in no group, and somebody of another realm.
func (s *scene) others(ctx context.Context) error {
	machine, err := s.python(ctx, s.machine())
	if err != nil {
		return err
	}
	defer machine.close()
	if err := machine.want(digest, http.StatusForbidden, "keys/read"); err != nil {
		return err
	}
	if _, err := s.kc.join(ctx, "/hsm/signers"); err != nil {
		return err
	}
	joined, err := s.python(ctx, s.machine())
	if err != nil {
		return err
	}
	defer joined.close()
	if err := joined.want(digest, http.StatusOK); err != nil {
		return err
	}
	s.did("azure-keyvault-keys: a service account signs once it is in the group")
	for _, c := range []struct {
		realm  string
		form   url.Values
		status int
		words  string
	}{{"hsm", s.person("nora"), http.StatusForbidden, "keys/sign/action"}, {"master", s.person("admin"), http.StatusUnauthorized, "its issuer is not trusted here"}} {
		p, err := s.goes(ctx, c.realm, c.form)
		if err != nil {
			return err
		}
		err = p.want(digest, c.status, c.words)
		p.close()
		if err != nil {
			return err
		}
	}
	s.did("403 for who is in no group, 401 for who is of another realm")
	return nil
}

// control: a role of the control plane that a group has counts for its members.
func (s *scene) control(ctx context.Context) error {
	owner, err := s.arm(s.person("olivia"))
	if err != nil {
		return err
	}
	if _, err := owner.AssignRole(ctx, "/subscriptions/"+subscription, reader, s.signers, "Group"); err != nil {
		return err
	}
	for name, may := range map[string]bool{"mia": true, "nora": false} {
		arm, err := s.arm(s.person(name))
		if err != nil {
			return err
		}
		if _, err = arm.GetHSM(ctx, "g", hsmName); (err == nil) != may {
			return fmt.Errorf("%s at the control plane: %w", name, err)
		}
	}
	s.did("the group's role counts at the control plane")
	return errors.Join(s.rest(ctx), s.redoubt(ctx))
}

// patience is how long a key that the issuer has only just published may be unknown.
const patience = 40 * time.Second

// rotation: new signing keys of the realm are followed without a restart, and withdrawn ones are no longer believed.
func (s *scene) rotation(ctx context.Context) error {
	old, err := s.goes(ctx, "hsm", s.person("mia"))
	if err != nil {
		return err
	}
	defer old.close()
	if err := old.want(digest, http.StatusOK); err != nil {
		return err
	}
	unused, _, err := credential{s, s.person("mia")}.Token(ctx, deviceAudience)
	if err != nil {
		return err
	}
	if err := s.kc.rotate(ctx, "newer", 200, true); err != nil {
		return err
	}
	start := time.Now()
	for {
		fresh, err := s.goes(ctx, "hsm", s.person("mia"))
		if err != nil {
			return err
		}
		err = fresh.want(digest, http.StatusOK)
		fresh.close()
		if err == nil {
			break
		}
		if time.Since(start) > patience {
			return fmt.Errorf("a token of the realm's new key is refused after %s: %w", patience, err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.did("a token of the realm's new key is believed after %.1f s", time.Since(start).Seconds())
	if err := s.raw(ctx, unused, http.StatusUnauthorized); err != nil {
		return fmt.Errorf("a token of the withdrawn key: %w", err)
	}
	s.did("a token of the withdrawn key is refused")
	return nil
}

// disabled: who is disabled at the issuer keeps what they may until the token ends, unless the role is taken away.
func (s *scene) disabled(ctx context.Context) error {
	token, _, err := credential{s, s.person("mia")}.Token(ctx, deviceAudience)
	if err != nil {
		return err
	}
	if err := s.kc.disable(ctx, mia); err != nil {
		return err
	}
	if _, _, err := (credential{s, s.person("mia")}).Token(ctx, deviceAudience); err == nil {
		return errors.New("who is disabled gets a token")
	}
	if err := s.raw(ctx, token, http.StatusOK); err != nil {
		return fmt.Errorf("who is disabled, with the token from before: %w", err)
	}
	admin, err := s.python(ctx, s.person("olivia"))
	if err != nil {
		return err
	}
	defer admin.close()
	if err := admin.want("remove "+s.signers, http.StatusOK); err != nil {
		return err
	}
	if err := s.raw(ctx, token, http.StatusForbidden); err != nil {
		return fmt.Errorf("after the role was taken away: %w", err)
	}
	s.did("who is disabled goes on until exp; taking the role away works at once")
	return nil
}

// goes starts the Go program, as somebody of a realm.
func (s *scene) goes(ctx context.Context, realm string, form url.Values) (*program, error) {
	return s.program(ctx, realm, form, s.bin("issuers-go"))
}

// python starts the Python program, with the SDK that az came with.
func (s *scene) python(ctx context.Context, form url.Values) (*program, error) {
	return s.program(ctx, "hsm", form, filepath.Join(s.cache, "azure-cli-2.91.0", "bin", "python"), "-B", filepath.Join(s.root, "test", "issuers", "python", "main.py"))
}
