package securitydomain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/secret"
)

// The data of a Redoubt security domain. The tags are part of the format for ever.
const (
	TagRoot        = "redoubt-root"         // 32 bytes: the root all records are sealed under
	TagSigningSeed = "redoubt-signing-seed" // 32 bytes: Ed25519 seed that signs archives; the domain id is a hash of its public key
	TagInfo        = "redoubt-info"         // the info record, see EncodeInfo
)

// Tags lists the data of a Redoubt security domain in the order they are written.
func Tags() []string { return []string{TagRoot, TagSigningSeed, TagInfo} }

// Datum is one secret of a security domain, under the name it is encrypted for.
type Datum struct {
	Tag   string // 1..64 printable ASCII characters, without " and \
	Value secret.Bytes
}

// Lookup returns the value with this tag.
func Lookup(data []Datum, tag string) (secret.Bytes, bool) {
	i := slices.IndexFunc(data, func(d Datum) bool { return d.Tag == tag })
	if i < 0 {
		return secret.Bytes{}, false
	}
	return data[i].Value, true
}

func wipeAll(data []Datum) {
	for _, d := range data {
		d.Value.Wipe()
	}
}

// checkTag keeps tags to characters that stand for themselves in JSON and in a JWE header of every client.
func checkTag(tag string) error {
	if tag == "" || len(tag) > 64 {
		return fmt.Errorf("the tag %s does not have 1 to 64 characters", quote(tag))
	}
	for _, c := range []byte(tag) {
		if c < 0x20 || c > 0x7e || strings.IndexByte(`"\`, c) >= 0 {
			return fmt.Errorf("the tag %s holds a character that is not allowed", quote(tag))
		}
	}
	return nil
}

// checkData refuses data that cannot be told apart or that nobody could use.
func checkData(data []Datum) error {
	if len(data) == 0 {
		return fmt.Errorf("%w: no data", ErrBadData)
	}
	seen := map[string]bool{}
	for _, d := range data {
		if err := checkTag(d.Tag); err != nil {
			return fmt.Errorf("%w: %w", ErrBadData, err)
		}
		if seen[d.Tag] {
			return fmt.Errorf("%w: two data with the tag %s", ErrBadData, quote(d.Tag))
		}
		if d.Value.Len() == 0 {
			return fmt.Errorf("%w: the datum %s is empty", ErrBadData, quote(d.Tag))
		}
		seen[d.Tag] = true
	}
	return nil
}

// infoVersion is the only version of the info record that this release knows.
const infoVersion = 1

// Info is what a security domain says about itself under encryption.
type Info struct {
	Epoch    uint32
	DomainID string
}

type infoJSON struct {
	Version  int    `json:"version"`
	Epoch    uint32 `json:"epoch"`
	DomainID string `json:"domain_id"`
}

// EncodeInfo returns the info record: JSON with version, epoch and domain_id in this order and no spaces.
func EncodeInfo(i Info) secret.Bytes {
	b, err := json.Marshal(infoJSON{Version: infoVersion, Epoch: i.Epoch, DomainID: i.DomainID})
	if err != nil {
		panic(err) // numbers and a string: cannot happen
	}
	return secret.New(b)
}

// ParseInfo is the inverse of EncodeInfo and takes nothing but its output.
func ParseInfo(s secret.Bytes) (Info, error) {
	o, err := parseObject(s.Expose(), "the info record")
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrBadInfo, err)
	}
	version, err := o.integer("version")
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrBadInfo, err)
	}
	if version != infoVersion {
		return Info{}, fmt.Errorf("%w: version %d, this release knows version %d: use the release that made the security domain, or a later one", ErrBadInfo, version, infoVersion)
	}
	epoch, err1 := o.integer("epoch")
	id, err2 := o.text("domain_id")
	if err := cmp.Or(err1, err2); err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrBadInfo, err)
	}
	if !validDomainID(id) {
		return Info{}, fmt.Errorf("%w: the domain id is malformed", ErrBadInfo)
	}
	info := Info{Epoch: epoch, DomainID: id}
	if !EncodeInfo(info).Equal(s) {
		return Info{}, fmt.Errorf("%w: not in its one canonical form", ErrBadInfo)
	}
	return info, nil
}

const (
	domainIDPrefix = "sd-"
	domainIDDigits = 32
)

// validDomainID reports whether s is "sd-" and 32 lower-case hexadecimal digits.
func validDomainID(s string) bool {
	digits, ok := strings.CutPrefix(s, domainIDPrefix)
	if !ok || len(digits) != domainIDDigits {
		return false
	}
	for _, c := range []byte(digits) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
