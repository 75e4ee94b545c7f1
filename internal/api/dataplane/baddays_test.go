package dataplane_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"redoubt/internal/blob"
	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
)

// certificate is one entry of a download request, as a client writes it.
type certificate map[string]any

func certificates(t *testing.T, n int) []certificate {
	t.Helper()
	hs := hsmtest.Holders(max(n, 3))
	var out []certificate
	for i := range n {
		from := min(i, len(hs)-3)
		var body struct{ Certificates []certificate }
		if err := json.Unmarshal(hsmtest.DownloadRequest(t, hs[from:from+3], 2), &body); err != nil {
			t.Fatal(err)
		}
		out = append(out, body.Certificates[i-from])
	}
	return out
}

// foreign is an entry for a certificate made here, with a key that the request should not have, or a date.
func foreign(t *testing.T, public any, signer any, notAfter time.Time) certificate {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: notAfter.Add(-time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	out := certificate{"kty": "RSA", "alg": "RSA-OAEP-256", "key_ops": []string{"verify", "encrypt", "wrapKey"}, "x5c": []string{base64.StdEncoding.EncodeToString(der)}, "x5t#S256": b64(sum[:]), "n": "AQAB", "e": "AQAB"}
	if k, ok := public.(*rsa.PublicKey); ok {
		out["n"], out["e"] = b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	}
	return out
}

// TestBadCeremonies: certificates that cannot be shared out to are refused with the reason, and the HSM stays
// as it was.
func TestBadCeremonies(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	good := certificates(t, 11)
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // the HSM must refuse it
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ahead := s.Clock.Now().Add(time.Hour)
	lying := certificate{}
	for k, v := range good[0] {
		lying[k] = v
	}
	lying["n"] = good[1]["n"]
	for name, r := range map[string]struct {
		certs    []certificate
		required int
		word     string
	}{
		"two":                 {good[:2], 2, "3"},
		"eleven":              {good, 2, "10"},
		"none":                {nil, 2, "list"},
		"quorum 1":            {good[:3], 1, "2"},
		"quorum above N":      {good[:3], 4, "3"},
		"quorum below zero":   {good[:3], -1, "whole number"},
		"one twice":           {[]certificate{good[0], good[1], good[0]}, 2, "1 and 3 are the same"},
		"RSA-1024":            {[]certificate{good[0], good[1], foreign(t, weak.Public(), weak, ahead)}, 2, "2048"},
		"elliptic curve":      {[]certificate{good[0], foreign(t, ec.Public(), ec, ahead), good[1]}, 2, "certificate 2"},
		"n of another":        {[]certificate{good[1], good[2], lying}, 2, "certificate 3"},
		"empty":               {[]certificate{{}, good[0], good[1]}, 2, "certificate 1"},
		"not a certificate":   {[]certificate{{"kty": "RSA", "x5c": []string{"AAAA"}}, good[0], good[1]}, 2, "certificate 1"},
		"certificate missing": {[]certificate{{"kty": "RSA", "n": good[0]["n"], "e": "AQAB"}, good[0], good[1]}, 2, "certificate 1"},
	} {
		a := c.do("POST /securitydomain/download", map[string]any{"certificates": r.certs, "required": r.required})
		a.WantError(400, "BadParameter", "SecurityDomainRefused", r.word)
		if t.Failed() {
			t.Fatalf("%s: %s", name, a.Body)
		}
	}
	c.do("POST /securitydomain/download", `{"certificates":"all"}`).WantError(400, "BadParameter", "SecurityDomainRefused")
	c.do("POST /securitydomain/download", nil).WantError(400, "BadParameter", "SecurityDomainRefused")
	c.do("GET /securitydomain/download/pending", nil).WantError(404, "NotFound", "")
	c.do("POST /securitydomain/download", map[string]any{"certificates": good[:10], "required": 10}).Want(202)
	c.do("GET /securitydomain/download/pending", nil).Want(200)
}

// TestExpiredCertificate is allowed: its key works. The status warns.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	certs := append(certificates(t, 2), foreign(t, old.Public(), old, s.Clock.Now().Add(-time.Hour)))
	c.do("POST /securitydomain/download", map[string]any{"certificates": certs, "required": 2}).Want(202)
	var st struct {
		Status  string
		Details string `json:"status_details"`
	}
	c.do("GET /securitydomain/download/pending", nil).Want(200).JSON(&st)
	if st.Status != "Success" || !strings.Contains(st.Details, "certificate 3") || !strings.Contains(st.Details, "expired on 2026-01-02") {
		t.Errorf("%+v", st)
	}
}

