package daemon

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"redoubt/internal/client"
)

// scraped is what Prometheus would see.
type scraped struct {
	t        *testing.T
	text     string
	families map[string]*dto.MetricFamily
}

func scrape(t *testing.T, addr net.Addr) scraped {
	t.Helper()
	code, text := plain(t, addr, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, text)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	return scraped{t, text, must[map[string]*dto.MetricFamily](t)(p.TextToMetricFamilies(strings.NewReader(text)))}
}

// value is that of the one series of the metric with these labels ("name=value"); of a histogram, how many were
// observed.
func (s scraped) value(name string, labels ...string) float64 {
	s.t.Helper()
	var found []float64
	for _, m := range s.families[name].GetMetric() {
		got := map[string]bool{}
		for _, l := range m.GetLabel() {
			got[l.GetName()+"="+l.GetValue()] = true
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !got[l] }) {
			continue
		}
		switch {
		case m.Histogram != nil:
			found = append(found, float64(m.Histogram.GetSampleCount()))
		case m.Counter != nil:
			found = append(found, m.Counter.GetValue())
		default:
			found = append(found, m.Gauge.GetValue())
		}
	}
	if len(found) != 1 {
		s.t.Errorf("%s%v has %d series", name, labels, len(found))
		return -1
	}
	return found[0]
}

func (s scraped) want(value float64, name string, labels ...string) {
	s.t.Helper()
	if got := s.value(name, labels...); got != value {
		s.t.Errorf("%s%v is %v, want %v", name, labels, got, value)
	}
}

