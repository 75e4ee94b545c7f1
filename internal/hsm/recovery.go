package hsm

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/securitydomain"
	"redoubt/internal/store"
)

// The ceremony on the side of the HSM that receives a security domain. Between the two calls the holders
// work offline. Whoever may upload may install a root they know (a restore blob is encrypted, not
// authenticated), so both the exchange key's fingerprint and the domain id show in status and audit.

// TransferKey is the public half of the exchange key.
type TransferKey struct {
	Format      string // "jwk"
	Key         string // JSON Web Key, as JSON text
	Fingerprint string // SHA-256 of the certificate, base64url
}

// exchangeKeyYears is how long the exchange certificate says it is valid. Nobody verifies it; the key ends
// with the upload.
const exchangeKeyYears = 10

// ExchangeKey puts a fresh HSM into recovery and gives out its exchange key: the same one until a security
// domain was uploaded.
func (h *HSM) ExchangeKey(ctx context.Context, who Caller) (k TransferKey, err error) {
	c, err := h.begin(ctx, who, OpDomainTransferKey, rbac.ScopeRoot)
	if err != nil {
		return TransferKey{}, err
	}
	defer c.end(&err)
	ctx, end, err := c.enterCeremony(ctx)
	if err != nil {
		return TransferKey{}, err
	}
	defer end()
	var xk *securitydomain.ExchangeKey
	if c.v.dev.Exchange != "" {
		xk, err = c.loadExchangeKey(ctx)
	} else {
		xk, err = c.newExchangeKey(ctx)
	}
	if err != nil {
		return TransferKey{}, err
	}
	defer xk.Wipe()
	c.note("fingerprint", xk.Fingerprint())
	return TransferKey{Format: "jwk", Key: xk.TransferKeyJSON(), Fingerprint: xk.Fingerprint()}, nil
}

func (c *call) exchangeKeyRef() seal.Ref {
	return seal.Ref{Kind: seal.KindExchangeKey, Name: "xk", Version: 1, Local: c.h.cfg.ID}
}

// newExchangeKey makes one, keeps it sealed under the local root and takes the device into recovery. A
// download that was never polled is given up by that.
func (c *call) newExchangeKey(ctx context.Context) (*securitydomain.ExchangeKey, error) {
	now := c.h.cfg.Clock()
	xk, err := securitydomain.NewExchangeKey(c.h.cfg.Name, now.Unix()-300, now.AddDate(exchangeKeyYears, 0, 0).Unix())
	if err != nil {
		return nil, fmt.Errorf("make an exchange key: %w", err)
	}
	s := xk.Export()
	defer s.Wipe()
	c.note("fingerprint", xk.Fingerprint())
	dropped := ""
	err = c.update(ctx, func() (change, error) {
		d := c.v.dev
		if d.Exchange != "" {
			return change{}, ErrConflict
		}
		if d.Pending != nil {
			dropped = d.Pending.Root
		}
		d = d.recovering(xk.Fingerprint())
		put := store.Put(c.h.exchangeKeyKey(), c.v.root.SealSecret(c.exchangeKeyRef(), s))
		return change{ops: []store.Op{put}, dev: &d}, nil
	})
	if err != nil {
		xk.Wipe()
		return nil, err
	}
	c.h.destroyRoot(ctx, dropped)
	return xk, nil
}

func (c *call) loadExchangeKey(ctx context.Context) (*securitydomain.ExchangeKey, error) {
	kv, _, err := c.h.store.Get(ctx, c.h.exchangeKeyKey())
	if err != nil {
		return nil, storeError("read the exchange key", err)
	}
	s, err := c.v.root.OpenSecret(c.exchangeKeyRef(), kv.Val)
	if err != nil {
		return nil, fmt.Errorf("%w: exchange key: %v", ErrCorrupt, err)
	}
	defer s.Wipe()
	xk, err := securitydomain.ImportExchangeKey(s)
	if err != nil {
		return nil, fmt.Errorf("%w: exchange key: %v", ErrCorrupt, err)
	}
	return xk, nil
}

// UploadDomain installs the security domain in a restore blob: the HSM becomes Active with the root of the
// HSM the domain came from, and the exchange key is spent.
func (h *HSM) UploadDomain(ctx context.Context, who Caller, blob []byte) (s DomainStatus, err error) {
	c, err := h.begin(ctx, who, OpDomainUpload, rbac.ScopeRoot)
	if err != nil {
		return DomainStatus{}, err
	}
	defer c.end(&err)
	ctx, end, err := c.enterCeremony(ctx)
	if err != nil {
		return DomainStatus{}, err
	}
	defer end()
	if c.v.dev.Exchange == "" {
		return DomainStatus{}, fmt.Errorf("%w: get one first (%s), make the restore blob for it and upload that", ErrNoExchangeKey, h.initRecoveryCommand())
	}
	xk, err := c.loadExchangeKey(ctx)
	if err != nil {
		return DomainStatus{}, err
	}
	defer xk.Wipe()
	c.note("fingerprint", xk.Fingerprint())
	root, err := h.acceptDomain(blob, xk)
	if err != nil {
		return DomainStatus{}, err
	}
	c.note("domain", root.DomainID())
	id := newID()
	if err := h.keepRoot(ctx, id, root); err != nil {
		return DomainStatus{}, err
	}
	err = c.adopt(ctx, id, root, domainProgress{Kind: "upload", Status: statusSuccess,
		Detail: fmt.Sprintf("activated with security domain %s; compare it with the DomainId in the security domain file", root.DomainID())},
		store.Delete(h.exchangeKeyKey()))
	if err != nil {
		h.dropUnlessStored(ctx, id, err)
		return DomainStatus{}, err
	}
	return c.v.dev.domainStatus()
}

func (h *HSM) initRecoveryCommand() string {
	return fmt.Sprintf("az keyvault security-domain init-recovery --hsm-name %s --sd-exchange-key FILE", h.cfg.Name)
}

// acceptDomain opens the blob and holds its parts against each other.
func (h *HSM) acceptDomain(blob []byte, xk *securitydomain.ExchangeKey) (*seal.Root, error) {
	data, err := securitydomain.Accept(blob, xk, securitydomain.Tags())
	if errors.Is(err, securitydomain.ErrWrongExchangeKey) {
		return nil, &refusal{cause: err, next: h.initRecoveryCommand() + " gives the file"}
	}
	if err != nil {
		return nil, refused(err)
	}
	defer func() {
		for _, d := range data {
			d.Value.Wipe()
		}
	}()
	info, err := securitydomain.ParseInfo(secretOf(data, securitydomain.TagInfo))
	if err != nil {
		return nil, refused(err)
	}
	root, err := seal.FromDomain(secretOf(data, securitydomain.TagRoot), secretOf(data, securitydomain.TagSigningSeed), info.Epoch)
	if err != nil {
		return nil, refused(err)
	}
	if root.DomainID() != info.DomainID {
		return nil, refused(fmt.Errorf("it says that it is %s but its signing seed is that of %s: make the blob again from the security domain file", info.DomainID, root.DomainID()))
	}
	if info.Epoch == 0 {
		return nil, refused(errors.New("its epoch is 0, which no security domain has"))
	}
	return root, nil
}
