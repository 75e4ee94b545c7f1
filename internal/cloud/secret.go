package cloud

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"
)

// Argon2id parameters for new hashes: modest on purpose (about 10 ms), because the secrets are generated and
// long. A hash carries its own parameters, so these can change.
const (
	argonTime    = 1
	argonMemory  = 8 << 10 // KiB
	argonThreads = 1
	argonKeyLen  = 32
	argonSaltLen = 16
)

const verifiedMax = 1024 // remembered secrets

// hasher makes and checks Argon2id hashes in the PHC text form. Secrets that were found right are remembered
// in memory, keyed by an HMAC under a key of this process, so that a client that signs in for every command
// does not pay for Argon2id every time. At most two hashes are computed at once: memory stays bounded.
type hasher struct {
	key  [32]byte
	slot chan struct{}

	testOnlyDerived func() // called for every hash that is computed

	mu       sync.Mutex
	verified map[[sha256.Size]byte]struct{} // guarded by mu
}

func newHasher() *hasher {
	h := &hasher{slot: make(chan struct{}, 2), verified: make(map[[sha256.Size]byte]struct{})}
	rand.Read(h.key[:])
	return h
}

// hash returns "$argon2id$v=19$m=8192,t=1,p=1$SALT$HASH".
func (h *hasher) hash(secret string) string {
	salt := make([]byte, argonSaltLen)
	rand.Read(salt)
	p := phc{memory: argonMemory, time: argonTime, threads: argonThreads, salt: salt}
	p.sum = h.derive(secret, p, argonKeyLen)
	return p.String()
}

func (h *hasher) derive(secret string, p phc, n uint32) []byte {
	h.slot <- struct{}{}
	defer func() { <-h.slot }()
	if h.testOnlyDerived != nil {
		h.testOnlyDerived()
	}
	return argon2.IDKey([]byte(secret), p.salt, p.time, p.memory, p.threads, n)
}

// check tells whether secret belongs to the hash. An unreadable hash belongs to nothing.
func (h *hasher) check(encoded, secret string) bool {
	m := hmac.New(sha256.New, h.key[:])
	fmt.Fprintf(m, "%d:%s%s", len(encoded), encoded, secret)
	var mark [sha256.Size]byte
	m.Sum(mark[:0])
	h.mu.Lock()
	_, known := h.verified[mark]
	h.mu.Unlock()
	if known {
		return true
	}
	p, err := parsePHC(encoded)
	if err != nil {
		return false
	}
	if subtle.ConstantTimeCompare(h.derive(secret, p, uint32(len(p.sum))), p.sum) != 1 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.verified) >= verifiedMax {
		clear(h.verified)
	}
	h.verified[mark] = struct{}{}
	return true
}

// waste spends what a check costs, so that an unknown name is not answered sooner than a wrong secret.
func (h *hasher) waste(secret string) {
	h.derive(secret, phc{memory: argonMemory, time: argonTime, threads: argonThreads, salt: h.key[:argonSaltLen]}, argonKeyLen)
}

// phc is a parsed hash.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

func (p phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		b64.EncodeToString(p.salt), b64.EncodeToString(p.sum))
}

var errPHC = errors.New("not an Argon2id hash")

// parsePHC reads what String wrote, and refuses parameters that would eat the machine.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, errPHC
	}
	var p phc
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil || n != 3 {
		return phc{}, errPHC
	}
	var err1, err2 error
	p.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	p.sum, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	switch {
	case err1 != nil || err2 != nil, len(p.salt) < 8, len(p.salt) > 64, len(p.sum) < 16, len(p.sum) > 64,
		p.memory < 8 || p.memory > 256<<10, p.time < 1 || p.time > 16, p.threads < 1 || p.threads > 8,
		p.String() != s: // one canonical form only
		return phc{}, errPHC
	}
	return p, nil
}

// newSecret returns a random secret of 40 characters, about 200 bits, in an alphabet that needs no quoting
// in a shell.
func newSecret() string { return strings.ToLower(rand.Text()[:20]) + rand.Text()[:20] }