// TestSecondDownload: of an active HSM, under new certificates, it is the same domain.
func TestSecondDownload(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	download := func(n int) string {
		var v struct{ Value string }
		c.do("POST /securitydomain/download", map[string]any{"certificates": certificates(t, n)[n-3:], "required": 2}).Want(202).JSON(&v)
		c.do("GET /securitydomain/download/pending", nil).Want(200)
		return hsm.DomainIDOf([]byte(v.Value))
	}
	if first, second := download(3), download(6); first == "" || first != second {
		t.Errorf("domain %q, then %q", first, second)
	}
}

// TestBadUploads: only a blob made for this exchange key, with exactly the known data, is accepted.
func TestBadUploads(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	file := s.Activate(s.Provisioned("source"))
	exchangeKey := func(name string) []byte {
		k, err := s.Provisioned(name).ExchangeKey(t.Context(), hsmtest.Caller(hsmtest.Admin))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(k.Key)
	}
	blobFor := func(key []byte) map[string]any {
		var m map[string]any
		if err := json.Unmarshal(hsmtest.RestoreBlob(t, file, key), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	mine, other := exchangeKey(hsmName), exchangeKey("other")
	c := as(s.Serve(), hsmtest.Admin)
	data := func(m map[string]any) []any { return m["EncData"].(map[string]any)["data"].([]any) }
	set := func(m map[string]any, d []any) { m["EncData"].(map[string]any)["data"] = d }
	for name, change := range map[string]func(m map[string]any){
		"missing datum": func(m map[string]any) { set(m, data(m)[1:]) },
		"added datum": func(m map[string]any) {
			set(m, append(data(m), map[string]any{"tag": "more", "compact_jwe": "a.b.c.d.e"}))
		},
		"datum twice": func(m map[string]any) { set(m, append(data(m), data(m)[0])) },
		"swapped data": func(m map[string]any) {
			d := data(m)
			a, b := d[0].(map[string]any), d[1].(map[string]any)
			a["compact_jwe"], b["compact_jwe"] = b["compact_jwe"], a["compact_jwe"]
		},
		"tag cut to 31 bytes": func(m map[string]any) {
			d := data(m)[0].(map[string]any)
			jwe := d["compact_jwe"].(string)
			d["compact_jwe"] = jwe[:len(jwe)-2]
		},
		"tampered datum": func(m map[string]any) {
			d := data(m)[0].(map[string]any)
			parts := strings.Split(d["compact_jwe"].(string), ".")
			parts[3] = "A" + strings.Map(func(r rune) rune { return 'A' }, parts[3][1:])
			d["compact_jwe"] = strings.Join(parts, ".")
		},
		"no wrapped key": func(m map[string]any) { delete(m, "WrappedKey") },
		"no data":        func(m map[string]any) { delete(m, "EncData") },
	} {
		m := blobFor(mine)
		change(m)
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		a := c.do("POST /securitydomain/upload", map[string]string{"value": string(text)})
		if a.WantError(400, "BadParameter", "SecurityDomainRefused"); t.Failed() {
			t.Fatalf("%s: %s", name, a.Body)
		}
	}
	text, err := json.Marshal(blobFor(other))
	if err != nil {
		t.Fatal(err)
	}
	c.do("POST /securitydomain/upload", map[string]string{"value": string(text)}).WantError(400, "BadParameter", "SecurityDomainRefused", "az keyvault security-domain init-recovery --hsm-name ContosoMHSM")
	c.do("POST /securitydomain/upload", map[string]string{"value": string(file)}).WantError(400, "BadParameter", "SecurityDomainRefused")
	// Nothing was lost: the blob that is right is still accepted.
	if text, err = json.Marshal(blobFor(mine)); err != nil {
		t.Fatal(err)
	}
	c.do("POST /securitydomain/upload", map[string]string{"value": string(text)}).Want(202)
}

// held is a container whose first write waits for the test.
type held struct {
	blob.Container
	entered chan struct{}
	leave   chan struct{}
}

// Put implements blob.Container.
func (h held) Put(ctx context.Context, name string, data []byte) error {
	select {
	case h.entered <- struct{}{}:
	default:
	}
	<-h.leave
	return h.Container.Put(ctx, name, data)
}

// Get implements blob.Container.
func (h held) Get(ctx context.Context, name string) (io.ReadCloser, blob.Info, error) {
	return h.Container.Get(ctx, name)
}

// TestOneJobAtATime: while a backup runs, another job is refused and named the running one.
func TestOneJobAtATime(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	entered, leave := make(chan struct{}, 1), make(chan struct{})
	open := s.Config.OpenContainer
	s.Config.OpenContainer = func(ctx context.Context, r hsm.ContainerRequest) (blob.Container, error) {
		c, err := open(ctx, r)
		return held{c, entered, leave}, err
	}
	s.Restart()
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	id, _ := c.do("POST /backup", sas).Want(202).Map()["jobId"].(string)
	<-entered
	restore := `{"sasTokenParameters":` + sas + `,"folderToRestore":"mhsm-ContosoMHSM-2026010203040500"}`
	c.do("POST /backup", sas).WantError(409, "Conflict", "OperationInProgress", id, "wait")
	c.do("PUT /restore", restore).WantError(409, "Conflict", "OperationInProgress", id)
	c.do("PUT /keys/k/restore", `{"sasTokenParameters":`+sas+`,"folder":"mhsm-ContosoMHSM-2026010203040500"}`).WantError(409, "Conflict", "OperationInProgress", id)
	// The HSM goes on working meanwhile.
	as(c.Web, hsmtest.User).do("POST /keys/k/create", `{"kty":"EC"}`).Want(200)
	close(leave)
	if j := s.Wait(d.BackupStatus, id); j.Status != hsm.JobSucceeded {
		t.Errorf("the backup: %+v", j)
	}
}

// TestBadJobs: what is wrong with a job's parameters is said at once, with the next command.
func TestBadJobs(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	restore := func(folder string) string {
		return `{"sasTokenParameters":` + sas + `,"folderToRestore":"` + folder + `"}`
	}
	const folder = "mhsm-ContosoMHSM-2026010203040500"
	c.do("PUT /restore", restore(folder)).WantError(400, "BadRequest", "NoRestorePoint",
		"az keyvault backup start --hsm-name ContosoMHSM --storage-account-name contosobackup --blob-container-name mhsmbackupcontainer")
	for _, bad := range []string{"", ".", "..", "../" + folder, folder + "/", "a b", strings.Repeat("x", 300)} {
		c.do("PUT /restore", restore(bad)).WantError(400, "BadRequest", "")
		c.do("PUT /keys/k/restore", `{"sasTokenParameters":`+sas+`,"folder":"`+bad+`"}`).WantError(400, "BadRequest", "")
	}
	for body, word := range map[string]string{
		`{}`: "", `{"storageResourceUri":"` + storage + `"}`: "SAS", `{"storageResourceUri":"` + storage + `","useManagedIdentity":true}`: "az keyvault update-hsm --hsm-name ContosoMHSM --mi-user-assigned",
		`{"storageResourceUri":3,"token":"x"}`: "storageResourceUri", `{"storageResourceUri":"` + storage + `","useManagedIdentity":"yes"}`: "useManagedIdentity",
	} {
		a := c.do("POST /backup", body)
		var e struct{ Error hsmtest.Error }
		if a.JSON(&e); a.Status != 400 || !strings.Contains(e.Error.Message, word) {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
	for uri, word := range map[string]string{
		"http://contosobackup.blob.core.windows.net/c":          "https",
		"https://user:pw@contosobackup.blob.core.windows.net/c": "user name",
		"https://10.0.0.1/c":  "IP address",
		"https://127.0.0.1/c": "IP address",
		"https://[::1]/c":     "IP address",
		"https://localhost/c": "suffix",
		"https://contosobackup.blob.core.windows.net.evil.example/c": "suffix",
		"https://evil.example/contosobackup.blob.core.windows.net":   "suffix",
		"https://contosobackup.blob.core.windows.net:8443/c":         "suffix",
		"https://a.b.blob.core.windows.net/c":                        "account name",
		"https://contosobackup.blob.core.windows.net/":               "container",
		"https://contosobackup.blob.core.windows.net/c/d":            "path",
		"https://contosobackup.blob.core.windows.net/c?sig=geheim":   "query",
		"https://contosobackup.blob.core.windows.net/ccc#x":          "fragment",
		"file:///etc/passwd":                                   "https",
		"https:contosobackup.blob.core.windows.net/c":          "https",
		"//contosobackup.blob.core.windows.net/c":              "https",
		"https://contosobackup.blob.core.windows.net/%2e%2e":   "percent",
		"https://contosobackup.blob.core.windows.net\\@evil/c": "backslash",
	} {
		body, err := json.Marshal(map[string]string{"storageResourceUri": uri, "token": "sig=abcdefgh"})
		if err != nil {
			t.Fatal(err)
		}
		a := c.do("POST /backup", body)
		if a.WantError(400, "BadRequest", "", word); strings.Contains(string(a.Body), "geheim") {
			t.Errorf("%s: the answer repeats the signature", uri)
		}
	}
	for _, id := range []string{"x", strings.Repeat("0", 32), "..", "%00", strings.Repeat("a", 5000)} {
		c.do("GET /backup/"+id+"/pending", nil).WantError(404, "NotFound", "")
	}
	if st, err := d.Status(t.Context()); err != nil || st.Job != "" {
		t.Errorf("a refused job is there: %+v, %v", st, err)
	}
	if n := len(s.Records("/hsm/" + d.ID() + "/l/job")); n != 0 {
		t.Errorf("%d jobs were recorded", n)
	}
}
