package hsm

import (
	"context"
	"testing"
)

// TestDownloadsOfTwoClients: each client's poll tells of its own download. Before, the poll of the one
// activated the HSM with the domain of the other, and the one kept a file that opens nothing.
func TestDownloadsOfTwoClients(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	ctx := t.Context()
	request := downloadRequest(t, holders(), 2)
	first := must[[]byte](t)(r.DownloadDomain(ctx, admin, request))
	second := must[[]byte](t)(r.DownloadDomain(ctx, admin, request))
	if s := must[DomainStatus](t)(r.DownloadStatusOf(ctx, admin, DomainIDOf(first))); s.Status != statusFailed {
		t.Errorf("the client whose download was replaced is told %+v", s)
	}
	if d := r.dev(); d.State != Provisioned || d.Pending == nil {
		t.Errorf("the HSM was activated by the wrong poll: %+v", d)
	}
	if s := must[DomainStatus](t)(r.DownloadStatusOf(ctx, admin, DomainIDOf(second))); s.Status != statusSuccess {
		t.Errorf("the other client is told %+v", s)
	}
	if d := r.dev(); d.DomainID != domainOf(t, second) {
		t.Errorf("activated with %s", d.DomainID)
	}
	for file, want := range map[string]string{string(first): statusFailed, string(second): statusSuccess} {
		if s := must[DomainStatus](t)(r.DownloadStatusOf(ctx, admin, DomainIDOf([]byte(file)))); s.Status != want {
			t.Errorf("a repeated poll is told %+v, want %s", s, want)
		}
	}
	r.sound()
}

// TestDownloadThenUploadOfAnother: the success of an upload is not that of a download given up before.
func TestDownloadThenUploadOfAnother(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	ctx := t.Context()
	given := must[[]byte](t)(r.DownloadDomain(ctx, admin, downloadRequest(t, holders(), 2)))
	must[TransferKey](t)(r.ExchangeKey(ctx, admin))
	if s := must[DomainStatus](t)(r.DownloadStatusOf(ctx, admin, DomainIDOf(given))); s.Status != statusFailed {
		t.Errorf("status is %+v", s)
	}
	r.sound()
}

// TestActivateOnlyWhatWasAskedFor: a download that comes between the look at the device and the lock is not
// activated by the poll of the one before.
func TestActivateOnlyWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	ctx := context.WithoutCancel(t.Context())
	request := downloadRequest(t, holders(), 2)
	first := must[[]byte](t)(r.DownloadDomain(ctx, admin, request))
	c := must[*call](t)(r.begin(ctx, admin, OpDomainDownloadStatus, "/"))
	must[[]byte](t)(r.DownloadDomain(ctx, admin, request))
	if err := c.activate(ctx, DomainIDOf(first)); err != nil {
		t.Error(err)
	}
	if d := r.dev(); d.State != Provisioned {
		t.Errorf("activated with %s", d.DomainID)
	}
	var err error
	c.end(&err)
	r.sound()
}