// TestMetricsOfServe: after requests to a real server, the metrics say what was done.
func TestMetricsOfServe(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[limits]\nconnections = 70\n")
	r.init()
	s := r.serve(ServeOptions{})
	scrape(t, s.health).want(0, "redoubt_issuer_keys", "issuer="+r.idp.srv.URL)
	ctx := t.Context()
	h := r.activated("One")
	before := scrape(t, s.health)
	must[client.Key](t)(h.CreateKey(ctx, "canary-name", client.CreateKey{Kty: "EC-HSM", Crv: "P-256", Tags: map[string]string{"t": "canary-tag"}}))
	for range 5 {
		must[client.Result](t)(h.Sign(ctx, "canary-name", "", "ES256", make([]byte, 32)))
	}
	if _, err := h.GetKey(ctx, "nothing", ""); !client.IsNotFound(err) {
		t.Error(err)
	}
	token := r.idp.sign(r.idp.good("https://" + siteSuffix))
	for range 4 {
		r.ask(http.MethodGet, "https://one."+siteSuffix+"/keys?api-version=7.4", token)
	}
	r.ask(http.MethodGet, "https://one."+siteSuffix+"/canary-path?api-version=7.4&x=canary-query", token)
	r.ask(http.MethodGet, "https://one."+siteSuffix+"/keys?api-version=7.4", "canary-token")
	r.ask(http.MethodGet, "https://canary-host."+siteSuffix+"/keys?api-version=7.4", token)
	r.ask("CANARY", "https://"+siteHost+"/subscriptions?api-version=2021-01-01", r.idp.sign(r.idp.good("https://"+siteHost)))
	m := scrape(t, s.health)
	grown := func(by float64, name string, labels ...string) {
		t.Helper()
		m.want(before.value(name, labels...)+by, name, labels...)
	}
	m.want(1, "redoubt_requests_total", "hsm=One", "operation=KeyCreate", "class=2xx")
	m.want(5, "redoubt_requests_total", "hsm=One", "operation=KeySign", "class=2xx")
	m.want(5, "redoubt_request_duration_seconds", "operation=KeySign")
	m.want(1, "redoubt_requests_total", "hsm=One", "operation=KeyGet", "class=4xx")
	m.want(4, "redoubt_requests_total", "hsm=One", "operation=KeyList", "class=2xx")
	grown(2, "redoubt_requests_total", "hsm=One", "operation=none", "class=4xx")
	m.want(1, "redoubt_requests_total", "hsm=none", "operation=none", "class=4xx")
	m.want(1, "redoubt_control_requests_total", "method=other", "class=4xx")
	grown(1, "redoubt_control_request_duration_seconds")
	m.want(5, "redoubt_hsm_cache_lookups_total", "hsm=One", "cache=material", "result=hit")
	m.want(1, "redoubt_hsm_state", "hsm=One", "state=Active")
	m.want(0, "redoubt_hsm_state", "hsm=One", "state=Sealed")
	m.want(0, "redoubt_hsm_last_backup_timestamp_seconds", "hsm=One")
	m.want(0, "redoubt_hsm_security_domain_unconfirmed", "hsm=One")
	m.want(70, "redoubt_connections_limit")
	m.want(1, "redoubt_issuer_keys", "issuer="+r.idp.srv.URL)
	m.want(float64(s.pair.current().Leaf.NotAfter.Unix()), "redoubt_tls_certificate_expiry_timestamp_seconds")
	m.want(1, "redoubt_ready")
	if n := m.value("redoubt_connections"); n < 1 || n > 70 || m.value("redoubt_connections_accepted_total") < n {
		t.Errorf("%v connections are open", n)
	}
	// A change is a transaction at least; that its entry was moved to the file is another, perhaps a moment later.
	if a, b := before.value("redoubt_store_transactions_total", "result=done"), m.value("redoubt_store_transactions_total", "result=done"); b < a+1 {
		t.Errorf("%v transactions, then %v", a, b)
	}
	if a, b := m.value("redoubt_store_transactions_total", "result=done"), m.value("redoubt_store_commit_duration_seconds"); b > a || b == 0 {
		t.Errorf("%v transactions in %v commits", a, b)
	}
	if m.value("redoubt_audit_entries_total", "hsm=One") == 0 || m.value("redoubt_data_free_bytes") <= 0 || m.value("redoubt_store_size_bytes") <= 0 {
		t.Error("nothing is in the audit chain or on the disk")
	}
	hits, misses := m.value("redoubt_cache_lookups_total", "cache=token", "result=hit"), m.value("redoubt_cache_lookups_total", "cache=token", "result=miss")
	if hits != 4 || misses < 3 {
		t.Errorf("tokens: %v hits, %v misses", hits, misses)
	}
	for _, secret := range []string{"canary", "CANARY", siteOwner, token, "127.0.0.1"} {
		if text := strings.ReplaceAll(m.text, r.idp.srv.URL, ""); strings.Contains(text, secret) {
			t.Errorf("the metrics have %.20s", secret)
		}
	}
	if err := r.client().DeleteHSM(ctx, group, "One"); err != nil {
		t.Fatal(err)
	}
	if text := scrape(t, s.health).text; strings.Contains(text, `"One"`) {
		t.Error("a deleted HSM still has series")
	}
}

