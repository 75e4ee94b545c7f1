package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"redoubt/internal/authn"
	"redoubt/internal/client"
)

const (
	siteMember   = "0a0a0a0a-0b0b-0c0c-0d0d-000000000001"
	siteStranger = "0a0a0a0a-0b0b-0c0c-0d0d-000000000002"
	roleReader   = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	cryptoUser   = "21dbd100-6940-42c2-9190-5d6cb909625b"
)

// somebody is a credential of a principal of an issuer, with more claims than the owner has.
type somebody struct {
	idp  *idp
	sub  string
	more claims
}

func (s somebody) Token(_ context.Context, resource string) (string, time.Time, error) {
	return s.token(resource), time.Now().Add(time.Minute), nil
}

func (s somebody) token(resource string) string {
	c := s.idp.good(resource).with("sub", s.sub).with("preferred_username", "somebody@example.com")
	for k, v := range s.more {
		c[k] = v
	}
	return s.idp.sign(c)
}

// as is the HSM as a principal sees it.
func (r *realm) as(s somebody, name string) *client.HSM {
	r.t.Helper()
	arm := must[*client.Client](r.t)(client.New(client.Config{HTTP: r.http, Credential: s, ResourceManager: "https://" + siteHost, HSMSuffix: siteSuffix,
		Subscription: siteSub, Tenant: siteTenant, PollEvery: time.Millisecond}))
	return must[*client.HSM](r.t)(arm.HSMNamed(name))
}

// rewrite changes the configuration.
func (r *realm) rewrite(old, new string) {
	r.t.Helper()
	text := must[[]byte](r.t)(os.ReadFile(r.file))
	if !bytes.Contains(text, []byte(old)) {
		r.t.Fatalf("the configuration has no %q", old)
	}
	r.write("redoubt.toml", bytes.Replace(text, []byte(old), []byte(new), 1))
}

// TestServeGroups: roles of groups count at both planes, by whatever claim the issuer lists them; what is refused
// because groups are missing from the token says so.
func TestServeGroups(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.rewrite("subject-is-id = true", "subject-is-id = true\ngroup-names = true\nclaims.groups = \"memberOf\"")
	r.init()
	r.serve(ServeOptions{})
	h := r.activated("one")
	ctx := t.Context()
	must[client.Key](t)(h.CreateKey(ctx, "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	signers, readers := authn.GroupID(r.idp.srv.URL, "/hsm/signers"), authn.GroupID(r.idp.srv.URL, "/hsm/readers")
	member := somebody{r.idp, siteMember, claims{"memberOf": []string{"/all", "/hsm/signers", "/hsm/readers"}}}
	stranger := somebody{r.idp, siteStranger, claims{"memberOf": []string{"/all", signers}, "groups": []string{"/hsm/signers"}}} // a group that is named as another's id
	overage := somebody{r.idp, siteStranger, claims{"_claim_names": map[string]string{"memberOf": "src1"}}}
	digest := sha256.Sum256([]byte("digest"))
	sign := func(s somebody) error {
		_, err := r.as(s, "one").Sign(ctx, "k", "", "ES256", digest[:])
		return err
	}
	says(t, "before the group has a role", sign(member), "AccessDenied", "keys/sign/action")
	must[client.RoleAssignment](t)(h.CreateRoleAssignment(ctx, "/keys/k", "", signers, cryptoUser))
	if err := sign(member); err != nil {
		t.Errorf("a member: %v", err)
	}
	err := sign(stranger)
	says(t, "no member", err, "AccessDenied", "keys/sign/action")
	if err != nil && strings.Contains(err.Error(), "may not have counted") {
		t.Errorf("no member: %v", err)
	}
	says(t, "overage", sign(overage), "AccessDenied", "keys/sign/action", "Roles of groups may not have counted", "overage")
	many := somebody{r.idp, siteMember, claims{"memberOf": strings.Split(strings.Repeat("/hsm/signers ", authn.MaxGroups+1), " ")}}
	says(t, "too many", sign(many), "AccessDenied", "more than 256 do not count")

	groups := "https://" + siteHost + "/subscriptions/" + siteSub + "/resourceGroups?api-version=2021-04-01"
	for _, s := range []somebody{member, overage} {
		resp := r.ask(http.MethodGet, groups, s.token("https://"+siteHost))
		body := string(must[[]byte](t)(io.ReadAll(resp.Body)))
		if resp.StatusCode != http.StatusForbidden || strings.Contains(body, "may not have counted") != (s.sub == siteStranger) {
			t.Errorf("control plane: %d %s", resp.StatusCode, body)
		}
	}
	must[client.RoleAssignment](t)(r.client().AssignRole(ctx, "/subscriptions/"+siteSub, roleReader, readers, "Group"))
	if resp := r.ask(http.MethodGet, groups, member.token("https://"+siteHost)); resp.StatusCode != http.StatusOK {
		t.Errorf("a member at the control plane: %d", resp.StatusCode)
	}
	if resp := r.ask(http.MethodGet, groups, stranger.token("https://"+siteHost)); resp.StatusCode != http.StatusForbidden {
		t.Errorf("no member at the control plane: %d", resp.StatusCode)
	}
}

// TestServeIssuersOwnAudiences: an issuer with a list of its own is believed for no other audience, each list is for
// one plane, and other issuers are as they were.
func TestServeIssuersOwnAudiences(t *testing.T) {
	t.Parallel()
	other := newIDP(t)
	r := newRealm(t, fmt.Sprintf(`
[[issuers]]
url = %q
tenant = %q
subject-is-id = true
device-audiences = ["api://keys"]
control-audiences = ["api://resources"]
`, other.srv.URL, siteTenant))
	r.init()
	r.serve(ServeOptions{})
	r.activated("one")
	device, control := "https://"+siteSuffix, "https://"+siteHost
	for _, c := range []struct{ target, own, others string }{
		{"https://one." + siteSuffix + "/keys?api-version=7.4", "api://keys", device},
		{"https://" + siteHost + "/subscriptions?api-version=2022-12-01", "api://resources", control},
	} {
		for _, aud := range []string{"api://keys", "api://resources", device, control} {
			for p, good := range map[*idp]string{other: c.own, r.idp: c.others} {
				want := http.StatusUnauthorized
				if aud == good {
					want = http.StatusOK
				}
				resp := r.ask(http.MethodGet, c.target, p.sign(p.good(aud)))
				if body := string(must[[]byte](t)(io.ReadAll(resp.Body))); resp.StatusCode != want || want != http.StatusOK && !strings.Contains(body, "expected aud="+good) {
					t.Errorf("%s with %s: %d, want %d: %s", c.target, aud, resp.StatusCode, want, body)
				}
			}
		}
	}
}
