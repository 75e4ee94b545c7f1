package securitydomain

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"redoubt/internal/secret"
)

// exchangeKeyBits is the size the holders' own keys usually have; the exchange key guards the same secret for a shorter time.
const exchangeKeyBits = 2048

// ExchangeKey is the key pair of a recovering HSM: holders encrypt the restore blob to its certificate. It is
// immutable and safe for concurrent use until Wipe.
type ExchangeKey struct {
	cert    Certificate
	private privateKey
}

// NewExchangeKey makes an exchange key whose certificate names commonName (1 to 64 characters) and is valid from notBefore
// to notAfter, in Unix seconds. Nobody verifies the dates; they tell a reader of the file when it was made.
func NewExchangeKey(commonName string, notBefore, notAfter int64) (*ExchangeKey, error) {
	key, cert, err := selfSigned(commonName, exchangeKeyBits, notBefore, notAfter)
	if err != nil {
		return nil, err
	}
	return &ExchangeKey{cert: cert, private: newPrivateKey(key)}, nil
}

// exchangeMagic begins an exported exchange key, version 1.
const exchangeMagic = "RDX1"

// Export returns the key pair for sealing: magic, then certificate (DER) and private key (PKCS #1 DER), each after
// its length in four bytes, big-endian.
func (x *ExchangeKey) Export() secret.Bytes {
	der := x509.MarshalPKCS1PrivateKey(x.private.f())
	defer clear(der)
	b := make([]byte, 0, len(exchangeMagic)+8+len(x.cert.DER)+len(der))
	b = append(b, exchangeMagic...)
	for _, part := range [][]byte{x.cert.DER, der} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return secret.New(b)
}

// ImportExchangeKey is the inverse of Export. Errors are ErrBadExchangeKey.
func ImportExchangeKey(s secret.Bytes) (*ExchangeKey, error) {
	rest, ok := bytes.CutPrefix(s.Expose(), []byte(exchangeMagic))
	if !ok {
		return nil, fmt.Errorf("%w: not version 1", ErrBadExchangeKey)
	}
	var parts [2][]byte
	for i := range parts {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			return nil, fmt.Errorf("%w: truncated", ErrBadExchangeKey)
		}
		n := binary.BigEndian.Uint32(rest)
		parts[i], rest = rest[4:4+n], rest[4+n:]
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: bytes after its end", ErrBadExchangeKey)
	}
	cert, err := parseDER(parts[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadExchangeKey, err)
	}
	key, err := x509.ParsePKCS1PrivateKey(parts[1])
	if err != nil {
		return nil, fmt.Errorf("%w: its private key is malformed", ErrBadExchangeKey)
	}
	private := newPrivateKey(key)
	if !key.PublicKey.Equal(cert.Public) {
		private.wipe()
		return nil, fmt.Errorf("%w: key and certificate do not belong together", ErrBadExchangeKey)
	}
	return &ExchangeKey{cert: cert, private: private}, nil
}

// Certificate returns the public half.
func (x *ExchangeKey) Certificate() Certificate { return x.cert }

// CertificatePEM returns the certificate as a PEM file.
func (x *ExchangeKey) CertificatePEM() []byte { return x.cert.PEM() }

// Fingerprint returns the x5t#S256 of the certificate, which a restore blob names and people compare.
func (x *ExchangeKey) Fingerprint() string { return x.cert.X5TS256 }

// TransferKeyJSON returns the public half as a JSON Web Key in JSON text: the value of "transfer_key", which must be a
// string on the wire. The genuine client reads x5c[0] of it and nothing else.
func (x *ExchangeKey) TransferKeyJSON() string {
	b, err := json.Marshal(encodeJWK(x.cert, x.cert.X5TS256, "verify", "encrypt", "wrapKey"))
	if err != nil {
		panic(err) // strings only: cannot happen
	}
	return string(b)
}

// Wipe overwrites the private key as far as Go allows. The key cannot be used afterwards.
func (x *ExchangeKey) Wipe() { x.private.wipe() }

// Accept opens a restore blob made for xk that holds exactly the data named in wantTags, and returns them in that
// order. Readable parts are checked before the private key is used. The errors are ErrBadRestoreBlob (malformed; datum missing, added or
// repeated), ErrWrongExchangeKey, and ErrTampered for everything that does not decrypt.
//
// A blob is not authenticated: that it opens says that it was made for this key, not by whom.
func Accept(blob []byte, xk *ExchangeKey, wantTags []string) ([]Datum, error) {
	b, err := parseBlob(blob)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRestoreBlob, err)
	}
	if b.WrappedKey.X5T256 != xk.Fingerprint() {
		return nil, fmt.Errorf("%w: it names %s, this HSM's is %s: make the blob again with the file that init-recovery of this HSM gave",
			ErrWrongExchangeKey, b.WrappedKey.X5T256, xk.Fingerprint())
	}
	if err := checkTags(b.EncData, wantTags); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRestoreBlob, err)
	}
	master, err := openMaster(b.WrappedKey.EncKey, xk)
	if err != nil {
		return nil, fmt.Errorf("%w: the wrapped key: %w: make the blob again from the security domain file", ErrTampered, err)
	}
	defer clear(master)
	data, err := decryptData(b.EncData, master)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: make the blob again from the security domain file", ErrTampered, err)
	}
	slices.SortFunc(data, func(a, b Datum) int {
		return slices.Index(wantTags, a.Tag) - slices.Index(wantTags, b.Tag)
	})
	return data, nil
}

// checkTags compares the data's names with those expected; parseEncData has seen that none stands twice.
func checkTags(e encDataJSON, want []string) error {
	for _, d := range e.Data {
		if !slices.Contains(want, d.Tag) {
			return fmt.Errorf("it holds a datum %s that this HSM does not know: it was made from a security domain of another product or release, or altered", quote(d.Tag))
		}
	}
	for _, tag := range want {
		if !slices.ContainsFunc(e.Data, func(d datumJSON) bool { return d.Tag == tag }) {
			return fmt.Errorf("its datum %s is missing: make the blob again from the security domain file", quote(tag))
		}
	}
	return nil
}

func openMaster(compact string, xk *ExchangeKey) ([]byte, error) {
	j, err := parseJWE(compact, algRSA)
	if err != nil {
		return nil, err
	}
	if j.kid != kidRSA {
		return nil, fmt.Errorf("its key id is %s", quote(j.kid))
	}
	master, err := j.openRSA(xk.private.f())
	if err != nil {
		return nil, err
	}
	if len(master) != masterKeySize {
		clear(master)
		return nil, errors.New("it has the wrong length")
	}
	return master, nil
}
