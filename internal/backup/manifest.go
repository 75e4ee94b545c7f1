package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"redoubt/internal/blob"
)

// ManifestName is the manifest's object name within its folder.
const ManifestName = "manifest.json"

const (
	formatName  = "redoubt-archive/1"
	maxManifest = 64 << 20
	maxText     = 512 // bytes of one text of the origin
)

// Manifest describes one complete archive. The members and their order are the format
// (docs/formats/archive.md); the signature covers all members before it.
type Manifest struct {
	Format    string    `json:"format"`
	ArchiveID string    `json:"archive_id"` // 32 hex digits, fresh for every archive, inside every block
	Folder    string    `json:"folder"`
	HSMID     string    `json:"hsm_id"`
	HSMName   string    `json:"hsm_name"`
	DomainID  string    `json:"domain_id"`
	PublicKey string    `json:"public_key"` // ed25519, standard base64
	Epoch     uint32    `json:"epoch"`
	Lineage   string    `json:"lineage"`
	Revision  int64     `json:"revision"`
	Time      time.Time `json:"time"`
	Sequence  uint64    `json:"sequence"`
	AuditHead string    `json:"audit_head"`
	Records   int64     `json:"records"`
	Bytes     int64     `json:"bytes"` // of all block objects
	Blocks    []Block   `json:"blocks"`
	End       string    `json:"end"`                 // the end mark: digest of the list of blocks
	Signature string    `json:"signature,omitempty"` // ed25519, standard base64

	trust Trust // set by ReadManifest and Write, never part of the encoding
}

// Block describes one block object.
type Block struct {
	Name    string `json:"name"`  // within the folder
	First   string `json:"first"` // name of its first record, "" when it has none
	Records int64  `json:"records"`
	Size    int64  `json:"size"`   // bytes
	SHA256  string `json:"sha256"` // lower-case hex
}

// Trust says what was proved when the manifest was read.
func (m Manifest) Trust() Trust { return m.trust }

// Object is the full name of one of the archive's objects in the container.
func (m Manifest) Object(name string) string { return m.Folder + "/" + name }

func (m *Manifest) id() (id archiveID, err error) {
	n, err := hex.Decode(id[:], []byte(m.ArchiveID)[:min(len(m.ArchiveID), 2*idSize)])
	if err != nil || n != idSize || hex.EncodeToString(id[:]) != m.ArchiveID {
		return id, errors.New("the archive id is not 32 lower-case hexadecimal digits")
	}
	return id, nil
}

// encode gives the one byte representation: two-space indented JSON in member order and a final newline.
func (m *Manifest) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(m)
	return b.Bytes(), err
}

// signed gives the bytes that the signature covers: the encoding without the signature member.
func (m *Manifest) signed() ([]byte, error) {
	c := *m
	c.Signature = ""
	return c.encode()
}

// parseManifest reads the canonical encoding and nothing else: a member that is unknown, repeated, missing
// or spelled otherwise, other white space or other escapes are all refused, because encoding the result must give the same bytes.
func parseManifest(b []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("not a manifest: %w", err)
	}
	if m.Format != formatName {
		return m, fmt.Errorf("format %.40q is not known to this version", m.Format)
	}
	again, err := m.encode()
	if err != nil {
		return m, err
	}
	if !bytes.Equal(again, b) {
		return m, errors.New("not in canonical form")
	}
	return m, m.check()
}

// check holds the manifest against its own rules; the signature is not its business.
func (m *Manifest) check() error {
	if m.Format != formatName {
		return fmt.Errorf("format %.40q is not known to this version", m.Format)
	}
	if _, err := m.id(); err != nil {
		return err
	}
	if err := m.checkOrigin(); err != nil {
		return err
	}
	if len(m.Blocks) < 1 || len(m.Blocks) > maxBlocks {
		return fmt.Errorf("an archive cannot have %d blocks", len(m.Blocks))
	}
	var records, size int64
	for i, b := range m.Blocks {
		if err := b.check(i, records == 0 && len(m.Blocks) == 1); err != nil {
			return err
		}
		if i > 0 && m.Blocks[i-1].First >= b.First {
			return fmt.Errorf("block %d is out of order", i)
		}
		records += b.Records
		size += b.Size
	}
	if records != m.Records || size != m.Bytes {
		return errors.New("the totals do not agree with the blocks")
	}
	if m.End != m.endMark() {
		return errors.New("the end mark does not agree with the blocks")
	}
	return nil
}

