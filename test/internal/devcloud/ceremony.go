package devcloud

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"redoubt/internal/client"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
)

// Holders makes n wrapping keys of a security domain.
func Holders(n int) ([]securitydomain.WrappingKey, error) {
	out, errs := make([]securitydomain.WrappingKey, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprintf("holder %d", i+1)
			cert, key, err := securitydomain.NewWrappingKeyPair(name, 2048, time.Now().Add(-time.Hour).Unix(), time.Now().AddDate(1, 0, 0).Unix())
			if err == nil {
				out[i], err = securitydomain.ParseWrappingKey(name, cert, key.Expose(), secret.Bytes{})
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// DownloadRequest asks for a security domain of which two of the holders are a quorum.
func DownloadRequest(holders []securitydomain.WrappingKey) ([]byte, error) {
	var certs []securitydomain.Certificate
	for _, k := range holders {
		certs = append(certs, k.Certificate)
	}
	return securitydomain.EncodeDownloadRequest(certs, 2)
}

// Activate takes the security domain and waits until it counts.
func Activate(ctx context.Context, h *client.HSM, holders []securitydomain.WrappingKey) ([]byte, error) {
	request, err := DownloadRequest(holders)
	if err != nil {
		return nil, err
	}
	file, err := h.DownloadDomain(ctx, request)
	if err != nil {
		return nil, err
	}
	st, err := h.WaitDownload(ctx, nil)
	if err == nil && !st.Succeeded() {
		err = fmt.Errorf("download: %+v", st)
	}
	return file, err
}
