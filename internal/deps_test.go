// Package internal holds only this test: the import graph is policy. Changing a line here is a design
// decision and needs a page in docs/decisions; do not change the data to make a build pass.
package internal

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// direct is the complete list of what each package may import among our own packages.
const direct = `
secret:
key:
byok:
durable:
handoff:
quickack:
tally:
throttle:
netrule:
store:
blob:
unlock: secret durable
securitydomain/shamir:
material: secret key
keypool: key material tally
seal: secret
securitydomain: secret securitydomain/shamir
rbac: key
audit: rbac durable
audit/syslog: audit durable
authn: rbac tally
backup: blob
release: key
release/authority: release
attestation: key
hsm: key rbac audit store blob backup byok secret material seal unlock securitydomain release attestation tally
fleet: hsm store rbac audit blob unlock netrule
cloud: store
registrar: authn cloud
api/azhttp: audit authn fleet hsm key rbac backup blob release
api/strictjson:
api/dataplane: api/azhttp api/strictjson audit authn fleet hsm key rbac attestation
api/arm: api/azhttp audit authn cloud fleet hsm key netrule
api/identity: api/azhttp authn cloud rbac
api/graph: api/azhttp authn cloud
api/storage: durable
api/attest: api/azhttp
metrics: api/azhttp authn hsm keypool store/bolt tally
api/vault: api/azhttp authn
store/mem: store
store/bolt: store durable tally
store/storetest: store
blob/dir: blob durable
blob/azblob: blob
blob/blobtest: blob
unlock/passfile: unlock durable secret
client: key
cli: client byok securitydomain secret backup blob blob/dir blob/azblob durable seal audit key material attestation
drill: client securitydomain secret key audit durable
`

// unreachable says what must never be reached, even through others.
const unreachable = `
store store/bolt store/mem blob blob/dir blob/azblob backup: secret material seal
secret material seal securitydomain securitydomain/shamir: store blob unlock audit hsm
rbac audit authn release release/authority attestation: secret store
hsm: store/bolt store/mem blob/dir blob/azblob unlock/passfile api/azhttp api/dataplane daemon
cli client: hsm store unlock daemon fleet
drill: hsm store unlock daemon fleet
`

// notDirect says what may not be imported directly, ours or the standard library's.
const notDirect = `
secret material seal securitydomain/shamir: net net/http os time log/slog
securitydomain: net net/http os log/slog
api/dataplane api/arm api/identity api/graph api/storage api/attest api/vault: store seal material secret securitydomain store/bolt blob/azblob unlock/passfile
`

// modules says which packages may import a third-party module directly; all others may not.
var modules = map[string][]string{
	"go.etcd.io/bbolt":            {"store/bolt"},
	"github.com/spf13/cobra":      {"cli", "daemon"},
	"github.com/pelletier/":       {"daemon"},
	"golang.org/x/net/":           {"daemon"},
	"software.sslmate.com/":       {"daemon"},
	"github.com/go-jose/go-jose/": {"authn", "api/identity", "cloud", "release/authority", "api/attest"},
	"github.com/coreos/go-oidc/":  {"authn", "daemon"},
	"golang.org/x/crypto/":        {"unlock/passfile", "cloud", "securitydomain", "material"},
	"gitlab.com/yawning/":         {"material", "drill"},
	"github.com/decred/":          {}, // the other opinion in material's tests
	"github.com/prometheus/":      {"metrics"},
	"golang.org/x/time/":          {"throttle"},
	"math/rand":                   {},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

const root = "redoubt/internal/"

func load(t *testing.T) map[string]pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "redoubt/internal/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	pkgs := make(map[string]pkg)
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(p.ImportPath, root); ok {
			pkgs[name] = p
		}
	}
}

func rules(text string) map[string][]string {
	out := make(map[string][]string)
	for line := range strings.Lines(strings.TrimSpace(text)) {
		from, to, _ := strings.Cut(line, ":")
		for _, f := range strings.Fields(from) {
			out[f] = append(out[f], strings.Fields(to)...)
		}
	}
	return out
}

func TestDirectImports(t *testing.T) {
	t.Parallel()
	allowed := rules(direct)
	for name, p := range load(t) {
		if name == "daemon" || name == "hsmtest" { // wiring
			continue
		}
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s has no line in the import policy", name)
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, root); ok && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s: the policy does not allow it", name, ours)
			}
		}
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	pkgs := load(t)
	for name, never := range rules(unreachable) {
		for _, n := range never {
			if slices.Contains(pkgs[name].Deps, root+n) {
				t.Errorf("%s reaches %s", name, n)
			}
		}
	}
	for name, never := range rules(notDirect) {
		for _, n := range never {
			if slices.Contains(pkgs[name].Imports, n) || slices.Contains(pkgs[name].Imports, root+n) {
				t.Errorf("%s imports %s directly", name, n)
			}
		}
	}
}

func TestModules(t *testing.T) {
	t.Parallel()
	pkgs := load(t)
	for _, name := range slices.Sorted(maps.Keys(pkgs)) {
		for _, imp := range pkgs[name].Imports {
			for mod, may := range modules {
				if (imp == mod || strings.HasPrefix(imp, mod)) && !slices.Contains(may, name) && name != "store/storetest" {
					t.Errorf("%s imports %s: only %v may", name, imp, may)
				}
			}
		}
	}
}

// The offline tool must not link the server: it is small enough to review before a ceremony.
func TestOfflineToolDoesNotLinkTheServer(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "redoubt/cmd/redoubt").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"hsm", "fleet", "store", "unlock", "daemon", "cloud"} {
		if slices.Contains(strings.Fields(string(out)), root+never) {
			t.Errorf("cmd/redoubt links %s", never)
		}
	}
}
