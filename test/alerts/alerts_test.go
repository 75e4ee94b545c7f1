// Package alerts has tests only: the alert rules and the dashboard under deploy/ are what Prometheus and Grafana
// accept, name only metrics that docs/metrics.md has (which a test of internal/daemon holds against a real server), and
// fire when they should. It is a module of its own, so that Prometheus never enters the product's go.sum.
package alerts

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const root = "../../"

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(root + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// metric is a row of docs/metrics.md.
type metric struct {
	histogram bool
	labels    []string
}

// others are not Redoubt's own: Prometheus' word for whether a scrape succeeded, and its library's figures.
var others = []string{"up", "process_resident_memory_bytes", "process_cpu_seconds_total", "go_memstats_heap_inuse_bytes", "go_goroutines"}

func metrics(t *testing.T) map[string]metric {
	t.Helper()
	out := map[string]metric{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(redoubt_[a-z_]+)` \\| ([a-z]+) \\|(.*?)\\| ").FindAllSubmatch(read(t, "docs/metrics.md"), -1) {
		out[string(m[1])] = metric{histogram: string(m[2]) == "histogram", labels: strings.Fields(strings.ReplaceAll(string(m[3]), "`", ""))}
	}
	if len(out) < 20 {
		t.Fatalf("docs/metrics.md has %d metrics", len(out))
	}
	return out
}

// values are those of labels that have a fixed set.
var values = map[string][]string{
	"class": {"1xx", "2xx", "3xx", "4xx", "5xx", "gone"}, "result": {"hit", "miss", "done", "conflict", "failed"}, "outcome": {"succeeded", "failed"},
	"kind": {"backup", "restore", "selective_restore"}, "state": {"Provisioned", "Recovering", "Active", "Restoring", "Sealed", "Degraded", "Unavailable"}, "job": {"redoubt"},
}

var parsed = parser.NewParser(parser.Options{})

// known parses a query and wants that there are such metrics, with such labels and values.
func known(t *testing.T, all map[string]metric, what, query string) {
	t.Helper()
	e, err := parsed.ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	found := 0
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		found++
		name := strings.TrimSuffix(v.Name, "_bucket")
		m, ours := all[name]
		if !ours && !slices.Contains(others, v.Name) || ours && m.histogram != (name != v.Name) {
			t.Errorf("%s: there is no metric %s", what, v.Name)
			return nil
		}
		for _, l := range v.LabelMatchers {
			if l.Name == model.MetricNameLabel || l.Name == "instance" || v.Name == "up" && l.Name == "job" {
				continue
			}
			if !slices.Contains(m.labels, l.Name) {
				t.Errorf("%s: %s has no label %s", what, v.Name, l.Name)
			}
			if fixed := values[l.Name]; fixed != nil && l.Value != ".*" {
				for word := range strings.SplitSeq(l.Value, "|") {
					if !slices.Contains(fixed, word) {
						t.Errorf("%s: %s is never %s", what, l.Name, word)
					}
				}
			}
		}
		return nil
	})
	if found == 0 {
		t.Errorf("%s: it asks for nothing: %s", what, query)
	}
}

func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.Parse(read(t, "deploy/prometheus/redoubt.rules.yml"), false, model.UTF8Validation, parsed, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var out []rulefmt.Rule
	for _, g := range groups.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

// TestRules: every alert asks for metrics that there are, says how grave it is, and has a section that says what to do; and
// there is no section without an alert.
func TestRules(t *testing.T) {
	all := metrics(t)
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllSubmatch(read(t, "docs/alerts.md"), -1) {
		sections[strings.ToLower(string(m[1]))] = true
	}
	for _, r := range rules(t) {
		known(t, all, r.Alert, r.Expr)
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s: no summary", r.Alert)
		}
		page, section, _ := strings.Cut(r.Annotations["runbook"], "#")
		if page != "docs/alerts.md" || section != strings.ToLower(r.Alert) || !sections[section] {
			t.Errorf("%s: there is no section %q", r.Alert, r.Annotations["runbook"])
		}
		delete(sections, section)
	}
	for s := range sections {
		t.Errorf("docs/alerts.md#%s: no alert", s)
	}
}

const day = 86400

