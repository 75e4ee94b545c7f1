package dataplane_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/hsmtest"
)

// audited stops the site and reads what an HSM's audit file has, which must be a chain.
func audited(t *testing.T, s *hsmtest.Site, id string) (raw []byte, entries []audit.Entry) {
	t.Helper()
	s.Restart()
	raw, err := os.ReadFile(s.AuditFile(id))
	if err == nil {
		_, err = audit.Verify(bytes.NewReader(raw), "", func(e audit.Entry) error { entries = append(entries, e); return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw, entries
}

// outsider has no role, and gets none.
const outsider = "98989898-9898-4898-8898-989898989898"

// TestAuditEvents: every answer has its entry, with the status, the version and the address that the client saw.
func TestAuditEvents(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Provisioned(hsmName)
	w := s.Serve()
	answers := make(map[string]string) // by request id
	note := func(target string, a hsmtest.Answer) {
		_, path, _ := strings.Cut(target, " ")
		path, _, _ = strings.Cut(path, "?")
		answers[a.Header.Get("X-Ms-Request-Id")] = fmt.Sprint(a.Status, " https://", host, path)
	}
	for _, st := range goldenSteps(string(hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2))) {
		var body any
		if st.body != "" {
			body = st.body
		}
		a := as(w, st.who).do(st.target, body)
		note(st.target, a)
		if st.route != "" { // nobody else may do it, or nobody else is known
			note(st.target, as(w, outsider).do(st.target, body).Want(403))
		}
	}
	for target, status := range map[string]int{"GET /keys/none": 403, "POST /keys/none/sign": 400, "GET /settings/none": 404} {
		note(target, as(w, hsmtest.Admin).do(target, nil).Want(status))
	}
	_, entries := audited(t, s, d.ID())
	for _, e := range entries {
		want, ok := answers[e.RequestID]
		if e.RequestID == "" {
			continue // by the HSM itself
		}
		delete(answers, e.RequestID)
		got := fmt.Sprint(e.Status, " ", strings.TrimSuffix(strings.Split(e.RequestURI, "?")[0], "?"))
		if !ok || got != want || e.Version == "" || e.Resource == nil || e.Principal == "" {
			t.Errorf("%s: the entry says %q and the answer was %q (%+v)", e.Operation, got, want, e)
		}
		if (e.Status < 300) != (e.Result == "Success") || (e.Result == "Denied") != (e.Status == 403) {
			t.Errorf("%s: %s with status %d", e.Operation, e.Result, e.Status)
		}
	}
	for id, a := range answers {
		t.Errorf("%s: %s has no entry", id, a)
	}
}

// canaries are secrets that must be found nowhere.
type canaries struct {
	names []string
	forms [][]byte
	n     byte
}

// add makes known a secret in the forms it can take.
func (c *canaries) add(name string, raw []byte) {
	if len(raw) < 16 {
		return // could stand anywhere by chance
	}
	for _, f := range []string{string(raw), base64.RawURLEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw), hex.EncodeToString(raw)} {
		c.names, c.forms = append(c.names, name), append(c.forms, []byte(f[:min(len(f), 4096)]))
	}
}

// draw makes a secret of n bytes; it is given as base64url.
func (c *canaries) draw(name string, n int) string {
	c.n++
	raw := bytes.Repeat([]byte{0xc0 + c.n}, n)
	copy(raw, fmt.Sprintf("canary %d", c.n))
	c.add(name, raw)
	return b64(raw)
}

func (c *canaries) lookIn(t *testing.T, what string, b []byte) {
	t.Helper()
	for i, f := range c.forms {
		if at := bytes.Index(b, f); at >= 0 {
			t.Errorf("%s has the secret %q: ...%q", what, c.names[i], b[max(0, at-150):min(len(b), at+len(f)+20)])
			return
		}
	}
}

// written is a log that can be read.
type written struct {
	mu sync.Mutex
	bytes.Buffer
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.Write(b)
}

// secretive are requests with secrets in every member that takes one, by the routes of hsm.Table.
func secretive(c *canaries, backup string) map[string][]string {
	sas := func(name string) string {
		return `{"storageResourceUri":"` + storage + `","token":"sv=2024-01-01&sp=crdwl&sig=` + c.draw("SAS of "+name, 32) + `"}`
	}
	private := func(kty string, members ...string) string {
		b := `{"key":{"kty":"` + kty + `","crv":"P-256","n":"` + b64(bytes.Repeat([]byte{0xab}, 256)) + `","e":"AQAB","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `"`
		for _, m := range members {
			b += `,"` + m + `":"` + c.draw(kty+" "+m, 32) + `"`
		}
		return b + `}}`
	}
	jwt := func(name string) string { return "eyJhbGciOiJSUzI1NiJ9." + c.draw(name, 60) + "." + c.draw(name, 64) }
	return map[string][]string{
		"PUT /keys/imported":             {private("oct-HSM", "k"), private("EC-HSM", "d"), private("RSA-HSM", "d", "p", "q", "dp", "dq", "qi"), private("RSA-HSM", "key_hsm")},
		"POST /keys/oct/encrypt":         {`{"alg":"A256GCM","value":"` + c.draw("plaintext", 48) + `","aad":"` + c.draw("aad", 32) + `"}`, `{"alg":"A256CBC","value":"` + c.draw("plaintext", 32) + `","iv":"` + b64(make([]byte, 16)) + `"}`},
		"POST /keys/oct/decrypt":         {`{"alg":"A256CBC","value":"` + c.draw("ciphertext", 32) + `","iv":"` + b64(make([]byte, 16)) + `"}`, `{"alg":"A256GCM","value":"` + c.draw("ciphertext", 32) + `","iv":"AAAA","tag":"` + c.draw("tag", 16) + `"}`},
		"POST /keys/oct/wrapkey":         {`{"alg":"A256KW","value":"` + c.draw("key to wrap", 32) + `"}`},
		"POST /keys/oct/unwrapkey":       {`{"alg":"A256KW","value":"` + c.draw("wrapped key", 40) + `"}`},
		"POST /keys/rsa/encrypt":         {`{"alg":"RSA-OAEP-256","value":"` + c.draw("plaintext", 48) + `"}`, `{"alg":"RSA1_5","value":"` + c.draw("plaintext", 300) + `"}`},
		"POST /keys/rsa/decrypt":         {`{"alg":"RSA-OAEP-256","value":"` + c.draw("ciphertext", 256) + `"}`},
		"POST /keys/ec/sign":             {`{"alg":"ES256","value":"` + c.draw("digest", 32) + `"}`},
		"POST /keys/rsa/sign":            {`{"alg":"RSNULL","value":"` + c.draw("text to sign", 48) + `"}`},
		"POST /keys/ec/verify":           {`{"alg":"ES256","digest":"` + c.draw("digest", 32) + `","value":"` + c.draw("signature", 64) + `"}`},
		"POST /keys/out/release":         {`{"target":"` + jwt("attestation token") + `","nonce":"` + c.draw("nonce", 16) + `"}`},
		"POST /keys/kek/securewrapkey":   {`{"alg":"A256KW","target":"` + jwt("attestation token") + `"}`},
		"POST /keys/kek/secureunwrapkey": {`{"alg":"A256KW","value":"` + c.draw("wrapped key", 40) + `","target":"` + jwt("attestation token") + `"}`},
		"POST /keys/restore":             {`{"value":"` + c.draw("backup blob", 300) + `"}`, `{"value":"` + backup + `"}`},
		"POST /securitydomain/upload":    {`{"value":"` + c.draw("restore blob", 300) + `"}`},
		"POST /backup":                   {sas("backup"), strings.Replace(sas("backup elsewhere"), storage, "http://elsewhere.example/c", 1)},
		"PUT /restore":                   {`{"sasTokenParameters":` + sas("restore") + `,"folderToRestore":"mhsm-ContosoMHSM-2026010203040500"}`},
		"PUT /keys/any/restore":          {`{"sasTokenParameters":` + sas("selective restore") + `,"folder":"mhsm-ContosoMHSM-2026010203040500"}`},
		"POST /rng":                      {`{"count":32}`},
		"PUT /providers/Microsoft.Authorization/roleDefinitions/5d5d5d5d-5d5d-4d5d-8d5d-5d5d5d5d5d5d": {`{"properties":{"roleName":"signer","description":"` + c.draw("description of a role", 32) +
			`","permissions":[{"dataActions":["Microsoft.KeyVault/managedHsm/keys/sign/action"]}],"secret":"` + c.draw("unknown member of a role", 32) + `"}}`},
		"PUT /providers/Microsoft.Authorization/roleAssignments/6d6d6d6d-6d6d-4d6d-8d6d-6d6d6d6d6d6d": {`{"properties":{"roleDefinitionId":"21dbd100-6940-42c2-9190-5d6cb909625b","principalId":"` + hsmtest.Stranger +
			`","condition":"` + c.draw("unknown member of an assignment", 32) + `"}}`},
		"POST /no/such/operation": {`{"value":"` + c.draw("body for no operation", 32) + `"}`},
		"POST /keys/oct/backup":   {``},
		"GET /keys?sig=" + c.draw("SAS in the query", 32) + "&se=x&" + jwt("token in the query"):                                                    {``},
		"GET /keys?$skiptoken=sig%3D" + c.draw("SAS in the query", 32) + "&sig=" + c.draw("SAS in the query", 32) + "&" + jwt("token in the query"): {``},
	}
}

func unraw(s string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(s)
	return b
}

// spoilt are forms of a body that cannot be read, or not as they should.
func spoilt(body string) []string {
	if body == "" {
		return []string{""}
	}
	return []string{body, body[:len(body)-1], strings.ReplaceAll(body, `":"`, `":["`), strings.ReplaceAll(body, `"}`, `!"}`), strings.ReplaceAll(body, `"}`, `=="}`),
		strings.Replace(body, `"alg":"`, `"alg":"X`, 1), strings.Replace(body, `"kty":"`, `"kty":"X`, 1), "[" + body + "]", body + body}
}

// TestNoSecretIsRecorded plants secrets wherever a client may send one and looks for them in the audit file, the
// logs and the bodies of errors; likewise for those that the HSM gives out.
func TestNoSecretIsRecorded(t *testing.T) {
	t.Parallel()
	s, log := hsmtest.New(t), new(written)
	s.Config.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	s.Restart()
	d := s.Active(hsmName)
	w := s.Serve()
	user, admin := as(w, hsmtest.User), as(w, hsmtest.Admin)
	user.do("POST /keys/oct/create", `{"kty":"oct","key_size":256}`).Want(200)
	user.do("POST /keys/rsa/create", `{"kty":"RSA"}`).Want(200)
	user.do("POST /keys/ec/create", `{"kty":"EC"}`).Want(200)
	user.do("POST /keys/out/create", withPolicy(`{"kty":"RSA",`+exportable+`}`)).Want(200)
	user.do("POST /keys/kek/create", withPolicy(`{"kty":"oct","key_size":256,`+secureOps+`}`)).Want(200)
	var saved struct{ Value string }
	user.do("POST /keys/ec/backup", nil).Want(200).JSON(&saved)

	var c canaries
	c.add("a backup of a key", unraw(saved.Value))
	statuses := make(map[int]int)
	for target, bodies := range secretive(&c, saved.Value) {
		for _, body := range bodies {
			for _, b := range spoilt(body) {
				for _, who := range []client{user, admin, as(w, hsmtest.Stranger), as(w, "")} {
					var payload any
					if b != "" {
						payload = b
					}
					s.Clock.Advance(250 * time.Millisecond) // so that no limit keeps an entry out
					a := who.do(target, payload)
					statuses[a.Status]++
					if a.Status >= 400 {
						c.lookIn(t, fmt.Sprintf("the answer %d to %s", a.Status, target), a.Body)
						continue
					}
					var out map[string]any
					if json.Unmarshal(a.Body, &out) == nil && strings.HasPrefix(target, "POST /keys/") || target == "POST /rng" {
						v, _ := out["value"].(string)
						c.add("an answer to "+target, unraw(v))
					}
				}
			}
		}
	}
	for _, who := range []string{hsmtest.User, hsmtest.Admin, hsmtest.Stranger} {
		token := s.Token(who, hsmtest.Devices)
		for _, bad := range []string{token, token + "x", token[:len(token)-9], "x" + token} {
			c.add("a bearer token", []byte(bad))
			a := w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys?" + version, Token: bad})
			statuses[a.Status]++
			if a.Status >= 400 {
				c.lookIn(t, "the answer to a bad token", a.Body)
			}
		}
	}
	for _, status := range []int{200, 202, 400, 401, 403} {
		if statuses[status] == 0 {
			t.Errorf("nothing was answered with %d: %v", status, statuses)
		}
	}
	for _, token := range []string{"", c.draw("token for no HSM", 60)} {
		w.Do(hsmtest.Ask{Method: "POST", Host: "nobody.managedhsm.azure.net", Path: "/keys?sig=" + c.draw("SAS for no HSM", 32), Token: token, Body: `{"value":"` + c.draw("body for no HSM", 32) + `"}`}).Want(404)
	}
	raw, trail := trailOf(t, s)
	c.lookIn(t, "the control plane's audit file", raw)
	if len(trail) < 2 {
		t.Errorf("%d entries of unknown hosts", len(trail))
	}
	raw, entries := audited(t, s, d.ID())
	c.lookIn(t, "the audit file", raw)
	c.lookIn(t, "the log", log.Bytes())
	if len(entries) < 100 || log.Len() == 0 {
		t.Errorf("%d entries and %d bytes of log: that is hardly all", len(entries), log.Len())
	}
}
