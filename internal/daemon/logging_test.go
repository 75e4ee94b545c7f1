package daemon

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/client"
)

// TestAccessLog: every request has one record with the ids that its client knows, and nothing that a client sends makes
// a second line or shows a secret.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[log]\nformat = \"json\"\naccess = \"all\"\n")
	r.init()
	var out syncBuffer
	cfg := r.config()
	log, access := cfg.Log.loggers(&out, false)
	r.serve(ServeOptions{Log: log, Access: access})
	h := r.activated("one")
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256", Tags: map[string]string{"canary-tag": "x"}}))
	token := r.idp.sign(r.idp.good("https://" + siteSuffix))
	send := func(method, target, token, id string) *http.Response {
		t.Helper()
		q := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), method, target, nil))
		q.Header.Set("X-Ms-Client-Request-Id", id)
		q.Header.Set("User-Agent", "canary-agent")
		if token != "" {
			q.Header.Set("Authorization", "Bearer "+token)
		}
		resp := must[*http.Response](t)(r.http.Do(q))
		_ = resp.Body.Close()
		return resp
	}
	base := "https://one." + siteSuffix
	good := send("GET", base+"/keys/k?api-version=7.4&sig=canary-query", token, "id-1")
	denied := send("GET", base+"/keys/x%0A%7B%22msg%22:%22forged%22%7D%E2%80%A8%00?api-version=7.4", token, "\"id\"-2")
	challenged := send("GET", base+"/keys?api-version=7.4", "", strings.Repeat("i", 129))
	send("GET", "https://"+siteHost+"/subscriptions/"+siteSub+"?api-version=2021-01-01", r.idp.sign(r.idp.good("https://"+siteHost)), "id-4")
	records := map[string]map[string]any{}
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || m["msg"] != "request" && m["level"] != "WARN" {
			t.Fatalf("%q: %v", line, err)
		}
		if id, ok := m["request"].(string); ok {
			records[id] = m
		}
	}
	has := func(resp *http.Response, want map[string]any) {
		t.Helper()
		m := records[resp.Header.Get("X-Ms-Request-Id")]
		for k, v := range want {
			if m[k] != v {
				t.Errorf("%s is %v, want %v: %v", k, m[k], v, m)
			}
		}
		if took, ok := m["durationMs"].(float64); !ok || took <= 0 {
			t.Errorf("%v", m)
		}
	}
	has(good, map[string]any{"plane": "data", "clientRequest": "id-1", "operation": "KeyGet", "hsm": "one", "principal": siteOwner, "method": "GET", "path": "/keys/k", "status": 200.0, "address": "127.0.0.1", "code": nil})
	has(denied, map[string]any{"clientRequest": "\"id\"-2", "status": float64(denied.StatusCode), "code": "BadParameter", "path": "/keys/x\n{\"msg\":\"forged\"}\u2028\x00"})
	has(challenged, map[string]any{"clientRequest": nil, "status": 401.0, "operation": nil, "principal": nil})
	if n := strings.Count(out.String(), `"plane":"control"`); n == 0 {
		t.Error("no request of the control plane")
	}
	for _, secret := range []string{"canary", token, "Bearer"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the log has %.20s", secret)
		}
	}
}

// TestAccessLogOfFailures: only what failed, in the text format, each on one line; and log.level is kept.
func TestAccessLogOfFailures(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[log]\naccess = \"failures\"\nlevel = \"error\"\n")
	r.init()
	var out syncBuffer
	log, access := r.config().Log.loggers(&out, false)
	r.serve(ServeOptions{Log: log, Access: access})
	log.Warn("not to be seen")
	r.activated("one")
	token := r.idp.sign(r.idp.good("https://" + siteSuffix))
	r.ask("GET", "https://one."+siteSuffix+"/keys?api-version=7.4", token)
	r.ask("GET", "https://one."+siteSuffix+"/keys?api-version=7.4", "")
	if text := out.String(); text != "" {
		t.Errorf("nothing has failed: %s", text)
	}
	r.ask("GET", "https://one."+siteSuffix+"/keys/no%0Alevel=ERROR%20x?api-version=7.4", token)
	if text := out.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `path="/keys/no\nlevel=ERROR x"`) || !strings.Contains(text, "status=400") {
		t.Errorf("%q", text)
	}
	log, access = LogConfig{Format: "text", Level: "error", Access: accessOff}.loggers(&out, true)
	if !log.With("a", 1).WithGroup("g").Enabled(t.Context(), -4) || access != nil {
		t.Error("-v is not debug, or requests are logged although they should not be")
	}
}