// cases are, for each alert, series of 31 minutes at which its condition holds at the end, and series at which it does not.
// {} stands for the labels of a server.
var cases = map[string]struct{ fires, quiet string }{
	"RedoubtDown":                {`up{job="redoubt"} 0x31`, `up{job="redoubt"} 1x31`},
	"RedoubtNotReady":            {`redoubt_ready 0x31`, `redoubt_ready 1x31`},
	"RedoubtNoGoodBackup":        {`redoubt_hsm_last_backup_timestamp_seconds{hsm="a"} 1x31`, fmt.Sprintf(`redoubt_hsm_last_backup_timestamp_seconds{hsm="a"} %dx31; redoubt_hsm_last_backup_timestamp_seconds{hsm="b"} 0x31`, 9*day)},
	"RedoubtNeverBackedUp":       {`redoubt_hsm_last_backup_timestamp_seconds{hsm="a"} 0x31; redoubt_hsm_state{hsm="a",state="Active"} 1x31`, `redoubt_hsm_last_backup_timestamp_seconds{hsm="a"} 0x31; redoubt_hsm_state{hsm="a",state="Active"} 0x31; redoubt_hsm_last_backup_timestamp_seconds{hsm="b"} 5x31; redoubt_hsm_state{hsm="b",state="Active"} 1x31`},
	"RedoubtBackupFailed":        {`redoubt_jobs_ended_total{hsm="a",kind="backup",outcome="failed"} 0x20 1x11`, `redoubt_jobs_ended_total{hsm="a",kind="backup",outcome="failed"} 3x31; redoubt_jobs_ended_total{hsm="a",kind="restore",outcome="failed"} 0+1x31`},
	"RedoubtSealed":              {`redoubt_hsm_state{hsm="a",state="Sealed"} 1x31`, `redoubt_hsm_state{hsm="a",state="Sealed"} 0x31; redoubt_hsm_state{hsm="a",state="Active"} 1x31`},
	"RedoubtDegraded":            {`redoubt_hsm_state{hsm="a",state="Unavailable"} 1x31`, `redoubt_hsm_state{hsm="a",state="Degraded"} 0x31; redoubt_hsm_state{hsm="a",state="Active"} 1x31`},
	"RedoubtDownloadUnconfirmed": {`redoubt_hsm_security_domain_unconfirmed{hsm="a"} 1x31`, `redoubt_hsm_security_domain_unconfirmed{hsm="a"} 0x31`},
	"RedoubtAuditStopped":        {`redoubt_audit_stopped{hsm="a"} 1x31`, `redoubt_audit_stopped{hsm="a"} 0x31`},
	"RedoubtAuditNotSent":        {`redoubt_audit_sending_failing 1x31`, `redoubt_audit_sending_failing 0x31`},
	"RedoubtDiskFillsUp":         {`redoubt_data_free_bytes 9x31; redoubt_data_size_bytes 100x31`, `redoubt_data_free_bytes 11x31; redoubt_data_size_bytes 100x31`},
	"RedoubtErrors":              {`redoubt_requests_total{hsm="a",operation="KeySign",class="5xx"} 0+2x31; redoubt_requests_total{hsm="a",operation="KeySign",class="2xx"} 0+98x31`, `redoubt_requests_total{hsm="a",operation="KeySign",class="5xx"} 1x31; redoubt_requests_total{hsm="a",operation="KeySign",class="gone"} 0+50x31; redoubt_requests_total{hsm="a",operation="KeySign",class="2xx"} 0+98x31`},
	"RedoubtSlow":                {`redoubt_request_duration_seconds_bucket{operation="KeySign",le="1"} 0+50x31; redoubt_request_duration_seconds_bucket{operation="KeySign",le="5"} 0+100x31; redoubt_request_duration_seconds_bucket{operation="KeySign",le="+Inf"} 0+100x31`, `redoubt_request_duration_seconds_bucket{operation="KeyCreate",le="1"} 0+50x31; redoubt_request_duration_seconds_bucket{operation="KeyCreate",le="5"} 0+100x31; redoubt_request_duration_seconds_bucket{operation="KeySign",le="1"} 0+100x31; redoubt_request_duration_seconds_bucket{operation="KeySign",le="+Inf"} 0+100x31`},
	"RedoubtDiskSlow":            {`redoubt_store_commit_duration_seconds_bucket{le="0.512"} 0+10x31; redoubt_store_commit_duration_seconds_bucket{le="1.024"} 0+20x31; redoubt_store_commit_duration_seconds_bucket{le="+Inf"} 0+20x31`, `redoubt_store_commit_duration_seconds_bucket{le="0.256"} 0+20x31; redoubt_store_commit_duration_seconds_bucket{le="+Inf"} 0+20x31`},
	"RedoubtCertificateExpires":  {fmt.Sprintf(`redoubt_tls_certificate_expiry_timestamp_seconds %dx31`, 10*day), fmt.Sprintf(`redoubt_tls_certificate_expiry_timestamp_seconds %dx31`, 90*day)},
	"RedoubtIssuerKeysStale":     {`redoubt_issuer_keys_fetch_failing{issuer="i"} 1x31`, `redoubt_issuer_keys_fetch_failing{issuer="i"} 0x31`},
	"RedoubtNobodyCanSignIn":     {`redoubt_issuer_keys_fetch_failing{issuer="i"} 1x31; redoubt_issuer_keys{issuer="i"} 0x31`, `redoubt_issuer_keys_fetch_failing{issuer="i"} 1x31; redoubt_issuer_keys{issuer="i"} 2x31; redoubt_issuer_keys_fetch_failing{issuer="j"} 0x31; redoubt_issuer_keys{issuer="j"} 0x31`},
	"RedoubtConnectionsUsedUp":   {`redoubt_connections 4000x31; redoubt_connections_limit 4096x31`, `redoubt_connections 3000x31; redoubt_connections_limit 4096x31`},
	"RedoubtThrottling":          {`redoubt_throttled_requests_total{limit="address"} 0+100x31`, `redoubt_throttled_requests_total{limit="address"} 0+10x31`},
}

