package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// version is the api-version of all data-plane calls: the newest stable one.
const version = "2026-04-01"

const (
	maxPollDelay = 30 * time.Second
	defaultPoll  = 5 * time.Second // when the service names no delay
)

// DomainStatus is the state of a security domain operation. Status is InProgress, Success (some services
// write Succeeded) or Failed.
type DomainStatus struct {
	Status  string `json:"status"`
	Details string `json:"status_details"`

	after time.Duration
}

// Done tells whether the operation has ended, in either way.
func (s DomainStatus) Done() bool { return s.Succeeded() || s.Status == "Failed" }

// Succeeded tells whether it has ended well.
func (s DomainStatus) Succeeded() bool { return s.Status == "Success" || s.Status == "Succeeded" }

// text is how a security domain travels: JSON text inside a string.
type text struct {
	Value string `json:"value"`
}

// DownloadDomain asks for the security domain, encrypted for the certificates that the request names. The
// HSM is activated by it only once DownloadStatus has told success.
func (h *HSM) DownloadDomain(ctx context.Context, request []byte) (securityDomain []byte, err error) {
	var out text
	r, err := h.ep.do(ctx, call{method: http.MethodPost, path: "/securitydomain/download", version: version, body: json.RawMessage(request), out: &out})
	if err == nil && out.Value == "" {
		err = errors.New("the HSM answered without a security domain")
	}
	if u, perr := url.Parse(r.header.Get("Azure-AsyncOperation")); perr == nil {
		q := u.Query()
		h.download.Store(&q)
	}
	return []byte(out.Value), err
}

// DownloadStatus tells how the download stands: the last one made with h, if any, else whichever the HSM
// knows of. The look that first tells success activates the HSM.
func (h *HSM) DownloadStatus(ctx context.Context) (DomainStatus, error) {
	var which url.Values
	if q := h.download.Load(); q != nil {
		which = *q
	}
	return h.domainStatus(ctx, "download", which)
}

// UploadStatus tells how the upload stands.
func (h *HSM) UploadStatus(ctx context.Context) (DomainStatus, error) {
	return h.domainStatus(ctx, "upload", nil)
}

func (h *HSM) domainStatus(ctx context.Context, operation string, which url.Values) (DomainStatus, error) {
	var s DomainStatus
	r, err := h.ep.do(ctx, call{method: http.MethodGet, path: "/securitydomain/" + operation + "/pending", query: which, version: version, out: &s})
	s.after = h.ep.pollDelay(r.header)
	return s, err
}

// WaitDownload looks at the download until it has ended. progress, which may be nil, sees every look.
func (h *HSM) WaitDownload(ctx context.Context, progress func(DomainStatus)) (DomainStatus, error) {
	return waitDomain(ctx, h.DownloadStatus, progress)
}

// WaitUpload looks at the upload until it has ended.
func (h *HSM) WaitUpload(ctx context.Context, progress func(DomainStatus)) (DomainStatus, error) {
	return waitDomain(ctx, h.UploadStatus, progress)
}

func waitDomain(ctx context.Context, look func(context.Context) (DomainStatus, error), progress func(DomainStatus)) (DomainStatus, error) {
	for {
		s, err := look(ctx)
		if err != nil {
			return s, err
		}
		if progress != nil {
			progress(s)
		}
		if s.Status == "Failed" {
			return s, &Error{Status: http.StatusOK, Code: "Failed", Message: s.Details}
		}
		if s.Succeeded() {
			return s, nil
		}
		if err := pause(ctx, s.after); err != nil {
			return s, err
		}
	}
}

// TransferKey puts a fresh HSM into recovery and returns its exchange key, a JWK in JSON text.
func (h *HSM) TransferKey(ctx context.Context) (jwk []byte, err error) {
	var out struct {
		Format string          `json:"key_format"`
		Key    json.RawMessage `json:"transfer_key"`
	}
	if _, err = h.ep.do(ctx, call{method: http.MethodGet, path: "/securitydomain/upload", version: version, out: &out}); err != nil {
		return nil, err
	}
	var s string // the service writes a string; its published model has an object
	if json.Unmarshal(out.Key, &s) == nil {
		return []byte(s), nil
	}
	if len(out.Key) == 0 {
		return nil, fmt.Errorf("the HSM at %s answered without an exchange key", h.URL())
	}
	return out.Key, nil
}

// UploadDomain sends a restore blob. Follow with WaitUpload.
func (h *HSM) UploadDomain(ctx context.Context, restoreBlob []byte) (DomainStatus, error) {
	var s DomainStatus
	r, err := h.ep.do(ctx, call{method: http.MethodPost, path: "/securitydomain/upload", version: version, body: text{string(restoreBlob)}, out: &s})
	s.after = h.ep.pollDelay(r.header)
	return s, err
}

// pollDelay is the pause before the next look at an operation.
func (e *endpoint) pollDelay(h http.Header) time.Duration {
	if d := e.c.cfg.PollEvery; d > 0 {
		return d
	}
	return max(min(retryAfter(h, defaultPoll), maxPollDelay), 100*time.Millisecond)
}
