package daemon

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"redoubt/internal/client"
)

// The bad days of storage, with the dev cloud's own accounts: each fails the job with its own code and a
// message that says what to do, and afterwards everything is as it was.

// ready is an activated HSM with a key and a container for its backups.
func ready(t *testing.T) (*site, *client.HSM) {
	t.Helper()
	s := start(t, DevConfig{})
	h := s.create("ContosoMHSM")
	s.activate(h)
	s.bucket()
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "oct-HSM", Size: 256}))
	return s, h
}

// fails wants a job that ends with this code and words, and that leaves the HSM working.
func (s *site) fails(h *client.HSM, what string, j client.Job, err error, code string, words ...string) {
	s.t.Helper()
	if err == nil {
		_, err = j.Wait(s.t.Context(), nil)
	}
	says(s.t, what, err, code, words...)
	if _, err := h.GetKey(s.t.Context(), "k", ""); err != nil {
		s.t.Errorf("%s: afterwards: %v", what, err)
	}
}

func bearing(token string) client.Storage {
	return client.Storage{URI: "https://contosobackup.blob.core.windows.net/" + box, SAS: func() string { return token }}
}

func TestBadSAS(t *testing.T) {
	t.Parallel()
	s, h := ready(t)
	ctx := t.Context()
	soon := time.Now().Add(time.Hour)
	good := s.sign(box, "crdw", soon)
	if err := s.arm.CreateContainer(ctx, account, "other"); err != nil {
		t.Fatal(err)
	}
	const again = "az storage container generate-sas --name " + box
	for what, c := range map[string]struct {
		token, code string
		words       []string
	}{
		"expired":            {s.sign(box, "crdw", time.Now().Add(-time.Minute)), "AuthenticationFailed", []string{"expired", again}},
		"without write":      {s.sign(box, "rl", soon), "AuthorizationPermissionMismatch", []string{"crdw", again}},
		"without create":     {s.sign(box, "r", soon), "AuthorizationPermissionMismatch", []string{again}},
		"of another":         {s.sign("other", "crdw", soon), "AuthenticationFailed", []string{again}},
		"with another sig":   {good[:len(good)-12] + "AAAAAAAA%3D", "AuthenticationFailed", []string{again}},
		"with changed words": {strings.Replace(good, "sp=rcwd", "sp=racwdl", 1), "AuthenticationFailed", []string{again}},
		"malformed":          {"not a sas", "AuthenticationFailed", []string{again}},
		"without expiry":     {"sv=2024-11-04&sr=c&sp=crdw&sig=c2VjcmV0c2VjcmV0", "AuthenticationFailed", []string{again}},
		"an account key":     {"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2Vjcg==", "AuthenticationFailed", []string{again}},
	} {
		if c.token == good {
			t.Errorf("%s: the token is the good one", what)
		}
		j, err := h.StartBackup(ctx, bearing(c.token))
		s.fails(h, what, j, err, c.code, append(c.words, "nothing was changed")...)
	}
	// The least that a backup needs is enough, with or without a question mark, and no listing is made.
	for _, token := range []string{good, "?" + good} {
		j := must[client.Job](t)(h.StartBackup(ctx, bearing(token)))
		must[client.Job](t)(j.Wait(ctx, nil))
	}
}

func TestBadRestores(t *testing.T) {
	t.Parallel()
	s, h := ready(t)
	ctx := t.Context()
	const folder = "mhsm-ContosoMHSM-2026010203040500"
	_, err := h.StartRestore(ctx, s.with("rl"), folder)
	says(t, "no restore point", err, "BadRequest", "az keyvault backup start --hsm-name ContosoMHSM --storage-account-name")
	j := must[client.Job](t)(h.StartBackup(ctx, s.with("crdw")))
	j = must[client.Job](t)(j.Wait(ctx, nil))
	made := j.FolderURL[strings.LastIndex(j.FolderURL, "/")+1:]

	restore := func(st client.Storage, folder string) (client.Job, error) { return h.StartRestore(ctx, st, folder) }
	for what, c := range map[string]struct {
		st     client.Storage
		folder string
		code   string
		words  []string
	}{
		"no such folder":  {s.with("rl"), folder, "BackupNotFound", []string{folder}},
		"without list":    {s.with("r"), made, "AuthorizationPermissionMismatch", []string{"generate-sas", "rl"}},
		"without read":    {s.with("l"), made, "AuthorizationPermissionMismatch", []string{"generate-sas", "rl"}},
		"expired":         {bearing(s.sign(box, "rl", time.Now().Add(-time.Minute))), made, "AuthenticationFailed", []string{"expired"}},
		"other container": {bearing(s.sign("other", "rl", time.Now().Add(time.Hour))), made, "AuthenticationFailed", []string{"generate-sas"}},
	} {
		j, err := restore(c.st, c.folder)
		s.fails(h, what, j, err, c.code, append(c.words, "nothing was changed")...)
	}
	must[client.Key](t)(h.CreateKey(ctx, "later", client.CreateKey{Kty: "oct-HSM", Size: 256}))
	j = must[client.Job](t)(restore(s.with("rl"), made))
	must[client.Job](t)(j.Wait(ctx, nil))
	if _, err := h.GetKey(ctx, "later", ""); !client.IsNotFound(err) {
		t.Errorf("a key made after the backup is there after the restore: %v", err)
	}
}

