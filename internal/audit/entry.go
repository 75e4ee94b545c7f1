// Package audit is the tamper-evident record of what was done with one HSM: a file of JSON lines, each
// carrying the hash of the one before it, with checkpoints signed by the HSM from time to time.
//
// What the chain proves: no line before the last checkpoint can be changed, removed or reordered without
// the break showing. What it cannot prove alone: that lines after the last checkpoint were not cut off;
// for that a head must be kept elsewhere (see Verify). Format: docs/formats/audit.md.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	// ErrBroken: the file is not a valid chain; the message names the line.
	ErrBroken = errors.New("audit: chain is broken")
	// ErrClosed: the log has been closed.
	ErrClosed = errors.New("audit: log is closed")
)

// Head is the end of a chain: how many lines, and the hash of the last.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"` // hex SHA-256; 64 zeros for an empty chain
}

// String is the form used in manifests and for --expect-head: "seq:hash".
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Seq, h.Hash) }

// ParseHead reads the form that String gives.
func ParseHead(s string) (Head, error) {
	number, hash, _ := strings.Cut(s, ":")
	seq, err := strconv.ParseUint(number, 10, 64)
	h := Head{seq, hash}
	if raw, herr := hex.DecodeString(hash); err != nil || herr != nil || len(raw) != sha256.Size || h.String() != s || strings.ToLower(hash) != hash {
		return Head{}, fmt.Errorf("%.90q is not a head such as 12:3bc6…, a number and a SHA-256", s)
	}
	return h, nil
}

var zeroHash = hex.EncodeToString(make([]byte, sha256.Size))

// line is what stands in the file. Hash = SHA-256(label || prev || body), body being the exact bytes of
// the entry or checkpoint member.
type line struct {
	Seq        uint64          `json:"seq"`
	Prev       string          `json:"prev"`
	Hash       string          `json:"hash"`
	Entry      json.RawMessage `json:"entry,omitempty"`
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
}

// checkpoint is a signed statement about the head before it.
type checkpoint struct {
	Head      string `json:"head"`
	PublicKey []byte `json:"publicKey"`
	Signature []byte `json:"signature"`
}

const (
	chainLabel      = "redoubt/audit/chain/v1\x00"
	checkpointLabel = "redoubt/audit/checkpoint/v1\x00"
)

func chainHash(seq uint64, prev string, kind byte, body []byte) string {
	h := sha256.New()
	head := make([]byte, 0, 128)
	head = append(head, chainLabel...)
	head = strconv.AppendUint(head, seq, 10)
	head = append(append(append(head, 0), prev...), 0, kind)
	h.Write(head)
	h.Write(body)
	return hex.EncodeToString(h.Sum(head[:0]))
}
