package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// A block is
//
//	"RDAB" | version 1 | archive id 16 | index u32          header
//	( name length u16 > 0 | name | sealed length u32 | sealed )*   records, names ascending
//	0 u16 | mark u8 | records u64                           trailer
//
// with all numbers big-endian. mark is markMore, or markEnd in the last block of the archive; records is the number
// of records from the beginning of the archive to the end of this block. The archive id and index bind a
// block to its place; the trailer makes a block that was cut short, or an archive whose last block is
// gone, visible without the manifest.
const (
	blockMagic   = "RDAB\x01"
	idSize       = 16
	headerSize   = len(blockMagic) + idSize + 4
	trailerSize  = 2 + 1 + 8
	frameSize    = 2 + 4 // of one record, without name and sealed bytes
	markMore     = 0
	markEnd      = 0xED
	blockPattern = "block-%06d.rdb"
	maxBlocks    = 1_000_000
)

type archiveID [idSize]byte

// blockWriter fills one block. buf keeps its capacity (MaxBlock) from block to block.
type blockWriter struct {
	buf     []byte
	records int    // in this block
	first   string // name of the first of them
}

func (w *blockWriter) start(id archiveID, index int) {
	w.buf = append(w.buf[:0], blockMagic...)
	w.buf = append(w.buf, id[:]...)
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(index))
	w.records, w.first = 0, ""
}

func (w *blockWriter) fits(r Record, limit int) bool {
	return len(w.buf)+frameSize+len(r.Name)+len(r.Sealed)+trailerSize <= limit
}

func (w *blockWriter) add(r Record) {
	if w.records == 0 {
		w.first = r.Name
	}
	w.records++
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(r.Name)))
	w.buf = append(w.buf, r.Name...)
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(r.Sealed)))
	w.buf = append(w.buf, r.Sealed...)
}

// finish closes the block; total counts the records of the archive up to and with this block.
func (w *blockWriter) finish(total int64, last bool) {
	mark := byte(markMore)
	if last {
		mark = markEnd
	}
	w.buf = append(w.buf, 0, 0, mark)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(total))
}

// block is a parsed block; the records alias the bytes it was parsed from.
type block struct {
	id      archiveID
	index   uint32
	records []Record
	total   uint64
	last    bool
}

// parseBlock reads a block strictly: every byte is accounted for, and encoding the result again gives the same bytes.
func parseBlock(b []byte) (block, error) {
	var p block
	if len(b) < headerSize+trailerSize || len(b) > MaxBlock {
		return p, fmt.Errorf("a block cannot have %d bytes", len(b))
	}
	if string(b[:len(blockMagic)]) != blockMagic {
		return p, errors.New("not a block of this format version")
	}
	copy(p.id[:], b[len(blockMagic):])
	p.index = binary.BigEndian.Uint32(b[headerSize-4:])
	for rest := b[headerSize:]; ; {
		if len(rest) < trailerSize {
			return p, errors.New("the block is cut short")
		}
		if binary.BigEndian.Uint16(rest) == 0 {
			return p, p.trailer(rest[2:])
		}
		r, n, err := parseRecord(rest)
		if err != nil {
			return p, err
		}
		if k := len(p.records); k > 0 && p.records[k-1].Name >= r.Name {
			return p, errors.New("records are out of order")
		}
		p.records = append(p.records, r)
		rest = rest[n:]
	}
}

// parseRecord reads the record at the start of b and tells its length with its frame.
func parseRecord(b []byte) (Record, int, error) {
	nameLen := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if nameLen > len(b)-4 {
		return Record{}, 0, errors.New("a record's name is cut short")
	}
	r := Record{Name: string(b[:nameLen])}
	size := int64(binary.BigEndian.Uint32(b[nameLen:]))
	b = b[nameLen+4:]
	if size > int64(len(b)) {
		return Record{}, 0, errors.New("a record is cut short")
	}
	r.Sealed = slices.Clip(b[:size])
	return r, frameSize + nameLen + int(size), r.check()
}

// trailer reads what follows the zero name length, which must be the rest of the block.
func (p *block) trailer(b []byte) error {
	if len(b) != trailerSize-2 {
		return errors.New("bytes after the end of the block")
	}
	if b[0] != markMore && b[0] != markEnd {
		return errors.New("unknown end mark")
	}
	p.last = b[0] == markEnd
	p.total = binary.BigEndian.Uint64(b[1:])
	return nil
}

func (r Record) check() error {
	if err := checkText(r.Name, MaxName); err != nil {
		return fmt.Errorf("%w: the name %.80q %w", ErrBadRecord, r.Name, err)
	}
	if len(r.Sealed) < 1 || len(r.Sealed) > MaxSealed {
		return fmt.Errorf("%w: %.80q has %d bytes, 1 to %d are allowed", ErrBadRecord, r.Name, len(r.Sealed), MaxSealed)
	}
	return nil
}
