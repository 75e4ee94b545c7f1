package dataplane

import (
	"net/http"
	"net/url"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
)

var domainRoutes = []route{
	{"POST", "securitydomain/download", downloadDomain},
	{"GET", "securitydomain/download/pending", downloadStatus},
	{"GET", "securitydomain/upload", transferKey},
	{"POST", "securitydomain/upload", uploadDomain},
	{"GET", "securitydomain/upload/pending", uploadStatus},
}

type domainStatus struct {
	Status  string `json:"status"`
	Details string `json:"status_details"`
}

// value is the shape in which a security domain or a restore blob travels: a JSON text inside a string.
type value struct {
	Value string `json:"value"`
}

func downloadDomain(q *request) (azhttp.Reply, error) {
	body, err := q.ReadBody()
	if err == nil && len(body) > 0 {
		err = decodeBody(body, &struct{}{}) // sound JSON; what it must say is package securitydomain's matter
	}
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.once(body, func() (azhttp.Reply, error) {
		file, err := q.hsm.DownloadDomain(q.Context(), q.who, body)
		if err != nil {
			return azhttp.Reply{}, err
		}
		// The service's answer has no status; see replay.go for the client that needs one.
		// The address says which download the client waits for: it keeps this file only if this very download
		// counts, whatever other clients or a restart have done in between.
		pending := "/securitydomain/download/pending?" + url.Values{"domain": {hsm.DomainIDOf(file)}}.Encode()
		return azhttp.Reply{Status: http.StatusAccepted, Header: q.pending(pending), Body: struct {
			Value  string `json:"value"`
			Status string `json:"status"`
		}{string(file), "InProgress"}}, nil
	})
}

func downloadStatus(q *request) (azhttp.Reply, error) {
	if domain := q.URL.Query().Get("domain"); domain != "" {
		return statusReply(q.hsm.DownloadStatusOf(q.Context(), q.who, domain))
	}
	return statusReply(q.hsm.DownloadStatus(q.Context(), q.who)) // clients that make the address themselves
}

func uploadStatus(q *request) (azhttp.Reply, error) {
	return statusReply(q.hsm.UploadStatus(q.Context(), q.who))
}

// statusReply always names a delay: without one, az waits 30 seconds between polls.
func statusReply(s hsm.DomainStatus, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.Reply{Body: domainStatus{s.Status, s.Detail}, Header: http.Header{"Retry-After": {"1"}}}, nil
}

func transferKey(q *request) (azhttp.Reply, error) {
	k, err := q.hsm.ExchangeKey(q.Context(), q.who)
	// transfer_key is a JSON text in a string: az parses it as text and fails on an object.
	return azhttp.Reply{Body: struct {
		Format string `json:"key_format"`
		Key    string `json:"transfer_key"`
	}{k.Format, k.Key}}, err
}

func uploadDomain(q *request) (azhttp.Reply, error) {
	raw, err := q.ReadBody()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body value
	if err := decodeBody(raw, &body); err != nil {
		return azhttp.Reply{}, err
	}
	return q.once(raw, func() (azhttp.Reply, error) {
		s, err := q.hsm.UploadDomain(q.Context(), q.who, []byte(body.Value))
		if err != nil {
			return azhttp.Reply{}, err
		}
		return azhttp.Reply{Status: http.StatusAccepted, Header: q.pending("/securitydomain/upload/pending"), Body: domainStatus{s.Status, s.Detail}}, nil
	})
}
