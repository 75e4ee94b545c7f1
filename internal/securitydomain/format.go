package securitydomain

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	fileVersion  = 2
	keyAlgorithm = "shamir_share"
)

// The JSON of both files, members in the order in which they are written.
type (
	datumJSON struct {
		CompactJWE string `json:"compact_jwe"`
		Tag        string `json:"tag"`
	}
	encDataJSON struct {
		Data []datumJSON `json:"data"`
		KDF  string      `json:"kdf"`
	}
	encKeyJSON struct {
		EncKey string `json:"enc_key"`
		X5T256 string `json:"x5t_256"`
	}
	sharedKeysJSON struct {
		EncShares    []encKeyJSON `json:"enc_shares"`
		KeyAlgorithm string       `json:"key_algorithm"`
		Required     int          `json:"required"`
	}
	domainJSON struct {
		EncData    encDataJSON    `json:"EncData"`
		SharedKeys sharedKeysJSON `json:"SharedKeys"`
		Version    int            `json:"version"`
		DomainID   string         `json:"DomainId,omitempty"` // ours; the genuine client ignores it
	}
	blobJSON struct {
		EncData    encDataJSON `json:"EncData"`
		WrappedKey encKeyJSON  `json:"WrappedKey"`
	}
)

// parseDomain reads a security domain file without decrypting anything.
func parseDomain(file []byte) (domainJSON, error) {
	var d domainJSON
	if len(file) > maxFile {
		return d, errTooLong
	}
	o, err := parseObject(file, "the security domain")
	if err != nil {
		return d, err
	}
	if err := o.only("EncData", "SharedKeys", "version", "DomainId"); err != nil {
		return d, err
	}
	version, err := o.integer("version")
	if err != nil {
		return d, err
	}
	if version != fileVersion {
		return d, fmt.Errorf("version %d is unknown to this release, which reads version %d", version, fileVersion)
	}
	if o.has("DomainId") {
		if d.DomainID, err = o.text("DomainId"); err != nil {
			return d, err
		}
		if !validDomainID(d.DomainID) {
			return d, errors.New("its DomainId is malformed")
		}
	}
	d.Version = fileVersion
	if d.EncData, err = parseEncData(o); err != nil {
		return d, err
	}
	d.SharedKeys, err = parseSharedKeys(o)
	return d, err
}

func parseEncData(o object) (encDataJSON, error) {
	var e encDataJSON
	enc, err := o.object("EncData")
	if err != nil {
		return e, err
	}
	if err := cmp.Or(enc.only("data", "kdf"), enc.fixed("kdf", kdfName)); err != nil {
		return e, err
	}
	e.KDF = kdfName
	list, err := enc.list("data")
	if err != nil {
		return e, err
	}
	seen := map[string]bool{}
	for i, raw := range list {
		d, err := parseObject(raw, fmt.Sprintf("datum %d", i+1))
		if err == nil {
			err = d.only("compact_jwe", "tag")
		}
		if err != nil {
			return e, err
		}
		tag, err1 := d.text("tag")
		compact, err2 := d.text("compact_jwe")
		if err := cmp.Or(err1, err2); err != nil {
			return e, err
		}
		if err := checkTag(tag); err != nil {
			return e, err
		}
		if seen[tag] {
			return e, fmt.Errorf("two data have the tag %s", quote(tag))
		}
		seen[tag] = true
		e.Data = append(e.Data, datumJSON{CompactJWE: compact, Tag: tag})
	}
	if len(e.Data) == 0 {
		return e, errors.New("it holds no data")
	}
	return e, nil
}

func parseSharedKeys(o object) (sharedKeysJSON, error) {
	var s sharedKeysJSON
	shared, err := o.object("SharedKeys")
	if err != nil {
		return s, err
	}
	if err := cmp.Or(shared.only("enc_shares", "key_algorithm", "required"), shared.fixed("key_algorithm", keyAlgorithm)); err != nil {
		return s, err
	}
	s.KeyAlgorithm = keyAlgorithm
	required, err := shared.integer("required")
	if err != nil {
		return s, err
	}
	list, err := shared.list("enc_shares")
	if err != nil {
		return s, err
	}
	seen := map[string]bool{}
	for i, raw := range list {
		k, err := parseObject(raw, fmt.Sprintf("share %d", i+1))
		if err != nil {
			return s, err
		}
		share, err := parseEncKey(k)
		if err != nil {
			return s, err
		}
		if seen[share.X5T256] {
			return s, fmt.Errorf("two shares are for the same certificate %s", share.X5T256)
		}
		seen[share.X5T256] = true
		s.EncShares = append(s.EncShares, share)
	}
	if err := checkCounts(len(s.EncShares), int(required)); err != nil {
		return s, fmt.Errorf("its quorum of %d does not go with %d shares", required, len(s.EncShares))
	}
	s.Required = int(required)
	return s, nil
}

func parseEncKey(o object) (encKeyJSON, error) {
	var k encKeyJSON
	if err := o.only("enc_key", "x5t_256"); err != nil {
		return k, err
	}
	var err1, err2 error
	k.EncKey, err1 = o.text("enc_key")
	k.X5T256, err2 = o.text("x5t_256")
	if err := cmp.Or(err1, err2); err != nil {
		return k, err
	}
	if sum, err := decodeB64(k.X5T256); err != nil || len(sum) != 32 {
		return k, fmt.Errorf(`"x5t_256" of %s is not a SHA-256 thumbprint`, o.what)
	}
	return k, nil
}

// parseBlob reads a restore blob without decrypting anything.
func parseBlob(blob []byte) (blobJSON, error) {
	var b blobJSON
	if len(blob) > maxFile {
		return b, errTooLong
	}
	o, err := parseObject(blob, "the restore blob")
	if err != nil {
		return b, err
	}
	if o.has("SharedKeys") {
		return b, errors.New("this is a security domain file, not a restore blob: make the blob from it first (security-domain restore-blob)")
	}
	if err := o.only("EncData", "WrappedKey"); err != nil {
		return b, err
	}
	if b.EncData, err = parseEncData(o); err != nil {
		return b, err
	}
	wrapped, err := o.object("WrappedKey")
	if err != nil {
		return b, err
	}
	b.WrappedKey, err = parseEncKey(wrapped)
	return b, err
}

// marshal writes JSON without escaping <, > and &, which no other writer of these files escapes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Summary is what a security domain file tells without any key. None of it is authenticated.
type Summary struct {
	DomainID    string   // "" if the file has none, as one that Azure made
	Required    int      // the quorum
	Thumbprints []string // x5t#S256 of the wrapping certificates, one for each share
	Tags        []string
}

// Inspect reads a security domain file without keys, for checks before a ceremony.
func Inspect(sdFile []byte) (Summary, error) {
	d, err := parseDomain(sdFile)
	if err != nil {
		return Summary{}, badDomain(err)
	}
	s := Summary{DomainID: d.DomainID, Required: d.SharedKeys.Required}
	for _, share := range d.SharedKeys.EncShares {
		s.Thumbprints = append(s.Thumbprints, share.X5T256)
	}
	for _, datum := range d.EncData.Data {
		s.Tags = append(s.Tags, datum.Tag)
	}
	return s, nil
}

// ReadDomainID returns the readable domain id of a security domain file, "" if it is no such file or has none.
func ReadDomainID(sdFile []byte) string {
	s, err := Inspect(sdFile)
	if err != nil {
		return ""
	}
	return s.DomainID
}

func badDomain(err error) error {
	return fmt.Errorf("%w: %w; use another copy of the file", ErrBadSecurityDomain, err)
}
