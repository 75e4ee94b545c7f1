// Package seal uses the root of an HSM: it seals records so that they can lie in any store or archive,
// signs backup manifests, and gives the domain its name.
//
// A root is a 32-byte secret and an Ed25519 seed. There is one for each security domain and epoch, and it
// is what the security domain carries. Everything else is derived, each use under a label of its own
// (testdata/labels.txt lists them all; two uses with one label, or one that is another's beginning, fail a
// test).
//
// # Records
//
// A sealed record is bound to its place: domain, epoch, kind, name, content version and, for records that
// belong to one HSM only, that HSM's UUID. It opens there and nowhere else, so that whoever can write to
// the store can delete or bring back records but not exchange them. It is not bound to HSM name, host,
// store path, generation or store revision, because a record copied still sealed into an archive must open
// on the HSM recovered from the same domain.
//
// Each record has its own key (HKDF-SHA256 over domain id, epoch, kind, name, local id) and a random nonce.
// Never a counter: clones and roll-backs share a root. A random nonce allows 2^32 sealings of one name.
//
// What sealing does not do: an older sealed version of the same record opens as well as the newest, unless
// the caller knows the content version to expect; and the header (kind, epoch, version, length) is readable.
//
// The layout is in docs/formats/records.md.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"redoubt/internal/secret"
)

var (
	// ErrFormat: the bytes are not a sealed record at all.
	ErrFormat = errors.New("seal: not a sealed record")
	// ErrMismatch: the header says that it is another kind, content version or epoch than asked for. The
	// epochs differ when the record was sealed before the security domain was last renewed.
	ErrMismatch = errors.New("seal: the record is not the one asked for")
	// ErrTampered: the record was changed, or is another record's, or another domain's.
	ErrTampered = errors.New("seal: the record is damaged, or belongs to another name, HSM or security domain")
	// ErrBadRef: the reference itself cannot exist: unknown kind, no name, Local where it must not be.
	ErrBadRef = errors.New("seal: bad record reference")
)

// Labels. One for each use of a key or hash; never change one, add a new version instead.
const (
	labelRecord      = "redoubt/seal/v1/record"
	labelManifest    = "redoubt/seal/v1/manifest"
	labelDomainID    = "redoubt/seal/v1/domain-id"
	labelLocalSigner = "redoubt/seal/v1/local-signer"
	labelAttestRoot  = "redoubt/seal/v1/attestation-root"
	labelAttestLeaf  = "redoubt/seal/v1/attestation-leaf"
	labelEndorsement = "redoubt/seal/v1/attestation-endorsement"
)

const (
	recordMagic = "RDR1"
	headerSize  = len(recordMagic) + 1 + 4 + 8 // magic, kind, epoch, content version
	nonceSize   = 12
	tagSize     = 16
	// Overhead is how much longer a sealed record is than its content.
	Overhead = headerSize + nonceSize + tagSize
)

// Ref says which record it is.
type Ref struct {
	Kind Kind
	Name string // logical name within the kind, not empty
	// Version is the content version, readable in the header: what the caller counts to tell an older
	// state of the record from a newer one. Open demands it.
	Version uint64
	// Local is the HSM's UUID for records that belong to one HSM only, and empty for content that must
	// open on the recovered HSM. Kind.Local says which.
	Local string
}

func (r Ref) check() error {
	switch {
	case !r.Kind.valid():
		return fmt.Errorf("%w: unknown kind %d", ErrBadRef, uint8(r.Kind))
	case r.Name == "":
		return fmt.Errorf("%w: %s without a name", ErrBadRef, r.Kind)
	case r.Kind.Local() && r.Local == "":
		return fmt.Errorf("%w: %s belongs to one HSM and needs its UUID", ErrBadRef, r.Kind)
	case !r.Kind.Local() && r.Local != "":
		return fmt.Errorf("%w: %s must open on the recovered HSM and cannot be bound to one", ErrBadRef, r.Kind)
	}
	return nil
}

// HeaderInfo is the readable part of a sealed record. It is authenticated only once Open has succeeded.
type HeaderInfo struct {
	Kind    Kind
	Epoch   uint32
	Version uint64
}

