package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	bbolt "go.etcd.io/bbolt"

	"redoubt/internal/store"
)

// The file's layout, described for readers outside this package in docs/formats/store-bolt.md:
//
//	meta     "format"          -> format number, u32 big endian
//	data     key               -> create u64 | mod u64 | value          newest records; bucket sequence = revision
//	history  key NUL rev u64   -> the record that commit rev replaced   (same shape as in data)
//	log      rev u64           -> unix nanoseconds u64, then the keys   bucket sequence = floor
//
// A key has no NUL, so history sorts by key and then by revision. A record that came out of nothing
// replaces nothing and leaves no history: the state of a key at revision r is the record of data if its
// mod is at most r, else the first history record after r if its mod is at most r, else absence.
const format = 1

// firstRev is the revision of an empty store: 0 is "none".
const firstRev = 1

var (
	bucketMeta    = []byte("meta")
	bucketData    = []byte("data")
	bucketHistory = []byte("history")
	bucketLog     = []byte("log")
	keyFormat     = []byte("format")

	errDamaged = errors.New("store file is damaged")
)

// view is the store as one engine transaction sees it. Most reads need data alone, and opening a bucket
// costs as much as finding a record in it.
type view struct {
	tx   *bbolt.Tx
	data *bbolt.Bucket
}

func viewOf(tx *bbolt.Tx) view { return view{tx: tx, data: tx.Bucket(bucketData)} }

func (v view) history() *bbolt.Bucket { return v.tx.Bucket(bucketHistory) }
func (v view) log() *bbolt.Bucket     { return v.tx.Bucket(bucketLog) }
func (v view) rev() store.Rev         { return store.Rev(v.data.Sequence()) }
func (v view) floor() store.Rev       { return store.Rev(v.log().Sequence()) }

// kept tells whether the state at rev can be read; newest is the newest revision that may be shown.
func (v view) kept(rev, newest store.Rev) error {
	if floor := v.floor(); rev < floor || rev > newest {
		return fmt.Errorf("%w: %d is not within %d..%d", store.ErrCompacted, rev, floor, newest)
	}
	return nil
}

const recordHead = 16

// encodeRecord makes the stored form of a record.
func encodeRecord(create, mod store.Rev, val []byte) []byte {
	b := make([]byte, recordHead, recordHead+len(val))
	binary.BigEndian.PutUint64(b, uint64(create))
	binary.BigEndian.PutUint64(b[8:], uint64(mod))
	return append(b, val...)
}

// modOf reads the revision of a stored record, which is at least recordHead long by construction.
func modOf(rec []byte) store.Rev    { return store.Rev(binary.BigEndian.Uint64(rec[8:recordHead])) }
func createOf(rec []byte) store.Rev { return store.Rev(binary.BigEndian.Uint64(rec[:8])) }

// toKV copies a stored record out of the engine's memory.
func toKV(key string, rec []byte, keysOnly bool) store.KV {
	kv := store.KV{Key: key, Create: createOf(rec), Mod: modOf(rec)}
	if !keysOnly {
		kv.Val = append(make([]byte, 0, len(rec)-recordHead), rec[recordHead:]...)
	}
	return kv
}

func encodeRev(rev store.Rev) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(rev))
}

// historyKey names the record of key that commit rev replaced.
func historyKey(key []byte, rev store.Rev) []byte {
	b := make([]byte, 0, len(key)+9)
	b = append(append(b, key...), 0)
	return binary.BigEndian.AppendUint64(b, uint64(rev))
}

// historyOf is the key a history entry belongs to, nil at the end of the bucket.
func historyOf(entry []byte) []byte {
	if len(entry) < 9 {
		return nil
	}
	return entry[:len(entry)-9]
}

// at finds the stored record of key as it was at rev, nil when there was none. The answer lives as long
// as the engine transaction.
func (v view) at(key []byte, rev store.Rev) []byte {
	if rec := v.data.Get(key); rec != nil && modOf(rec) <= rev {
		return rec
	}
	return replacedAfter(v.history().Cursor(), key, rev)
}

func replacedAfter(c *bbolt.Cursor, key []byte, rev store.Rev) []byte {
	entry, rec := c.Seek(historyKey(key, rev+1))
	if !bytes.Equal(historyOf(entry), key) || modOf(rec) > rev {
		return nil
	}
	return rec
}

// rangeNewest walks the newest records; fn returns false to stop. Keys and records live as long as the
// engine transaction.
func (v view) rangeNewest(prefix, after string, fn func(key, rec []byte) bool) {
	c := v.data.Cursor()
	p := []byte(prefix)
	k, rec := c.Seek([]byte(max(prefix, after)))
	if after != "" && string(k) == after {
		k, rec = c.Next()
	}
	for ; k != nil && bytes.HasPrefix(k, p); k, rec = c.Next() {
		if !fn(k, rec) {
			return
		}
	}
}

// rangeAt is rangeNewest for an older revision: a merge of data and history.
func (v view) rangeAt(prefix, after string, rev store.Rev, fn func(key, rec []byte) bool) {
	p := []byte(prefix)
	start := []byte(max(prefix, after))
	if after != "" && after >= prefix {
		start = append(start, 0) // the smallest byte string after it
	}
	live, old := v.data.Cursor(), v.history().Cursor()
	lk, lrec := live.Seek(start)
	if after != "" && after >= prefix {
		start[len(start)-1] = 1 // beyond the history of after itself
	}
	entry, _ := old.Seek(start)
	for {
		key, was := lk, historyOf(entry)
		if key == nil || (was != nil && bytes.Compare(was, key) < 0) {
			key = was
		}
		if key == nil || !bytes.HasPrefix(key, p) {
			return
		}
		isLive, isOld := bytes.Equal(lk, key), bytes.Equal(was, key)
		var rec []byte
		if isLive && modOf(lrec) <= rev {
			rec = lrec
		} else if isOld {
			rec = replacedAfter(old, key, rev)
		}
		if rec != nil && !fn(key, rec) {
			return
		}
		if isOld {
			entry, _ = old.Seek(append(append(make([]byte, 0, len(key)+1), key...), 1))
		}
		if isLive {
			lk, lrec = live.Next()
		}
	}
}

// change is one key of a log entry.
type change struct {
	key      string
	deleted  bool
	replaced bool // history holds what was there before
}

const (
	flagDeleted  = 1
	flagReplaced = 2
)

// encodeLog makes a log entry from changes in key order.
func encodeLog(at time.Time, changes []change) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano()))
	for _, c := range changes {
		var flags byte
		if c.deleted {
			flags |= flagDeleted
		}
		if c.replaced {
			flags |= flagReplaced
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(len(c.key)))
		b = append(b, c.key...)
	}
	return b
}

func logTime(entry []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(entry)))
}

// decodeLog gives the changes of a log entry whose keys have the prefix.
func decodeLog(entry []byte, prefix string) ([]change, error) {
	if len(entry) < 8 {
		return nil, fmt.Errorf("%w: short log entry", errDamaged)
	}
	var out []change
	for b := entry[8:]; len(b) > 0; {
		flags := b[0]
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || flags > flagDeleted|flagReplaced || n > uint64(len(b)-1-w) {
			return nil, fmt.Errorf("%w: bad log entry", errDamaged)
		}
		key := b[1+w:][:n]
		if strings.HasPrefix(string(key), prefix) {
			out = append(out, change{key: string(key), deleted: flags&flagDeleted != 0, replaced: flags&flagReplaced != 0})
		}
		b = b[1+w+int(n):]
	}
	return out, nil
}
