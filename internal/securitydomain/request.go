package securitydomain

import (
	"encoding/json"
	"fmt"
)

type downloadRequest struct {
	Certificates []certificateJWK `json:"certificates"`
	Required     int              `json:"required"`
}

// EncodeDownloadRequest returns the body of POST /securitydomain/download, as the genuine client sends it.
func EncodeDownloadRequest(certs []Certificate, required int) ([]byte, error) {
	if err := checkCertificates(certs, required); err != nil {
		return nil, err
	}
	r := downloadRequest{Required: required}
	for _, c := range certs {
		r.Certificates = append(r.Certificates, encodeJWK(c, "", "verify", "encrypt", "wrapKey"))
	}
	return json.Marshal(r)
}

// ParseDownloadRequest reads that body and checks it in full: the genuine client checks only each range by
// itself. Thumbprints are recomputed, and n and e must be the certificate's. Errors are ErrBadRequest.
func ParseDownloadRequest(body []byte) (certs []Certificate, required int, err error) {
	o, err := parseObject(body, "the request")
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	quorum, err := o.integer("required")
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	list, err := o.list("certificates")
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if err := checkCounts(len(list), int(quorum)); err != nil {
		return nil, 0, err
	}
	for i, raw := range list {
		jwk, err := parseObject(raw, "the entry")
		var c Certificate
		if err == nil {
			c, err = parseJWK(jwk)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%w: certificate %d of %d: %w", ErrBadRequest, i+1, len(list), err)
		}
		certs = append(certs, c)
	}
	if err := checkCertificates(certs, int(quorum)); err != nil {
		return nil, 0, err
	}
	return certs, int(quorum), nil
}

func checkCounts(n, required int) error {
	switch {
	case n < MinCertificates || n > MaxCertificates:
		return fmt.Errorf("%w: %d certificates given: a security domain needs %d to %d, one for each key holder", ErrBadRequest, n, MinCertificates, MaxCertificates)
	case required < MinQuorum:
		return fmt.Errorf("%w: a quorum of %d: it must be at least %d, so that no single holder can open the security domain", ErrBadRequest, required, MinQuorum)
	case required > n:
		return fmt.Errorf("%w: a quorum of %d with %d certificates could never be reached: lower the quorum or give more certificates", ErrBadRequest, required, n)
	}
	return nil
}

// checkCertificates also refuses two certificates over one key: whoever holds it would have two votes.
func checkCertificates(certs []Certificate, required int) error {
	if err := checkCounts(len(certs), required); err != nil {
		return err
	}
	for i, c := range certs {
		if c.Public == nil || thumbprint(c.DER) != c.X5TS256 {
			return fmt.Errorf("%w: certificate %d is incomplete", ErrBadRequest, i+1)
		}
		for j, other := range certs[:i] {
			if c.X5TS256 == other.X5TS256 {
				return fmt.Errorf("%w: certificates %d and %d are the same (%s): each holder needs a key of their own", ErrBadRequest, j+1, i+1, c.X5TS256)
			}
			if c.Public.Equal(other.Public) {
				return fmt.Errorf("%w: certificates %d and %d hold the same key: each holder needs a key of their own", ErrBadRequest, j+1, i+1)
			}
		}
	}
	return nil
}
