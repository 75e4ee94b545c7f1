package passfile

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The blob (docs/formats/records.md), numbers big-endian:
//
//	magic "RDPF" | version 1 | kdf 1 (Argon2id, RFC 9106) | passes u32 | memory KiB u32 | lanes u8 |
//	salt 16 | nonce 12 | ciphertext | tag 16
//
// Associated data is everything before the nonce, then the caller's with its length (u32) in front.
const (
	magic         = "RDPF"
	formatVersion = 1
	kdfArgon2id   = 1
	saltSize      = 16
	keySize       = 32
	headerSize    = len(magic) + 1 + 1 + 4 + 4 + 1 + saltSize
	overhead      = 12 + 16
	maxBlob       = 64 << 10
)

// errFormat: not a blob of this driver.
var errFormat = errors.New("not sealed by a passphrase file")

// cost is what one derivation takes: passes over memory KiB by threads lanes.
type cost struct {
	time, memory uint32
	threads      uint8
}

// defaultCost is RFC 9106's second recommended option.
var defaultCost = cost{time: 3, memory: 64 << 10, threads: 4}

// Upper bounds, so that a planted blob cannot make the server allocate without limit or compute for hours.
const (
	maxTime    = 16
	maxMemory  = 1 << 20 // KiB: 1 GiB
	maxThreads = 16
)

func (c cost) check() error {
	if c.time < 1 || c.time > maxTime || c.threads < 1 || c.threads > maxThreads ||
		c.memory < 8*uint32(c.threads) || c.memory > maxMemory {
		return fmt.Errorf("%w: cost out of bounds: %d passes, %d KiB, %d lanes", errFormat, c.time, c.memory, c.threads)
	}
	return nil
}

// params is what a key is derived from, apart from the passphrase.
type params struct {
	cost
	salt [saltSize]byte
}

// header encodes p; it has room for the rest of a small blob.
func (p params) header() []byte {
	b := make([]byte, 0, headerSize+overhead+128)
	b = append(b, magic...)
	b = append(b, formatVersion, kdfArgon2id)
	b = binary.BigEndian.AppendUint32(b, p.time)
	b = binary.BigEndian.AppendUint32(b, p.memory)
	b = append(b, p.threads)
	return append(b, p.salt[:]...)
}

// parse splits a blob into parameters and nonce||ciphertext||tag. It is strict: there is one encoding.
func parse(b []byte) (params, []byte, error) {
	if len(b) < headerSize+overhead || len(b) > maxBlob || string(b[:4]) != magic {
		return params{}, nil, errFormat
	}
	if b[4] != formatVersion || b[5] != kdfArgon2id {
		return params{}, nil, fmt.Errorf("%w: format %d with key derivation %d is not known to this version", errFormat, b[4], b[5])
	}
	p := params{cost: cost{
		time:    binary.BigEndian.Uint32(b[6:]),
		memory:  binary.BigEndian.Uint32(b[10:]),
		threads: b[14],
	}}
	if err := p.check(); err != nil {
		return params{}, nil, err
	}
	copy(p.salt[:], b[15:])
	return p, b[headerSize:], nil
}

// boundTo is the associated data of a blob with that header.
func boundTo(header, aad []byte) []byte {
	b := append([]byte(nil), header...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(aad)))
	return append(b, aad...)
}