// TestMissingStorage: the container or the account does not exist.
func TestMissingStorage(t *testing.T) {
	t.Parallel()
	s, h := ready(t)
	ctx := t.Context()
	token := s.sign("missing", "crdw", time.Now().Add(time.Hour))
	j, err := h.StartBackup(ctx, client.Storage{URI: "https://" + account + ".blob.core.windows.net/missing", SAS: func() string { return token }})
	s.fails(h, "no container", j, err, "ContainerNotFound", "az storage container create --name missing --account-name")
	j, err = h.StartBackup(ctx, client.Storage{URI: "https://nobody.blob.core.windows.net/" + box, SAS: func() string { return token }})
	s.fails(h, "no account", j, err, "StorageUnreachable", "nobody", "check the name of the storage account", "nothing was changed")
}

// TestBadIdentities: the managed identity is not attached, or not allowed to the storage, or gone.
func TestBadIdentities(t *testing.T) {
	t.Parallel()
	s, h := ready(t)
	ctx := t.Context()
	st := client.Storage{URI: "https://CONTOSObackup.blob.core.windows.net/" + box, ManagedIdentity: true} // any letter case
	_, err := h.StartBackup(ctx, st)
	says(t, "not attached", err, "BadRequest", "az keyvault update-hsm --hsm-name ContosoMHSM --mi-user-assigned")

	mi := must[client.ManagedIdentityResource](t)(s.arm.PutManagedIdentity(ctx, group, "backup-identity", region))
	must[client.ManagedHSM](t)(s.arm.SetHSMIdentities(ctx, group, "contosomhsm", []string{mi.ID}))
	j, err := h.StartBackup(ctx, st)
	s.fails(h, "without a role", j, err, "AuthorizationPermissionMismatch", "Storage Blob Data Contributor", "nothing was changed")

	sub := s.Get("AZURE_SUBSCRIPTION_ID")
	scope := "/subscriptions/" + sub + "/resourceGroups/" + group + "/providers/Microsoft.Storage/storageAccounts/contosobackup"
	const reader = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	must[client.RoleAssignment](t)(s.arm.AssignRole(ctx, scope, reader, mi.PrincipalID, "ServicePrincipal"))
	j, err = h.StartBackup(ctx, st)
	s.fails(h, "a reader", j, err, "AuthorizationPermissionMismatch", "Storage Blob Data Contributor")
	must[client.RoleAssignment](t)(s.arm.AssignRole(ctx, scope, client.StorageBlobDataContributor, mi.PrincipalID, "ServicePrincipal"))
	j = must[client.Job](t)(h.StartBackup(ctx, st))
	if j, err = j.Wait(ctx, nil); err != nil || !strings.HasPrefix(j.FolderURL, "https://contosobackup.blob.core.windows.net/"+box+"/mhsm-ContosoMHSM-") {
		t.Errorf("%+v, %v", j, err)
	}

	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, "https://management.azure.com"+mi.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token("https://management.azure.com"))
	resp, err := s.http.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", resp, err)
	}
	_ = resp.Body.Close()
	j, err = h.StartBackup(ctx, st)
	s.fails(h, "an identity that is gone", j, err, "AuthenticationFailed", "does not exist")
}

// TestHostileStorage: a job's address cannot lead the server anywhere but to its own accounts.
func TestHostileStorage(t *testing.T) {
	t.Parallel()
	s, h := ready(t)
	ctx := t.Context()
	token := s.sign(box, "crdw", time.Now().Add(time.Hour))
	for uri, word := range map[string]string{
		"http://contosobackup.blob.core.windows.net/" + box:                       "https",
		"https://u:p@contosobackup.blob.core.windows.net/" + box:                  "user name",
		"https://127.0.0.1/" + box:                                                "IP address",
		"https://" + s.tlsAddr.String() + "/" + box:                               "IP address",
		"https://169.254.169.254/metadata":                                        "IP address",
		"https://localhost:" + s.names.port + "/" + box:                           "suffix",
		"https://example.com/" + box:                                              "suffix",
		"https://contosobackup.blob.core.windows.net.example.com/" + box:          "suffix",
		"https://contosomhsm.managedhsm.azure.net/keys":                           "suffix",
		"https://contosobackup.blob.core.windows.net:" + s.names.port + "/" + box: "suffix",
		"https://contosobackup.blob.core.windows.net/" + box + "?" + token:        "query",
	} {
		_, err := h.StartBackup(ctx, client.Storage{URI: uri, SAS: func() string { return token }})
		says(t, uri, err, "BadRequest", word)
	}
	// Under the local suffix, with its port, the same account can be named as well.
	j := must[client.Job](t)(h.StartBackup(ctx, client.Storage{URI: "https://contosobackup.blob.core.localhost:" + s.names.port + "/" + box, SAS: func() string { return token }}))
	must[client.Job](t)(j.Wait(ctx, nil))
}

// TestRedirectIsNotFollowed: a storage service that answers with a redirect gets no second request.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 100)
	addr := plainServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Host + r.URL.Path
		w.Header().Set("Location", "https://example.com/"+box)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	s := start(t, DevConfig{BlobEndpoint: "http://" + addr})
	h := s.create("contosomhsm")
	s.activate(h)
	must[client.Resource](t)(s.arm.PutStorageAccount(t.Context(), group, account, region))
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "oct-HSM", Size: 256}))
	j, err := h.StartBackup(t.Context(), s.with("crdw"))
	s.fails(h, "a redirect", j, err, "InvalidUri", "redirect", "never followed")
	close(asked)
	for where := range asked {
		if !strings.HasPrefix(strings.ToLower(where), "contosobackup.blob.core.windows.net/") {
			t.Errorf("the service was asked for %s", where)
		}
	}
}
