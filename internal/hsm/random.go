package hsm

import (
	"context"
	"crypto/rand"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
)

const maxRandomBytes = 128

// RandomBytes draws n random bytes, 1 to 128.
func (h *HSM) RandomBytes(ctx context.Context, who Caller, n int) (b []byte, err error) {
	c, err := h.begin(ctx, who, OpRandomBytes, rbac.ScopeRoot)
	if err != nil {
		return nil, err
	}
	defer c.end(&err)
	if n < 1 || n > maxRandomBytes {
		return nil, answerf(key.ErrBadParameter, "count is %d; ask for 1 to %d bytes", n, maxRandomBytes)
	}
	b = make([]byte, n)
	rand.Read(b)
	return b, nil
}
