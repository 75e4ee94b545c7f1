package metrics

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"redoubt/internal/hsm"
	"redoubt/internal/tally"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("redoubt_"+name, help, labels, nil)
}

var (
	descReady = desc("ready", "1 while the server takes requests, 0 while it starts or drains.")

	descState       = desc("hsm_state", "1 for the state that the HSM is in, 0 for the others.", "hsm", "state")
	descBackup      = desc("hsm_last_backup_timestamp_seconds", "When the content in the newest full backup that still counts was current; 0: there is none.", "hsm")
	descUnconfirmed = desc("hsm_security_domain_unconfirmed", "1 while a security domain was given out and its download not confirmed: the HSM is not activated.", "hsm")
	descWarnings    = desc("hsm_warnings", "Warnings that the HSM shows in its status.", "hsm")
	descHSMCache    = desc("hsm_cache_lookups_total", "Keys (cache: material) and sealed records (cache: record) that were used, and whether they were in memory, unwrapped.", "hsm", "cache", "result")

	descEntries = desc("audit_entries_total", "Lines of the HSM's audit chain.", "hsm")
	descWaiting = desc("audit_waiting_entries", "Audit entries in memory that are not in the file yet.", "hsm")
	descLoose   = desc("audit_unsynced_age_seconds", "Age of the oldest audit entry that a power loss would take; 0: there is none.", "hsm")
	descStopped = desc("audit_stopped", "1 while the audit log takes no entries, so that changes are refused.", "hsm")

	descUnsent  = desc("audit_unsent_entries", "Audit entries that the syslog receiver has not got yet; 0 without one.", "hsm")
	descFailing = desc("audit_sending_failing", "1 if the last try to send audit entries to the syslog receiver failed.")

	descRunning  = desc("jobs_running", "Backups and restores that run now.", "hsm")
	descStarted  = desc("jobs_started_total", "Backups and restores that were started.", "hsm", "kind")
	descEnded    = desc("jobs_ended_total", "Backups and restores that came to their end.", "hsm", "kind", "outcome")
	descJobTime  = desc("job_duration_seconds", "How long backups and restores took.", "hsm", "kind")
	descSize     = desc("store_size_bytes", "Size of the store's file.")
	descTxns     = desc("store_transactions_total", "Transactions of the store, by what became of them.", "result")
	descCommit   = desc("store_commit_duration_seconds", "How long the store took to write and sync a group of transactions.")
	descFree     = desc("data_free_bytes", "Room that is left on the file system of the data directory.")
	descDisk     = desc("data_size_bytes", "Size of the file system of the data directory.")
	descCache    = desc("cache_lookups_total", "Bearer tokens (cache: token) and records of the store (cache: store) that were asked for, and whether they were in memory.", "cache", "result")
	descReadyKey = desc("keypool_ready_keys", "RSA keys that are ready for the next who creates one.", "bits")
	descFullKey  = desc("keypool_capacity_keys", "RSA keys that are kept ready once one of the size was asked for.", "bits")
	descKeyAsked = desc("keypool_requests_total", "RSA keys that were asked for, and whether one was ready.", "bits", "result")

	descIssuerKeys    = desc("issuer_keys", "Signing keys of the issuer that can be used.", "issuer")
	descIssuerFetched = desc("issuer_keys_fetched_timestamp_seconds", "When the issuer's keys were fetched last; 0: never.", "issuer")
	descIssuerFailing = desc("issuer_keys_fetch_failing", "1 if the last try to fetch the issuer's keys failed.", "issuer")
	descCertificate   = desc("tls_certificate_expiry_timestamp_seconds", "When the TLS certificate in use expires.")

	descConnections = desc("connections", "Connections that clients have open.")
	descAccepted    = desc("connections_accepted_total", "Connections that were accepted.")
	descMostConns   = desc("connections_limit", "Connections that are served at once; more wait.")
	descThrottled   = desc("throttled_requests_total", "Requests refused with 429, by the limit that was reached.", "limit")
)

// states are the values of the label state. The last one is that of an HSM that could not be opened.
var states = []hsm.State{hsm.Provisioned, hsm.Recovering, hsm.Active, hsm.Restoring, hsm.Sealed, hsm.Degraded, unavailable}

const unavailable hsm.State = "Unavailable"

// collector asks the server when a scrape comes.
type collector struct {
	ask  func(context.Context) (Site, bool)
	data *dataPlane
	mu   sync.Mutex // one at a time
}

