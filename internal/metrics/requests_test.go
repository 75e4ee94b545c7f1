package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
)

func request(t testing.TB, name string, op hsm.Operation) *azhttp.Request {
	t.Helper()
	rq, err := azhttp.NewRequest(nil, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	rq.HSM, rq.Operation = name, op
	return rq
}

func (m *Metrics) text(t testing.TB) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// TestRequests: each request is counted once, by HSM, operation and class, whoever else counts meanwhile.
func TestRequests(t *testing.T) {
	t.Parallel()
	there := []HSM{{Name: "one"}, {Name: "two"}}
	m := New(func(context.Context) (Site, bool) { return Site{HSMs: there}, true }, slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two", ""} {
		for _, o := range []azhttp.Outcome{{Status: 200}, {Status: 204}, {Status: 302}, {Status: 429}, {Status: 503}, {Status: 503, Gone: true}, {Status: 0}} {
			rq := request(t, name, hsm.OpKeySign)
			wg.Go(func() {
				for range 50 {
					m.DataPlane().Answered(rq, o)
				}
			})
		}
	}
	wg.Wait()
	text := m.text(t)
	for _, name := range []string{"one", "two", "none"} {
		for class, n := range map[string]int{"1xx": 50, "2xx": 100, "3xx": 50, "4xx": 50, "5xx": 50, "gone": 50} {
			if want := fmt.Sprintf("redoubt_requests_total{class=%q,hsm=%q,operation=\"KeySign\"} %d\n", class, name, n); !strings.Contains(text, want) {
				t.Errorf("no %s", want)
			}
		}
	}
	there = there[1:]
	if text = m.text(t); strings.Contains(text, `"one"`) || !strings.Contains(text, `hsm="two"`) || !strings.Contains(text, `hsm="none"`) {
		t.Error("the series are not those of the HSMs there are")
	}
}

// TestBeforeTheStart: while nothing is open, a scrape says so and no more.
func TestBeforeTheStart(t *testing.T) {
	t.Parallel()
	m := New(func(context.Context) (Site, bool) { return Site{}, false }, slog.New(slog.DiscardHandler))
	if text := m.text(t); !strings.Contains(text, "redoubt_ready 0\n") || strings.Contains(text, "redoubt_store") || !strings.Contains(text, "redoubt_build_info{") {
		t.Error(text)
	}
}

// BenchmarkAnswered is what counting adds to a request.
func BenchmarkAnswered(b *testing.B) {
	m := New(func(context.Context) (Site, bool) { return Site{}, false }, slog.New(slog.DiscardHandler))
	rq := request(b, "one", hsm.OpKeySign)
	b.ReportAllocs()
	for b.Loop() {
		m.DataPlane().Answered(rq, azhttp.Outcome{Status: 200, Took: 3 * time.Millisecond})
	}
}
