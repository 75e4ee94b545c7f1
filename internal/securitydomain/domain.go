package securitydomain

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/secret"
	"redoubt/internal/securitydomain/shamir"
)

// Create makes a security domain file: data under a fresh master key, one share of it for each certificate, any
// required of which open the file. domainID stands readable in the file ("" leaves it out). The result is JSON text.
// Wrong certificates or quorum are ErrBadRequest, wrong data ErrBadData.
func Create(data []Datum, certs []Certificate, required int, domainID string) ([]byte, error) {
	if err := checkCertificates(certs, required); err != nil {
		return nil, err
	}
	if domainID != "" && !validDomainID(domainID) {
		return nil, fmt.Errorf("%w: malformed domain id", ErrBadData)
	}
	master := randomBytes(masterKeySize)
	defer clear(master)
	encData, err := encryptData(data, master)
	if err != nil {
		return nil, err
	}
	shares, err := shamir.Split(master, len(certs), required)
	if err != nil {
		return nil, fmt.Errorf("sharing the master key: %w", err)
	}
	d := domainJSON{EncData: encData, Version: fileVersion, DomainID: domainID}
	d.SharedKeys = sharedKeysJSON{KeyAlgorithm: keyAlgorithm, Required: required}
	for i, share := range shares {
		compact, err := sealRSA(certs[i].Public, share)
		clear(share)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		d.SharedKeys.EncShares = append(d.SharedKeys.EncShares, encKeyJSON{EncKey: compact, X5T256: certs[i].X5TS256})
	}
	return marshal(d)
}

// Reencrypt makes a restore blob: data under a fresh master key, which is encrypted to the exchange certificate.
func Reencrypt(data []Datum, exchange Certificate) ([]byte, error) {
	if exchange.Public == nil || exchange.X5TS256 == "" {
		return nil, fmt.Errorf("%w: no exchange certificate given", ErrBadCertificate)
	}
	master := randomBytes(masterKeySize)
	defer clear(master)
	encData, err := encryptData(data, master)
	if err != nil {
		return nil, err
	}
	compact, err := sealRSA(exchange.Public, master)
	if err != nil {
		return nil, fmt.Errorf("exchange key: %w", err)
	}
	return marshal(blobJSON{EncData: encData, WrappedKey: encKeyJSON{EncKey: compact, X5T256: exchange.X5TS256}})
}

func encryptData(data []Datum, master []byte) (encDataJSON, error) {
	e := encDataJSON{KDF: kdfName}
	if err := checkData(data); err != nil {
		return e, err
	}
	for _, d := range data {
		cek := datumKey(master, d.Tag)
		compact, err := sealDirect(cek, d.Tag, d.Value.Expose())
		clear(cek)
		if err != nil {
			return e, fmt.Errorf("encrypting the datum %s: %w", quote(d.Tag), err)
		}
		e.Data = append(e.Data, datumJSON{CompactJWE: compact, Tag: d.Tag})
	}
	return e, nil
}

// decryptDatum opens one datum and insists that its header names its tag.
func decryptDatum(d datumJSON, master []byte) (Datum, error) {
	j, err := parseJWE(d.CompactJWE, algDirect)
	if err == nil && j.kid != d.Tag {
		err = fmt.Errorf("its key id is %s", quote(j.kid))
	}
	if err != nil {
		return Datum{}, fmt.Errorf("the datum %s: %w", quote(d.Tag), err)
	}
	cek := datumKey(master, d.Tag)
	defer clear(cek)
	plain, err := j.openDirect(cek)
	if err != nil {
		return Datum{}, fmt.Errorf("the datum %s: %w", quote(d.Tag), err)
	}
	return Datum{Tag: d.Tag, Value: secret.New(plain)}, nil
}

func decryptData(e encDataJSON, master []byte) ([]Datum, error) {
	var data []Datum
	for _, d := range e.Data {
		datum, err := decryptDatum(d, master)
		if err != nil {
			wipeAll(data)
			return nil, err
		}
		data = append(data, datum)
	}
	return data, nil
}