// Header reads the readable part. It is strict about what it can see: magic, kind and least length.
func Header(sealed []byte) (HeaderInfo, error) {
	if len(sealed) < Overhead {
		return HeaderInfo{}, fmt.Errorf("%w: %d bytes is too short", ErrFormat, len(sealed))
	}
	if string(sealed[:4]) != recordMagic {
		return HeaderInfo{}, fmt.Errorf("%w: unknown format", ErrFormat)
	}
	h := HeaderInfo{
		Kind:    Kind(sealed[4]),
		Epoch:   binary.BigEndian.Uint32(sealed[5:]),
		Version: binary.BigEndian.Uint64(sealed[9:]),
	}
	if !h.Kind.valid() {
		return HeaderInfo{}, fmt.Errorf("%w: unknown kind %d", ErrFormat, sealed[4])
	}
	return h, nil
}

// Seal seals plain as the record ref. It panics on a reference that cannot exist (see ErrBadRef): that is
// a mistake in the program, and a record sealed under it could never be opened.
func (r *Root) Seal(ref Ref, plain []byte) []byte {
	if err := ref.check(); err != nil {
		panic(err)
	}
	out := make([]byte, 0, Overhead+len(plain))
	out = append(out, recordMagic...)
	out = append(out, byte(ref.Kind))
	out = binary.BigEndian.AppendUint32(out, r.epoch)
	out = binary.BigEndian.AppendUint64(out, ref.Version)
	info := r.recordInfo(ref)
	return r.aead(info).Seal(out, nil, plain, binary.BigEndian.AppendUint64(info, ref.Version))
}

// SealSecret seals a secret value.
func (r *Root) SealSecret(ref Ref, s secret.Bytes) []byte { return r.Seal(ref, s.Expose()) }

// Open opens a record, which must be exactly ref's, sealed by this domain in this epoch.
func (r *Root) Open(ref Ref, sealed []byte) ([]byte, error) {
	if err := ref.check(); err != nil {
		return nil, err
	}
	h, err := Header(sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s %q: %w", ref.Kind, ref.Name, err)
	}
	if want := (HeaderInfo{ref.Kind, r.epoch, ref.Version}); h != want {
		return nil, fmt.Errorf("open %s %q: %w: it is %s, epoch %d, version %d; wanted epoch %d, version %d",
			ref.Kind, ref.Name, ErrMismatch, h.Kind, h.Epoch, h.Version, want.Epoch, want.Version)
	}
	info := r.recordInfo(ref)
	plain, err := r.aead(info).Open(nil, nil, sealed[headerSize:], binary.BigEndian.AppendUint64(info, ref.Version))
	if err != nil {
		return nil, fmt.Errorf("open %s %q: %w", ref.Kind, ref.Name, ErrTampered)
	}
	return plain, nil
}

// OpenSecret opens a record that holds a secret value.
func (r *Root) OpenSecret(ref Ref, sealed []byte) (secret.Bytes, error) {
	plain, err := r.Open(ref, sealed)
	if err != nil {
		return secret.Bytes{}, err
	}
	return secret.New(plain), nil
}

// recordInfo is what separates record keys from each other: every part with its length in front, so that
// no two references give the same bytes. It has room for the content version behind it.
func (r *Root) recordInfo(ref Ref) []byte {
	b := make([]byte, 0, len(labelRecord)+len(r.domainID)+len(ref.Name)+len(ref.Local)+64)
	b = append(b, labelRecord...)
	b = appendPart(b, r.domainID)
	b = appendUint32Part(b, r.epoch)
	b = appendPart(b, string([]byte{byte(ref.Kind)}))
	b = appendPart(b, ref.Name)
	return appendPart(b, ref.Local)
}

// appendPart writes a part as its length (u32, big-endian) and its bytes.
func appendPart(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func appendUint32Part(b []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, 4), n)
}

// aead is AES-256-GCM under the record's own key, with a random nonce in front of the ciphertext.
func (r *Root) aead(info []byte) cipher.AEAD {
	k, err := hkdf.Expand(sha256.New, r.prk.Expose(), string(info), 32)
	if err != nil {
		panic("seal: " + err.Error()) // only for impossible lengths
	}
	defer clear(k)
	block, err := aes.NewCipher(k)
	if err != nil {
		panic("seal: " + err.Error())
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("seal: " + err.Error())
	}
	return gcm
}
