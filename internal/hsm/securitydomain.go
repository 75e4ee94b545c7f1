package hsm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
	"redoubt/internal/store"
)

// The ceremony's promises, on the side of the HSM that gives its security domain away:
//
//   - Before activation every download draws a fresh root, so a file that was abandoned opens nothing. The
//     first poll that would answer Success commits the activation before it answers: the client, which writes
//     its file only after that poll, may die at any moment without costing anything but a repetition.
//   - After activation a download gives the same root under new certificates, with fresh shares.

// DomainStatus is what the two pending routes report: the HSM's current security-domain operation.
type DomainStatus struct {
	Status string // InProgress, Success, Failed
	Detail string
}

// DownloadDomain answers a download request (its JSON body) with the security domain file.
func (h *HSM) DownloadDomain(ctx context.Context, who Caller, body []byte) (file []byte, err error) {
	c, err := h.begin(ctx, who, OpDomainDownload, rbac.ScopeRoot)
	if err != nil {
		return nil, err
	}
	defer c.end(&err)
	certs, required, err := securitydomain.ParseDownloadRequest(body)
	if err != nil {
		return nil, refused(err)
	}
	ctx, end, err := c.enterCeremony(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	c.noteCertificates(certs, required)
	if c.v.dev.State == Provisioned {
		return c.firstDownload(ctx, certs, required)
	}
	return c.laterDownload(ctx, certs, required)
}

// firstDownload draws a root and makes it the pending one; a root that was pending before is dropped.
func (c *call) firstDownload(ctx context.Context, certs []securitydomain.Certificate, required int) ([]byte, error) {
	root, id := seal.NewRoot(1), newID()
	file, err := domainFile(root, certs, required)
	if err != nil {
		return nil, err
	}
	c.note("domain", root.DomainID())
	if err := c.h.keepRoot(ctx, id, root); err != nil {
		return nil, err
	}
	dropped := ""
	err = c.update(ctx, func() (change, error) {
		d := c.v.dev
		if d.State != Provisioned {
			return change{}, ErrConflict
		}
		if d.Pending != nil {
			dropped = d.Pending.Root
		}
		d.Pending = &pendingDomain{Root: id, DomainID: root.DomainID(), Required: required, Shares: len(certs)}
		d.Domain = &domainProgress{Kind: "download", Status: statusInProgress, Detail: "the security domain was handed out; asking for this status activates the HSM with it"}
		d.Warnings = certificateWarnings(certs, c.h.now())
		return change{dev: &d}, nil
	})
	if err != nil {
		c.h.dropUnlessStored(ctx, id, err)
		return nil, err
	}
	c.h.destroyRoot(ctx, dropped)
	return file, nil
}

// laterDownload gives out the domain of an active HSM once more.
func (c *call) laterDownload(ctx context.Context, certs []securitydomain.Certificate, required int) ([]byte, error) {
	file, err := domainFile(c.v.root, certs, required)
	if err != nil {
		return nil, err
	}
	c.note("again", "the security domain of an active HSM was downloaded again; files made before keep opening")
	err = c.update(ctx, func() (change, error) {
		d := c.v.dev
		if d.State != Active {
			return change{}, ErrConflict
		}
		d.Warnings = certificateWarnings(certs, c.h.now())
		d.Domain = &domainProgress{Kind: "download", Status: statusSuccess,
			Detail: fmt.Sprintf("security domain %s downloaded again for %d holders, quorum %d", d.DomainID, len(certs), required)}
		return change{dev: &d}, nil
	})
	if err != nil {
		return nil, err
	}
	c.h.log.WarnContext(ctx, "security domain downloaded again", "principal", c.who.ID, "holders", len(certs), "quorum", required)
	return file, nil
}

// domainFile makes the file: r in shares for the holders of certs.
func domainFile(r *seal.Root, certs []securitydomain.Certificate, required int) ([]byte, error) {
	root, seed, epoch := r.Domain()
	defer root.Wipe()
	defer seed.Wipe()
	file, err := securitydomain.Create([]securitydomain.Datum{
		{Tag: securitydomain.TagRoot, Value: root},
		{Tag: securitydomain.TagSigningSeed, Value: seed},
		{Tag: securitydomain.TagInfo, Value: securitydomain.EncodeInfo(securitydomain.Info{Epoch: epoch, DomainID: r.DomainID()})},
	}, certs, required, r.DomainID())
	if err != nil {
		return nil, fmt.Errorf("make the security domain: %w", err)
	}
	return file, nil
}

func (c *call) noteCertificates(certs []securitydomain.Certificate, required int) {
	thumbprints := make([]string, len(certs))
	for i, cert := range certs {
		thumbprints[i] = cert.X5TS256
	}
	c.note("certificates", fmt.Sprint(len(certs)))
	c.note("quorum", fmt.Sprint(required))
	c.note("thumbprints", strings.Join(thumbprints, " "))
}

// certificateWarnings tells of certificates out of date: their keys work, but their holders may have been
// told to throw them away.
func certificateWarnings(certs []securitydomain.Certificate, now int64) []string {
	var out []string
	for i, cert := range certs {
		if cert.Expired(now) {
			out = append(out, fmt.Sprintf("certificate %d of the security domain (%s, thumbprint %s) expired on %s; its key still opens the share, so make sure that its holder keeps it",
				i+1, cert.Subject, cert.X5TS256, time.Unix(cert.NotAfter, 0).UTC().Format(time.DateOnly)))
		}
	}
	return out
}

// DownloadStatus reports on the current security-domain operation. If a download waits for its poll, the
// HSM is activated first.
func (h *HSM) DownloadStatus(ctx context.Context, who Caller) (DomainStatus, error) {
	return h.domainStatus(ctx, who, OpDomainDownloadStatus, "")
}

// DownloadStatusOf is DownloadStatus for the download that gave out the security domain with this id, and
// for no other: when another download or an upload has taken its place, its file opens nothing, and who
// waits for it must not be told of the other one's success.
func (h *HSM) DownloadStatusOf(ctx context.Context, who Caller, domain string) (DomainStatus, error) {
	return h.domainStatus(ctx, who, OpDomainDownloadStatus, domain)
}

// DomainIDOf is the id in a security domain file.
func DomainIDOf(file []byte) string { return securitydomain.ReadDomainID(file) }

// UploadStatus is DownloadStatus under the other route's permission: old clients ask there for a download.
func (h *HSM) UploadStatus(ctx context.Context, who Caller) (DomainStatus, error) {
	return h.domainStatus(ctx, who, OpDomainUploadStatus, "")
}

func (h *HSM) domainStatus(ctx context.Context, who Caller, op Operation, domain string) (s DomainStatus, err error) {
	c, err := h.begin(ctx, who, op, rbac.ScopeRoot)
	if err != nil {
		return DomainStatus{}, err
	}
	defer c.end(&err)
	if p := c.v.dev.Pending; p != nil && (domain == "" || domain == p.DomainID) {
		if err := c.activate(ctx, p.DomainID); err != nil {
			return DomainStatus{}, err
		}
	}
	if domain != "" && domain != c.v.dev.DomainID {
		return DomainStatus{Status: statusFailed, Detail: fmt.Sprintf("the file of this download (security domain %.64q) opens nothing: another download or init-recovery took its place; throw it away and download again", domain)}, nil
	}
	return c.v.dev.domainStatus()
}

func (d device) domainStatus() (DomainStatus, error) {
	if d.Domain == nil {
		return DomainStatus{}, fmt.Errorf("%w: no security domain was downloaded or uploaded yet", ErrNoOperation)
	}
	detail := d.Domain.Detail
	if len(d.Warnings) > 0 {
		detail += "; warning: " + strings.Join(d.Warnings, "; ")
	}
	return DomainStatus{Status: d.Domain.Status, Detail: detail}, nil
}

// activate commits the pending security domain, if this one still is pending.
func (c *call) activate(ctx context.Context, domain string) error {
	ctx, end, err := c.enterCeremony(ctx)
	if err != nil {
		return err
	}
	defer end()
	p := c.v.dev.Pending
	if p == nil || p.DomainID != domain { // another poll, or another download, was first
		return nil
	}
	r, err := c.h.loadRoot(ctx, p.Root)
	if err != nil {
		return err
	}
	c.note("activated", r.DomainID())
	return c.adopt(ctx, p.Root, r, domainProgress{Kind: "download", Status: statusSuccess,
		Detail: fmt.Sprintf("activated with security domain %s: %d holders, quorum %d", p.DomainID, p.Shares, p.Required)})
}

// ceremonyTimeout bounds the steps of a ceremony that must not end halfway.
const ceremonyTimeout = time.Minute

// enterCeremony waits until no other ceremony is under way and admits the call anew, since the state may have
// changed meanwhile. From then on the work no longer ends with the request: a client that goes away would
// leave roots and records half written, for the next start to remove. The caller calls end when it is done.
func (c *call) enterCeremony(ctx context.Context) (_ context.Context, end func(), err error) {
	c.h.ceremony.Lock()
	err = ctx.Err()
	if err == nil {
		err = c.admit(ctx)
	}
	if err != nil {
		c.h.ceremony.Unlock()
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ceremonyTimeout)
	return ctx, func() { cancel(); c.h.ceremony.Unlock() }, nil
}

// refusal is an ErrBadSecurityDomain whose text leaves out the package's own prefix.
type refusal struct {
	cause error
	next  string // what to do, when the cause does not say
}

func refused(cause error) error { return &refusal{cause: cause} }

func (r *refusal) Error() string {
	text := strings.TrimPrefix(r.cause.Error(), "securitydomain: ")
	if r.next != "" {
		text += "; " + r.next
	}
	return fmt.Sprintf("%v: %s", ErrBadSecurityDomain, text)
}

func (r *refusal) Is(target error) bool { return target == ErrBadSecurityDomain }

func (r *refusal) Unwrap() error { return r.cause }

// keepRoot has the root sealed at rest before anything refers to it.
func (h *HSM) keepRoot(ctx context.Context, id string, r *seal.Root) error {
	s := r.Export()
	defer s.Wipe()
	if err := h.cfg.Roots.Put(ctx, h.cfg.ID, id, s); err != nil {
		h.destroyRoot(ctx, id)
		return fmt.Errorf("%w: keep the new root: %w", ErrUnavailable, err)
	}
	return nil
}

// dropUnlessStored destroys a root that a failed commit would have put to use. When nobody knows whether
// the commit happened, the root stays; settling decides.
func (h *HSM) dropUnlessStored(ctx context.Context, id string, err error) {
	if !errors.Is(err, store.ErrUnknown) && ctx.Err() == nil {
		h.destroyRoot(ctx, id)
	}
}

// destroyRoot makes a root that nothing refers to any more unreadable. When that fails it is tried again
// with the next backup or start.
func (h *HSM) destroyRoot(ctx context.Context, id string) {
	if id == "" {
		return
	}
	if err := h.cfg.Roots.Destroy(ctx, h.cfg.ID, id); err != nil {
		h.log.ErrorContext(ctx, "a root no longer in use could not be destroyed; it is tried again at the next backup or start", "root", id, "error", err)
	}
}

// secretOf takes one datum out of a security domain; Accept has made sure that it is there.
func secretOf(data []securitydomain.Datum, tag string) secret.Bytes {
	s, _ := securitydomain.Lookup(data, tag)
	return s
}