// Describe implements prometheus.Collector: what is collected depends on what there is, so it is not checked
// beforehand.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	s, ok := c.ask(ctx)
	out := sink(ch)
	out.gauge(descReady, number(s.Ready))
	if !ok {
		c.data.requests.Collect(ch)
		return
	}
	names := make([]string, 0, len(s.HSMs))
	for i := range s.HSMs {
		names = append(names, s.HSMs[i].Name)
		out.hsm(&s.HSMs[i])
	}
	c.data.forget(names)
	c.data.requests.Collect(ch)
	out.store(&s)
	out.keys(&s)
	out.front(&s)
}

type sink chan<- prometheus.Metric

func (out sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (out sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (out sink) histogram(d *prometheus.Desc, v tally.Distribution, labels ...string) {
	out <- prometheus.MustNewConstHistogram(d, v.Count, v.Sum, v.Buckets, labels...)
}

func (out sink) lookups(d *prometheus.Desc, v tally.Lookups, labels ...string) {
	out.counter(d, v.Hits, append(labels, "hit")...)
	out.counter(d, v.Misses, append(labels, "miss")...)
}

func (out sink) hsm(h *HSM) {
	now := h.Status.State
	if !h.Open {
		now = unavailable
	}
	for _, s := range states {
		out.gauge(descState, number(s == now), h.Name, string(s))
	}
	if !h.Open {
		return
	}
	f := &h.Figures
	if now != hsm.Degraded { // else nobody knows
		out.gauge(descBackup, float64(h.Status.LastBackup), h.Name)
		out.gauge(descUnconfirmed, number(h.Status.Unconfirmed), h.Name)
		out.gauge(descWarnings, float64(len(h.Status.Warnings)), h.Name)
	}
	out.lookups(descHSMCache, f.Materials, h.Name, "material")
	out.lookups(descHSMCache, f.Records, h.Name, "record")
	out.counter(descEntries, f.Audit.Entries, h.Name)
	out.gauge(descWaiting, float64(f.Audit.Waiting), h.Name)
	out.gauge(descLoose, age(f.Audit.Oldest), h.Name)
	out.gauge(descStopped, number(f.Audit.Stopped), h.Name)
	out.gauge(descUnsent, float64(h.Unsent), h.Name)
	out.gauge(descRunning, float64(f.Running), h.Name)
	for kind, j := range f.Jobs {
		kind = strings.ReplaceAll(kind, " ", "_")
		out.counter(descStarted, j.Started, h.Name, kind)
		out.counter(descEnded, j.Succeeded, h.Name, kind, "succeeded")
		out.counter(descEnded, j.Failed, h.Name, kind, "failed")
		out.histogram(descJobTime, j.Took, h.Name, kind)
	}
}

func (out sink) store(s *Site) {
	out.gauge(descSize, float64(s.StoreBytes))
	out.gauge(descFailing, number(s.SyslogFails))
	out.counter(descTxns, s.Store.Done, "done")
	out.counter(descTxns, s.Store.Conflicts, "conflict")
	out.counter(descTxns, s.Store.Failed, "failed")
	out.histogram(descCommit, s.Store.Commit)
	out.lookups(descCache, s.Store.Hot, "store")
	out.gauge(descFree, float64(s.Free))
	out.gauge(descDisk, float64(s.Size))
}

func (out sink) keys(s *Site) {
	out.lookups(descCache, s.Tokens, "token")
	for _, sh := range s.Keys {
		bits := strconv.Itoa(sh.Spec.Bits)
		out.gauge(descReadyKey, float64(sh.Ready), bits)
		out.gauge(descFullKey, float64(sh.Full), bits)
		out.lookups(descKeyAsked, sh.Asked, bits)
	}
	for _, is := range s.Issuers {
		out.gauge(descIssuerKeys, float64(is.Keys), is.Issuer)
		out.gauge(descIssuerFetched, seconds(is.Fetched), is.Issuer)
		out.gauge(descIssuerFailing, number(is.Failing), is.Issuer)
	}
	if !s.Certificate.IsZero() {
		out.gauge(descCertificate, seconds(s.Certificate))
	}
}

func (out sink) front(s *Site) {
	out.gauge(descConnections, float64(s.Connections))
	out.counter(descAccepted, s.Accepted)
	if s.MostConns > 0 {
		out.gauge(descMostConns, float64(s.MostConns))
	}
	for limit, n := range s.Throttled {
		out.counter(descThrottled, n, limit)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

func age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}