// TestMetricsOfJobs: backups and restores of a dev cloud.
func TestMetricsOfJobs(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{Health: "127.0.0.1:0", ReadyKeys: true})
	h := s.create("ContosoMHSM")
	ctx := t.Context()
	s.activate(h)
	s.bucket()
	must[client.Key](t)(h.CreateKey(ctx, "k", client.CreateKey{Kty: "RSA-HSM", Size: 2048}))
	j := must[client.Job](t)(h.StartBackup(ctx, s.with("crdw")))
	must[client.Job](t)(j.Wait(ctx, nil))
	j = must[client.Job](t)(h.StartRestore(ctx, s.with("rl"), "mhsm-ContosoMHSM-2020010203040500"))
	if _, err := j.Wait(ctx, nil); err == nil {
		t.Error("a restore from nowhere")
	}
	m := scrape(t, s.healthAddr)
	for m.value("redoubt_jobs_running", "hsm=ContosoMHSM") > 0 { // a poll may see the end a moment earlier
		m = scrape(t, s.healthAddr)
	}
	hsm := "hsm=ContosoMHSM"
	m.want(1, "redoubt_jobs_started_total", hsm, "kind=backup")
	m.want(1, "redoubt_jobs_ended_total", hsm, "kind=backup", "outcome=succeeded")
	m.want(0, "redoubt_jobs_ended_total", hsm, "kind=backup", "outcome=failed")
	m.want(1, "redoubt_jobs_ended_total", hsm, "kind=restore", "outcome=failed")
	m.want(1, "redoubt_job_duration_seconds", hsm, "kind=restore")
	m.want(0, "redoubt_jobs_started_total", hsm, "kind=selective_restore")
	m.want(4, "redoubt_keypool_capacity_keys", "bits=2048")
	m.want(1, "redoubt_keypool_requests_total", "bits=2048", "result=miss")
	if at := m.value("redoubt_hsm_last_backup_timestamp_seconds", hsm); at < 1.7e9 {
		t.Errorf("the last backup was at %v", at)
	}
	if code, _ := plain(t, s.healthAddr, "/status"); code != http.StatusNotFound {
		t.Errorf("/status of a dev cloud: %d", code)
	}
	if code, text := plain(t, s.healthAddr, "/readyz"); code != http.StatusOK || text != "ready\n" {
		t.Errorf("/readyz of a dev cloud: %d %s", code, text)
	}
	if _, err := StartDev(ctx, DevConfig{Dir: t.TempDir(), Health: "0.0.0.0:0"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("health for everybody: %v", err)
	}
}

// TestMetricsPage: docs/metrics.md lists every metric with its kind and labels, and no other; and Prometheus' own
// linter has nothing to say.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	s := r.serve(ServeOptions{})
	h := r.activated("one")
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "oct-HSM", Size: 256}))
	m := scrape(t, s.health)
	if problems, err := promlint.New(strings.NewReader(m.text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(redoubt_[a-z_]+)` \\| ([a-z]+) \\|(.*?)\\| ").FindAllStringSubmatch(string(must[[]byte](t)(os.ReadFile("../../docs/metrics.md"))), -1) {
		labels := strings.Fields(strings.ReplaceAll(row[3], "`", ""))
		slices.Sort(labels)
		rows[row[1]] = fmt.Sprint(row[2], labels)
	}
	if len(rows) < 20 {
		t.Fatalf("the page has %d rows", len(rows))
	}
	for _, name := range slices.Sorted(maps.Keys(m.families)) {
		if !strings.HasPrefix(name, "redoubt_") {
			continue
		}
		f := m.families[name]
		labels := map[string]bool{}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		if got := fmt.Sprint(strings.ToLower(f.GetType().String()), slices.Sorted(maps.Keys(labels))); got != rows[name] {
			t.Errorf("%s: the page says %q, the server %q", name, rows[name], got)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s has a row, and the server does not tell it", name)
	}
}

// TestMetricsOfTheReceiver: what the syslog receiver has not got yet, while it is away and when it is back.
func TestMetricsOfTheReceiver(t *testing.T) {
	t.Parallel()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	r := newRealm(t, fmt.Sprintf("[audit.syslog]\naddress = %q\nca-file = %q\n", "localhost:"+port, dir+"/ca.pem"))
	if err := os.WriteFile(dir+"/ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := r.ca.leaf(t, "receiver", time.Now().Add(time.Hour), "localhost")
	pair := must[tls.Certificate](t)(tls.X509KeyPair(cert, key))
	r.init()
	s := r.serve(ServeOptions{})
	r.activated("one")
	until := func(what string, good func(failing, unsent float64) bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			m := scrape(t, s.health)
			failing, unsent := m.value("redoubt_audit_sending_failing"), m.value("redoubt_audit_unsent_entries", "hsm=one")
			if good(failing, unsent) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: failing %v, %v entries unsent", what, failing, unsent)
			}
		}
	}
	until("while it is away", func(failing, unsent float64) bool { return failing == 1 && unsent > 2 })
	in := must[net.Listener](t)(tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	until("when it is back", func(failing, unsent float64) bool { return failing == 0 && unsent == 0 })
	r.stop(s)
	_ = in.Close()
	<-done
}
