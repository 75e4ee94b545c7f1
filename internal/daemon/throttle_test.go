package daemon

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

const stranger = "0b0b0b0b-0b0b-0c0c-0d0d-0e0e0e0e0e0e"

// tooMany wants a 429 as clients expect it.
func tooMany(t *testing.T, resp *http.Response) {
	t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	b := must[[]byte](t)(io.ReadAll(resp.Body))
	if err := json.Unmarshal(b, &body); err != nil || resp.StatusCode != http.StatusTooManyRequests || body.Error.Code != "Throttled" || body.Error.Message == "" {
		t.Fatalf("%d: %s", resp.StatusCode, b)
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 1 || n > 60 {
		t.Errorf("Retry-After: %q", resp.Header.Get("Retry-After"))
	}
	if resp.Header.Get("WWW-Authenticate") != "" || resp.Header.Get("X-Ms-Request-Id") == "" {
		t.Errorf("%v", resp.Header)
	}
}

// TestThrottledPrincipal: one who asks an HSM too often waits; others, and other HSMs, do not; and the retry policy of
// Azure's own SDK for Go waits and comes through.
func TestThrottledPrincipal(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[limits]\nrequests-per-second = 1\nburst = 60\n")
	r.init()
	s := r.serve(ServeOptions{})
	r.activated("one")
	r.activated("two")
	who := r.idp.sign(r.idp.good("https://"+siteSuffix).with("sub", stranger))
	target := "https://one." + siteSuffix + "/keys?api-version=7.4"
	refused := 0
	for range 300 {
		resp := r.ask(http.MethodGet, target, who)
		if resp.StatusCode == http.StatusTooManyRequests {
			tooMany(t, resp)
			if refused++; refused == 3 {
				break
			}
		} else if resp.StatusCode != http.StatusForbidden {
			t.Fatalf("%d", resp.StatusCode)
		}
	}
	if refused != 3 {
		t.Fatalf("%d of 300 were refused", refused)
	}
	if resp := r.ask(http.MethodGet, "https://two."+siteSuffix+"/keys?api-version=7.4", who); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another HSM: %d", resp.StatusCode)
	}
	if resp := r.ask(http.MethodGet, target, r.idp.sign(r.idp.good("https://"+siteSuffix))); resp.StatusCode != http.StatusOK {
		t.Errorf("another principal: %d", resp.StatusCode)
	}
	p := runtime.NewPipeline("test", "v1", runtime.PipelineOptions{}, &policy.ClientOptions{Transport: r.http})
	waited := false
	for range 100 { // until one of them had to wait
		q := must[*policy.Request](t)(runtime.NewRequest(t.Context(), http.MethodGet, target))
		q.Raw().Header.Set("Authorization", "Bearer "+who)
		began := time.Now()
		resp := must[*http.Response](t)(p.Do(q))
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Fatalf("after waiting as told: %d", resp.StatusCode)
		}
		if waited = time.Since(began) >= time.Second; waited {
			break
		}
	}
	if n := scrape(t, s.health).value("redoubt_throttled_requests_total", "limit=principal"); n < 4 || !waited {
		t.Errorf("%v requests were refused; the SDK waited: %v", n, waited)
	}
}

// TestThrottledStranger: an address that shows no good token waits; who was believed a moment ago does not.
func TestThrottledStranger(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[limits]\nunauthenticated-per-second = 1\n")
	r.init()
	c := &clock{}
	frozen := time.Now()
	s := r.serve(ServeOptions{testOnlyClock: func() time.Time { return frozen.Add(c.moved()) }})
	r.activated("one")
	target := "https://one." + siteSuffix + "/keys?api-version=7.4"
	token := r.idp.sign(r.idp.good("https://" + siteSuffix))
	if resp := r.ask(http.MethodGet, target, token); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d", resp.StatusCode)
	}
	c.move(time.Minute / 2) // all four again
	for i, bad := range []string{"", "not.a.token", "", signAs(t, "ES256", "first", newTestCA(t).key, r.idp.good("https://"+siteSuffix))} {
		if resp := r.ask(http.MethodGet, target, bad); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%d: %d", i, resp.StatusCode)
		}
	}
	control := "https://" + siteHost + "/subscriptions?api-version=2021-01-01"
	fresh := r.idp.sign(r.idp.good("https://" + siteSuffix))
	tooMany(t, r.ask(http.MethodGet, target, ""))
	tooMany(t, r.ask(http.MethodGet, target, "not.a.token"))
	tooMany(t, r.ask(http.MethodGet, target, fresh))
	tooMany(t, r.ask(http.MethodGet, control, ""))
	tooMany(t, r.ask(http.MethodGet, control, "not.a.token"))
	tooMany(t, r.ask(http.MethodGet, "https://"+siteHost+"/metadata/endpoints", ""))
	if resp := r.ask(http.MethodGet, target, token); resp.StatusCode != http.StatusOK {
		t.Errorf("who was believed: %d", resp.StatusCode)
	}
	scrape(t, s.health).want(6, "redoubt_throttled_requests_total", "limit=address")
	c.move(time.Second)
	if resp := r.ask(http.MethodGet, target, fresh); resp.StatusCode != http.StatusOK {
		t.Errorf("a second later: %d", resp.StatusCode)
	}
	if resp := r.ask(http.MethodGet, control, ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a second later: %d", resp.StatusCode)
	}
	tooMany(t, r.ask(http.MethodGet, control, ""))
}
