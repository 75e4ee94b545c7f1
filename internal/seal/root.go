package seal

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"redoubt/internal/secret"
)

// ErrBadRoot: the bytes are not an exported root.
var ErrBadRoot = errors.New("seal: not a root")

const (
	rootSize  = 32
	rootMagic = "RDT1"
	rootTotal = len(rootMagic) + 4 + rootSize + ed25519.SeedSize
)

// Root is the root of one security domain in one epoch. It never changes and may be used from any
// goroutine. It prints as its domain id.
type Root struct {
	root     secret.Bytes // 32 bytes
	prk      secret.Bytes // HKDF-Extract of root: what record keys are expanded from
	seed     secret.Bytes // Ed25519 seed
	signer   func() ed25519.PrivateKey
	public   ed25519.PublicKey
	epoch    uint32
	domainID string
}

// NewRoot draws a fresh root and signing seed, and with them a new domain.
func NewRoot(epoch uint32) *Root {
	r, err := FromDomain(secret.Random(rootSize), secret.Random(ed25519.SeedSize), epoch)
	if err != nil {
		panic("seal: " + err.Error()) // the lengths are right
	}
	return r
}

// FromDomain makes the root that a security domain carries: 32 bytes of root and 32 bytes of Ed25519 seed
// (RFC 8032). They are copied.
func FromDomain(root, signingSeed secret.Bytes, epoch uint32) (*Root, error) {
	if root.Len() != rootSize || signingSeed.Len() != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: root and signing seed have %d and %d bytes, not %d and %d",
			ErrBadRoot, root.Len(), signingSeed.Len(), rootSize, ed25519.SeedSize)
	}
	prk, err := hkdf.Extract(sha256.New, root.Expose(), nil)
	if err != nil {
		return nil, fmt.Errorf("derive from root: %w", err)
	}
	priv := ed25519.NewKeyFromSeed(signingSeed.Expose())
	r := &Root{
		root: root.Clone(), prk: secret.New(prk), seed: signingSeed.Clone(), epoch: epoch,
		signer: func() ed25519.PrivateKey { return priv },
		public: priv.Public().(ed25519.PublicKey),
	}
	r.domainID = DomainIDOf(r.public)
	return r, nil
}

// Domain returns what the security domain carries: fresh copies that the caller should wipe.
func (r *Root) Domain() (root, signingSeed secret.Bytes, epoch uint32) {
	return r.root.Clone(), r.seed.Clone(), r.epoch
}

// Export returns the root for safe keeping by the node (package unlock): "RDT1", epoch (u32, big-endian),
// root (32), seed (32).
func (r *Root) Export() secret.Bytes {
	b := make([]byte, 0, rootTotal)
	b = append(b, rootMagic...)
	b = binary.BigEndian.AppendUint32(b, r.epoch)
	b = append(b, r.root.Expose()...)
	return secret.New(append(b, r.seed.Expose()...))
}

// Import is the inverse of Export.
func Import(b secret.Bytes) (*Root, error) {
	e := b.Expose()
	if len(e) != rootTotal || string(e[:4]) != rootMagic {
		return nil, fmt.Errorf("%w: unknown format", ErrBadRoot)
	}
	root, seed := secret.New(slices.Clone(e[8:8+rootSize])), secret.New(slices.Clone(e[8+rootSize:]))
	defer root.Wipe()
	defer seed.Wipe()
	return FromDomain(root, seed, binary.BigEndian.Uint32(e[4:]))
}

// DomainID names the security domain: "sd-" and 32 hex digits. It is public.
func (r *Root) DomainID() string { return r.domainID }

// Epoch counts the roots of one line of security domains.
func (r *Root) Epoch() uint32 { return r.epoch }

// PublicKey verifies the domain's manifests.
func (r *Root) PublicKey() ed25519.PublicKey { return slices.Clone(r.public) }

// String is the domain id and epoch, so that a root can be printed.
func (r *Root) String() string { return fmt.Sprintf("%s epoch %d", r.domainID, r.epoch) }

// Format prints String whatever the verb.
func (r *Root) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.String()) }

// DomainIDOf is the id of the domain whose manifests pub verifies: the first 128 bits of SHA-256 over
// label and key. Making another key with the same id takes some 2^128 tries, making two with equal ids 2^64.
func DomainIDOf(pub []byte) string {
	h := sha256.New()
	h.Write([]byte(labelDomainID))
	h.Write(pub)
	return "sd-" + hex.EncodeToString(h.Sum(nil))[:32]
}

// SignManifest signs msg as this domain: Ed25519 over label||msg. It is for backup manifests only.
func (r *Root) SignManifest(msg []byte) []byte {
	return ed25519.Sign(r.signer(), slices.Concat([]byte(labelManifest), msg))
}

// VerifyManifest checks a signature by SignManifest. A key of the wrong length verifies nothing.
func VerifyManifest(pub ed25519.PublicKey, msg, sig []byte) bool {
	return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, slices.Concat([]byte(labelManifest), msg), sig)
}

// Signer signs for one HSM (its audit checkpoints), with a key derived from the root and the HSM's UUID:
// plain Ed25519, so that whoever knows the public key can verify with any library.
type Signer struct{ key func() ed25519.PrivateKey }

// LocalSigner is the same for the same root and HSM. Two HSMs that share a domain have different signers,
// but each could compute the other's.
func (r *Root) LocalSigner(hsmID string) Signer {
	info := appendPart([]byte(labelLocalSigner), r.domainID)
	info = appendPart(appendUint32Part(info, r.epoch), hsmID)
	seed, err := hkdf.Expand(sha256.New, r.prk.Expose(), string(info), ed25519.SeedSize)
	if err != nil {
		panic("seal: " + err.Error()) // only for impossible lengths
	}
	defer clear(seed)
	priv := ed25519.NewKeyFromSeed(seed)
	return Signer{key: func() ed25519.PrivateKey { return priv }}
}

// Sign signs msg.
func (s Signer) Sign(msg []byte) []byte { return ed25519.Sign(s.key(), msg) }

// Public returns the 32-byte public key.
func (s Signer) Public() []byte { return slices.Clone([]byte(s.key().Public().(ed25519.PublicKey))) }
