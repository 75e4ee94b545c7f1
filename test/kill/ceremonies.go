package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"redoubt/internal/client"
	"redoubt/internal/securitydomain"
	"redoubt/test/internal/devcloud"
)

// ceremony is what a scenario of the security domain remembers between its parts.
type ceremony struct {
	mu   sync.Mutex
	name string
	hsm  *client.HSM

	file    []byte // received by a download, or nil
	xk      []byte // exchange key received, or nil
	success bool   // the server said that the HSM is active
}

func (c *ceremony) note(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *ceremony) fresh(ctx context.Context, w *world, name string) error {
	h, err := w.create(ctx, name)
	c.name, c.hsm, c.file, c.xk, c.success = name, h, nil, nil, false
	return err
}

// again looks the HSM up after a restart: clients of the server before it are of no use.
func (c *ceremony) again(ctx context.Context, w *world) (client.ManagedHSM, error) {
	m, err := w.arm.FindHSM(ctx, c.name)
	if err != nil {
		return m, fmt.Errorf("the HSM whose creation was acknowledged: %w", err)
	}
	c.hsm, err = w.arm.HSMNamed(c.name)
	return m, err
}

// activation is the first download of an HSM, with its poll.
func activation() scenario {
	c := &ceremony{}
	return scenario{
		name: "activation",
		prepare: func(ctx context.Context, w *world, n int) error {
			return c.fresh(ctx, w, fmt.Sprintf("activate-%d", n))
		},
		step: func(ctx context.Context, w *world) error {
			request, err := devcloud.DownloadRequest(w.holders)
			if err != nil {
				return err
			}
			file, err := c.hsm.DownloadDomain(ctx, request)
			if err != nil {
				return err
			}
			c.note(func() { c.file = file })
			st, err := c.hsm.DownloadStatus(ctx)
			if err == nil && st.Succeeded() {
				c.note(func() { c.success = true })
			}
			return err
		},
		verify: c.activated,
	}
}

func (c *ceremony) activated(ctx context.Context, w *world) (outcome, error) {
	m, err := c.again(ctx, w)
	if err != nil {
		return "", err
	}
	switch {
	case m.Activation == "Active":
		id := securitydomain.ReadDomainID(c.file)
		if id == "" || !strings.Contains(m.ActivationMessage, id) {
			return "", fmt.Errorf("the HSM is active with a security domain that its client does not have (%q): %s", id, m.ActivationMessage)
		}
		if _, err := securitydomain.Open(c.file, w.holders[:2]); err != nil {
			return "", err
		}
		return after, w.usable(ctx, c.hsm)
	case m.Activation != "NotActivated" || m.ProvisioningState != "Succeeded":
		return "", fmt.Errorf("the HSM is %s, %s", m.ProvisioningState, m.Activation)
	case c.success:
		return "", fmt.Errorf("the activation was acknowledged, but the HSM is %s", m.Activation)
	}
	if _, err := w.activate(ctx, c.hsm); err != nil {
		return "", fmt.Errorf("activation after the kill: %w", err)
	}
	return before, w.usable(ctx, c.hsm)
}

// recovery is init-recovery, the offline step, and the upload.
func recovery() scenario {
	c := &ceremony{}
	return scenario{
		name: "recovery",
		prepare: func(ctx context.Context, w *world, n int) error {
			return c.fresh(ctx, w, fmt.Sprintf("recover-%d", n))
		},
		step: func(ctx context.Context, w *world) error {
			xk, err := c.hsm.TransferKey(ctx)
			if err != nil {
				return err
			}
			c.note(func() { c.xk = xk })
			blob, err := w.reencrypt(xk)
			if err != nil {
				return err
			}
			st, err := c.hsm.UploadDomain(ctx, blob)
			if err == nil && st.Succeeded() {
				c.note(func() { c.success = true })
			}
			return err
		},
		verify: c.recovered,
	}
}

// reencrypt is the offline step: two holders open main's security domain for an exchange key.
func (w *world) reencrypt(xk []byte) ([]byte, error) {
	data, err := securitydomain.Open(w.file, w.holders[1:])
	if err != nil {
		return nil, err
	}
	cert, err := securitydomain.ParseExchangeCertificate(xk)
	if err != nil {
		return nil, err
	}
	return securitydomain.Reencrypt(data, cert)
}

func (c *ceremony) recovered(ctx context.Context, w *world) (outcome, error) {
	m, err := c.again(ctx, w)
	if err != nil {
		return "", err
	}
	if m.Activation == "Active" {
		if id := securitydomain.ReadDomainID(w.file); !strings.Contains(m.ActivationMessage, id) {
			return "", fmt.Errorf("active with another security domain than %s: %s", id, m.ActivationMessage)
		}
		return after, w.usable(ctx, c.hsm)
	}
	if c.success {
		return "", fmt.Errorf("the upload was acknowledged, but the HSM is %s, %s", m.ProvisioningState, m.Activation)
	}
	// The exchange key that was given out still counts, so that work of the holders is not lost.
	xk, err := c.hsm.TransferKey(ctx)
	if err != nil {
		return "", err
	}
	if c.xk != nil && string(xk) != string(c.xk) {
		return "", fmt.Errorf("the exchange key is another one after the restart")
	}
	blob, err := w.reencrypt(xk)
	if err != nil {
		return "", err
	}
	if _, err := c.hsm.UploadDomain(ctx, blob); err != nil {
		return "", fmt.Errorf("upload after the kill: %w", err)
	}
	return before, w.usable(ctx, c.hsm)
}