// Open decrypts a security domain file with the private keys of a quorum of its holders. Keys beyond the
// quorum, repeated ones and such of other security domains are passed over as long as enough are left; if not, the error
// is ErrQuorum and says what is wrong with each. No private key is used before the quorum is there. A file that
// does not decrypt is ErrBadSecurityDomain. The data come in the file's order and belong to the caller.
func Open(sdFile []byte, keys []WrappingKey) ([]Datum, error) {
	d, err := parseDomain(sdFile)
	if err != nil {
		return nil, badDomain(err)
	}
	holders, err := matchKeys(d.SharedKeys, keys)
	if err != nil {
		return nil, err
	}
	master, err := recoverMaster(d.SharedKeys.Required, holders)
	if err != nil {
		return nil, badDomain(err)
	}
	defer clear(master)
	data, err := decryptData(d.EncData, master)
	if err != nil {
		return nil, badDomain(err)
	}
	if err := compareDomainID(d.DomainID, data); err != nil {
		wipeAll(data)
		return nil, badDomain(err)
	}
	return data, nil
}

// holder is a key given to Open together with the share that is encrypted to it.
type holder struct {
	key   WrappingKey
	share encKeyJSON
}

// matchKeys finds the share of each key by the certificate's thumbprint.
func matchKeys(s sharedKeysJSON, keys []WrappingKey) ([]holder, error) {
	var holders []holder
	var notes []string
	for _, k := range keys {
		same := func(h holder) bool { return h.key.X5TS256 == k.X5TS256 }
		i := slices.IndexFunc(s.EncShares, func(e encKeyJSON) bool { return e.X5T256 == k.X5TS256 })
		switch first := slices.IndexFunc(holders, same); {
		case k.private.f == nil || i < 0:
			notes = append(notes, fmt.Sprintf("%s is not a key of this security domain", k.Name))
		case first >= 0:
			notes = append(notes, fmt.Sprintf("%s is the same key as %s and counts once", k.Name, holders[first].key.Name))
		default:
			holders = append(holders, holder{key: k, share: s.EncShares[i]})
		}
	}
	if len(holders) >= s.Required {
		return holders, nil
	}
	var missing []string
	for _, e := range s.EncShares {
		if !slices.ContainsFunc(holders, func(h holder) bool { return h.share.X5T256 == e.X5T256 }) {
			missing = append(missing, e.X5T256)
		}
	}
	text := fmt.Sprintf("%d of the %d keys needed", len(holders), s.Required)
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, "; ") + ")"
	}
	return nil, fmt.Errorf("%w: %s: bring %d more of the holders whose certificates have these SHA-256 thumbprints: %s",
		ErrQuorum, text, s.Required-len(holders), strings.Join(missing, ", "))
}

// recoverMaster decrypts shares until there are enough and combines them. A damaged share is passed over
// if another holder's can stand in for it.
func recoverMaster(required int, holders []holder) ([]byte, error) {
	var shares [][]byte
	defer func() {
		for _, s := range shares {
			clear(s)
		}
	}()
	var damaged error
	for _, h := range holders {
		share, err := openShare(h)
		if err != nil {
			damaged = cmp.Or(damaged, err)
			continue
		}
		shares = append(shares, share)
		if len(shares) == required {
			break
		}
	}
	if len(shares) < required {
		return nil, damaged
	}
	master, err := shamir.Combine(shares)
	if err != nil {
		return nil, err
	}
	if len(master) != masterKeySize {
		clear(master)
		return nil, errors.New("its shares have the wrong length")
	}
	return master, nil
}

func openShare(h holder) ([]byte, error) {
	j, err := parseJWE(h.share.EncKey, algRSA)
	if err != nil {
		return nil, fmt.Errorf("the share of %s: %w", h.key.Name, err)
	}
	share, err := j.openRSA(h.key.private.f())
	if err != nil {
		return nil, fmt.Errorf("the share of %s: %w", h.key.Name, err)
	}
	if _, err := shamir.Index(share); err != nil {
		clear(share)
		return nil, fmt.Errorf("the share of %s: %w", h.key.Name, err)
	}
	return share, nil
}

// compareDomainID holds the readable domain id against the encrypted one, if the file is one of ours.
func compareDomainID(readable string, data []Datum) error {
	record, ok := Lookup(data, TagInfo)
	if !ok {
		return nil
	}
	info, err := ParseInfo(record)
	if err != nil {
		return nil // a newer record, perhaps: the HSM that is to install it decides
	}
	if info.DomainID != readable {
		return fmt.Errorf("its readable DomainId is not that of its content, %s", info.DomainID)
	}
	return nil
}
