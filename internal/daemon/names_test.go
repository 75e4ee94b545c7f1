package daemon

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRoles(t *testing.T) {
	t.Parallel()
	n := testNames()
	for host, want := range map[string]role{
		"login.microsoftonline.com": roleIdentity, "login.windows.net": roleIdentity, "login.localhost": roleIdentity, "sts.windows.net": roleIdentity,
		"management.azure.com": roleControl, "graph.microsoft.com": roleGraph, "localhost": roleLocal, "127.0.0.1": roleLocal,
		"contosomhsm.managedhsm.azure.net": roleDevice, "x.managedhsm.localhost": roleDevice, "contosobackup.blob.core.windows.net": roleStorage, "contosobackup.blob.core.localhost": roleStorage,
		"redoubt.attest.azure.net": roleAttestation, "attest.localhost": roleAttestation, "other.attest.azure.net": roleNone, "attest.azure.net": roleNone,
		"redoubt-holders.vault.azure.net": roleVault, "redoubt-holders.vault.localhost": roleVault, "other.vault.azure.net": roleNone, "a.redoubt-holders.vault.azure.net": roleNone,
		"": roleNone, "example.com": roleNone, "managedhsm.azure.net": roleNone, ".managedhsm.azure.net": roleNone, "a.b.managedhsm.azure.net": roleNone, "*.managedhsm.azure.net": roleNone,
		"a/b.managedhsm.azure.net": roleNone, "other.blob.core.windows.net": roleNone, "blob.core.windows.net": roleNone, "contosobackup.blob.core.windows.net.example.com": roleNone,
		"azure.com": roleNone, "xlocalhost": roleNone, "x.localhost": roleNone, "vault.azure.net": roleNone, "[::1]": roleNone,
	} {
		if got := n.of(host); got != want {
			t.Errorf("%q: role %d, want %d", host, got, want)
		}
	}
	for target, want := range map[[2]string]bool{
		{"management.azure.com", "443"}: true, {"management.azure.com", "80"}: false, {"management.azure.com", "8443"}: false, {"login.microsoftonline.com", "443"}: true, {"login.microsoftonline.com", "8443"}: true, {"login.microsoftonline.com", "8444"}: false,
		{"contosomhsm.managedhsm.azure.net", "443"}: true, {"x.managedhsm.localhost", "8443"}: true, {"x.managedhsm.localhost", "443"}: false,
		{"localhost", "8443"}: true, {"localhost", "22"}: false, {"127.0.0.1", "8443"}: true, {"127.0.0.1", "443"}: false, {"127.0.0.2", "8443"}: false,
		{"redoubt.attest.azure.net", "443"}: true, {"redoubt.attest.azure.net", "8443"}: false, {"attest.localhost", "8443"}: true,
		{"login.localhost", "8443"}: true, {"example.com", "443"}: false, {"", ""}: false,
	} {
		if got := n.owned(target[0], target[1]); got != want {
			t.Errorf("%q: owned %v", target, got)
		}
	}
	for host, want := range map[string]bool{"localhost:8443": true, "x.managedhsm.localhost:8443": true, "LOGIN.localhost": true, "127.0.0.1:1": true, "management.azure.com": false, "xlocalhost": false} {
		if got := n.isLocal(host); got != want {
			t.Errorf("%s: local %v", host, got)
		}
	}
}

// TestDispatch: every name leads to its service, and the local name to all of them by path.
func TestDispatch(t *testing.T) {
	t.Parallel()
	to := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("To", name+" "+r.URL.Path) })
	}
	d := &dispatch{names: testNames(), identity: to("identity"), control: to("control"), graph: to("graph"), device: to("device"), storage: to("storage"), attestation: to("attestation"), vault: to("vault")}
	const tenant = "00000000-0000-4000-8000-000000000000"
	for target, want := range map[string]string{
		"https://LOGIN.microsoftonline.com./x":            "identity /x",
		"https://management.azure.com/subscriptions":      "control /subscriptions",
		"https://graph.microsoft.com/v1.0/me":             "graph /v1.0/me",
		"https://contosomhsm.managedhsm.azure.net//keys":  "device //keys",
		"https://contosobackup.blob.core.windows.net/c/b": "storage /c/b",
		"https://redoubt.attest.azure.net/certs":          "attestation /certs",
		"https://attest.localhost:8443//certs":            "attestation //certs",
		"https://redoubt-holders.vault.azure.net/x":       "vault /x",
		"https://localhost:8443/adfs/oauth2/token":        "identity /adfs/oauth2/token",
		"https://localhost:8443//common/discovery":        "identity //common/discovery",
		"https://localhost:8443/" + tenant + "/v2.0/x":    "identity /" + tenant + "/v2.0/x",
		"https://localhost:8443/graph/v1.0/me":            "graph /v1.0/me",
		"https://localhost:8443/metadata/endpoints":       "control /metadata/endpoints",
		"https://localhost:8443//metadata/endpoints":      "control //metadata/endpoints",
		"https://localhost:8443/" + tenant:                "control /" + tenant,
		"https://localhost:8443/":                         "control /",
	} {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		if got := w.Header().Get("To"); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/", nil))
	if w.Code != http.StatusMisdirectedRequest {
		t.Errorf("a foreign host: %d", w.Code)
	}
}
