package hsm

import (
	"context"
	"errors"

	"redoubt/internal/key"
	"redoubt/internal/store"
)

// keyStage puts the records of one key into the store where nobody sees them: behind a note that has them
// swept should they not become a key. Every write is conditional on that note, so that sweeping and staging
// never mix. The last transaction (reveal) puts the head, which makes them a key, and drops the note.
type keyStage struct {
	*stager
	v    *view
	inc  key.IncarnationID
	note store.Cond
}

// errStageLost: the note was swept, or the content replaced, before the key was complete.
var errStageLost = errors.New("what was staged of a key is gone")

// stageKey writes the note. Whatever becomes of it, the caller calls sweepKey if the key does not come to be.
func (v *view) stageKey(ctx context.Context, inc key.IncarnationID) (*keyStage, error) {
	note := v.h.sweepKeyKey(inc)
	rev, err := v.h.store.Txn(ctx, []store.Cond{store.Absent(note)}, []store.Op{store.Put(note, []byte(v.dev.Generation))})
	if err != nil {
		return nil, storeError("note what is being restored", err)
	}
	s := &keyStage{v: v, inc: inc, note: store.Unchanged(note, rev)}
	s.stager = newStager(v.h, s.note)
	return s, nil
}

// reveal is the change that makes a key of what was staged, if its name is free and the note still there. put
// writes the head.
func (s *keyStage) reveal(name key.Name, put store.Op) change {
	return change{
		ifs: []store.Cond{s.note, s.v.cond(headName(name), stamp{}), s.v.cond(deletedName(name), stamp{})},
		ops: []store.Op{put, store.Delete(s.note.Key)},
	}
}

// stands fails with errStageLost when the note is gone.
func (s *keyStage) stands(ctx context.Context) error {
	kv, _, err := s.v.h.store.Get(ctx, s.note.Key)
	if isAbsent(err) || err == nil && kv.Mod != s.note.Rev {
		return errStageLost
	}
	if err != nil {
		return storeError("read the note of what is being restored", err)
	}
	return nil
}