// holds tells whether a query has an answer at the end of the series. The series begin nine days after 1970 and an hour
// before their end, so that times are small numbers.
func holds(t *testing.T, query, series string) bool {
	t.Helper()
	load := "load 1m\n"
	for one := range strings.SplitSeq(series, "; ") {
		name, rest, _ := strings.Cut(one, " ")
		if !strings.Contains(name, "{") {
			name += "{}"
		}
		sep := ","
		if strings.Contains(name, "{}") {
			sep = ""
		}
		load += "  " + strings.Replace(name, "}", sep+`instance="m:9480"}`, 1) + " _x12960 " + rest + "\n"
	}
	s := promqltest.LoadedStorage(t, load)
	e := promqltest.NewTestEngine(t, false, 5*time.Minute, 1_000_000)
	q, err := e.NewInstantQuery(t.Context(), s, nil, query, time.Unix(9*day+31*60, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	v, err := q.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatal(err)
	}
	return len(v) > 0
}

var _ promql.QueryOpts // the engine is Prometheus' own

// TestAlertsFire: each alert's condition holds when it should and does not when all is well.
func TestAlertsFire(t *testing.T) {
	for _, r := range rules(t) {
		c, ok := cases[r.Alert]
		if !ok {
			t.Errorf("%s has no case", r.Alert)
			continue
		}
		t.Run(r.Alert, func(t *testing.T) {
			if !holds(t, r.Expr, c.fires) {
				t.Errorf("%s does not hold at %s", r.Expr, c.fires)
			}
			if holds(t, r.Expr, c.quiet) {
				t.Errorf("%s holds at %s", r.Expr, c.quiet)
			}
		})
	}
}

// panel is what this test needs of a Grafana panel.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct {
		RefID, Expr, LegendFormat string
		Datasource                struct{ Type, UID string }
	}
}

// TestDashboard: Grafana's JSON has what a dashboard needs, its panels do not lie over each other, and every query
// asks for metrics that there are, by labels that the legend can show.
func TestDashboard(t *testing.T) {
	var d struct {
		UID, Title    string
		SchemaVersion int
		Panels        []panel
		Templating    struct {
			List []struct {
				Name, Type string
				Query      any
			}
		}
	}
	if err := json.Unmarshal(read(t, "deploy/grafana/redoubt.json"), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Panels) < 10 {
		t.Errorf("%s %s, schema %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	variables := map[string]string{"__rate_interval": "5m"}
	for _, v := range d.Templating.List {
		variables[v.Name] = ".*"
	}
	all, ids, taken := metrics(t), map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" || !slices.Contains([]string{"row", "stat", "timeseries"}, p.Type) || (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %d %q of type %s with %d queries", p.ID, p.Title, p.Type, len(p.Targets))
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q at %d, %d", p.Title, other, x, y)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || variables["datasource"] == "" || target.RefID == "" {
				t.Errorf("%q: %+v", p.Title, target)
			}
			query := regexp.MustCompile(`\$(\w+)`).ReplaceAllStringFunc(target.Expr, func(v string) string {
				if variables[v[1:]] == "" {
					t.Errorf("%q: there is no variable %s", p.Title, v)
				}
				return variables[v[1:]]
			})
			known(t, all, p.Title, query)
			for _, l := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if l[1] == "instance" {
					continue
				}
				shown := strings.Contains(query, "by (") && regexp.MustCompile(`by \([^)]*\b`+l[1]+`\b`).MatchString(query)
				if !shown && (strings.Contains(query, "sum") || !hasLabel(all, query, l[1])) {
					t.Errorf("%q: the legend shows %s, which %s has not", p.Title, l[1], query)
				}
			}
		}
	}
}

func hasLabel(all map[string]metric, query, label string) bool {
	for name, m := range all {
		if strings.Contains(query, name) && slices.Contains(m.labels, label) {
			return true
		}
	}
	return false
}