func (m *Manifest) checkOrigin() error {
	if err := CheckFolder(m.Folder); err != nil {
		return err
	}
	for _, t := range []struct{ what, text string }{
		{"hsm_id", m.HSMID}, {"hsm_name", m.HSMName}, {"domain_id", m.DomainID}, {"lineage", m.Lineage},
	} {
		if err := checkText(t.text, maxText); err != nil {
			return fmt.Errorf("%s %w", t.what, err)
		}
	}
	if m.AuditHead != "" {
		if err := checkText(m.AuditHead, maxText); err != nil {
			return fmt.Errorf("audit_head %w", err)
		}
	}
	if m.Time.IsZero() || m.Time.Location() != time.UTC || !m.Time.Equal(m.Time.Truncate(time.Millisecond)) {
		return errors.New("the time is not in UTC to the millisecond")
	}
	if m.Revision < 0 {
		return errors.New("the revision is negative")
	}
	return nil
}

// check holds one entry against its place; only the single block of an empty archive may be without records.
func (b Block) check(i int, only bool) error {
	if b.Name != fmt.Sprintf(blockPattern, i) {
		return fmt.Errorf("block %d has the name %.40q", i, b.Name)
	}
	if b.Size < int64(headerSize+trailerSize) || b.Size > MaxBlock {
		return fmt.Errorf("%s cannot have %d bytes", b.Name, b.Size)
	}
	if sum, err := hex.DecodeString(b.SHA256); err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != b.SHA256 {
		return fmt.Errorf("%s: the digest is malformed", b.Name)
	}
	if b.Records == 0 && b.First == "" && only {
		return nil
	}
	if b.Records < 1 || b.Records > MaxBlock {
		return fmt.Errorf("%s cannot have %d records", b.Name, b.Records)
	}
	if err := checkText(b.First, MaxName); err != nil {
		return fmt.Errorf("%s: the first name %w", b.Name, err)
	}
	return nil
}

// endMark is the digest over the archive id, the totals and the blocks' digests in order.
func (m *Manifest) endMark() string {
	h := sha256.New()
	io.WriteString(h, "redoubt archive end mark v1\n")
	io.WriteString(h, m.ArchiveID)
	var n [24]byte
	binary.BigEndian.PutUint64(n[0:], uint64(len(m.Blocks)))
	binary.BigEndian.PutUint64(n[8:], uint64(m.Records))
	binary.BigEndian.PutUint64(n[16:], uint64(m.Bytes))
	h.Write(n[:])
	for _, b := range m.Blocks {
		io.WriteString(h, b.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ReadManifest gets the manifest of folder and checks it: form, signature, domain (as far as the anchor
// goes) and folder, in this order. It needs read permission only. The errors, besides those of the container:
// ErrBadFolder, ErrNoManifest, ErrTampered, ErrOtherDomain, ErrWrongFolder.
func ReadManifest(ctx context.Context, c blob.Container, folder string, a Anchor) (Manifest, error) {
	if err := CheckFolder(folder); err != nil {
		return Manifest{}, err
	}
	object := folder + "/" + ManifestName
	b, err := getManifest(ctx, c, object)
	if errors.Is(err, blob.ErrNotFound) {
		return Manifest{}, fmt.Errorf("%w: %s has no %s, so the folder's name is wrong or the backup never finished; check the name or choose another backup",
			ErrNoManifest, folder, ManifestName)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("read the manifest: %w", err)
	}
	m, err := parseManifest(b)
	if err != nil {
		return Manifest{}, &TamperedError{object, err.Error()}
	}
	trust, err := a.check(&m, object)
	if err != nil {
		return Manifest{}, err
	}
	if m.Folder != folder {
		return Manifest{}, fmt.Errorf("%w: %s holds the manifest of %s; restore from the folder in which the backup was made", ErrWrongFolder, folder, m.Folder)
	}
	m.trust = trust
	return m, nil
}

func getManifest(ctx context.Context, c blob.Container, object string) ([]byte, error) {
	r, info, err := c.Get(ctx, object)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if info.Size > maxManifest {
		return nil, &TamperedError{object, fmt.Sprintf("a manifest cannot have %d bytes", info.Size)}
	}
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err == nil && len(b) > maxManifest {
		err = &TamperedError{object, "too large"}
	}
	return b, err
}
