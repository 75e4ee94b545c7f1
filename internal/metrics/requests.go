package metrics

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
)

// The classes of outcomes: those of the status, and requests whose client did not wait for the answer.
var classes = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx", "gone"}

func classOf(o azhttp.Outcome) int {
	if o.Gone {
		return len(classes) - 1
	}
	return min(max(o.Status/100, 1), 5) - 1
}

// none is the label of an operation or an HSM that was not found.
const none = "none"

// operations are the names of all operations; 0 is none.
var operations = func() []string {
	out := []string{none}
	for _, row := range hsm.Table() {
		out = append(out, row.Name)
	}
	return out
}()

// latencyBuckets are seconds: from a read that is cached to an RSA key that waits for its turn.
var latencyBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// dataPlane counts the requests for HSMs. What it adds to a request are one look-up of an HSM's series and a
// few atomic additions: the label sets of an operation are resolved when it is first seen.
type dataPlane struct {
	requests *prometheus.CounterVec // hsm, operation, class
	latency  []prometheus.Observer  // by operation
	byHSM    sync.Map               // of *series, by resource name
}

// series are the counters of one HSM.
type series struct {
	name    string
	counter [][len(classes)]atomic.Pointer[prometheus.Counter] // by operation
}

func newDataPlane(r prometheus.Registerer) *dataPlane {
	d := &dataPlane{requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "redoubt_requests_total",
		Help: "Requests to the data plane that were answered, by HSM, operation (as the audit log calls it) and class of status."}, []string{"hsm", "operation", "class"})}
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "redoubt_request_duration_seconds",
		Help: "Time from the end of a request's header to the end of its answer, by operation.", Buckets: latencyBuckets}, []string{"operation"})
	for _, name := range operations {
		d.latency = append(d.latency, latency.WithLabelValues(name))
	}
	r.MustRegister(latency) // requests are collected behind forget
	return d
}

// Answered implements azhttp.Observer.
func (d *dataPlane) Answered(rq *azhttp.Request, o azhttp.Outcome) {
	var s *series
	if known, ok := d.byHSM.Load(rq.HSM); ok {
		s = known.(*series)
	} else {
		s = d.open(rq.HSM)
	}
	op := int(rq.Operation)
	d.latency[op].Observe(o.Took.Seconds())
	at := &s.counter[op][classOf(o)]
	c := at.Load()
	if c == nil {
		made := d.requests.WithLabelValues(s.name, operations[op], classes[classOf(o)])
		at.Store(&made)
		c = &made
	}
	(*c).Inc()
}

func (d *dataPlane) open(name string) *series {
	s := &series{name: name, counter: make([][len(classes)]atomic.Pointer[prometheus.Counter], len(operations))}
	if name == "" {
		s.name = none
	}
	kept, _ := d.byHSM.LoadOrStore(name, s)
	return kept.(*series)
}

// forget drops the series of HSMs that are no longer there, so that their number is bounded by that of HSMs.
func (d *dataPlane) forget(there []string) {
	d.byHSM.Range(func(name, s any) bool {
		if name != "" && !slices.Contains(there, name.(string)) {
			d.byHSM.Delete(name)
			d.requests.DeletePartialMatch(prometheus.Labels{"hsm": s.(*series).name})
		}
		return true
	})
}

// controlPlane counts the requests of the control plane.
type controlPlane struct {
	requests *prometheus.CounterVec // method, class
	latency  prometheus.Histogram
}

func newControlPlane(r prometheus.Registerer) *controlPlane {
	c := &controlPlane{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "redoubt_control_requests_total",
			Help: "Requests to the control plane that were answered, by method and class of status."}, []string{"method", "class"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "redoubt_control_request_duration_seconds",
			Help: "Time from the end of a control-plane request's header to the end of its answer.", Buckets: latencyBuckets})}
	r.MustRegister(c.requests, c.latency)
	return c
}

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// Answered implements azhttp.Observer.
func (c *controlPlane) Answered(rq *azhttp.Request, o azhttp.Outcome) {
	method := "other" // anybody can send any word
	if slices.Contains(methods, rq.Method) {
		method = rq.Method
	}
	c.requests.WithLabelValues(method, classes[classOf(o)]).Inc()
	c.latency.Observe(o.Took.Seconds())
}
