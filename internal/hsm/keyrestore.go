package hsm

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/backup"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/store"
)

// RestoreKey makes the key of a backup (BackupKey) live again, on this HSM or another one of the same security
// domain. Its name must be free: neither live nor soft-deleted. Versions with their ids, attributes, tags and
// policies come back as they were.
func (h *HSM) RestoreKey(ctx context.Context, who Caller, blob []byte) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyRestore, rbac.ScopeKeys) // whose key it is shows only inside
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	k, err := c.openKeyBackup(blob)
	if err != nil {
		return Bundle{}, err
	}
	c.note("key", string(k.head.Meta.Name))
	c.note("versions", fmt.Sprint(len(k.versions)))
	hd, err := c.restoreCopy(ctx, k)
	if err != nil {
		return Bundle{}, err
	}
	return h.bundle(hd.Meta, nil), nil
}

// openKeyBackup opens a backup and checks everything in it.
func (c *call) openKeyBackup(blob []byte) (*keyCopy, error) {
	frame, err := backup.ParseKeyBackup(blob)
	if err != nil {
		return nil, answerf(key.ErrBadParameter, "The backup of a key is not valid: %v; give the whole content of the file that az keyvault key backup wrote", err)
	}
	c.note("backup", frame.ID)
	c.note("sourceDomain", frame.DomainID)
	own := c.v.root
	if frame.DomainID != own.DomainID() {
		return nil, answerf(key.ErrBadParameter, "The backup of a key was made in security domain %s; HSM %s has security domain %s, and only an HSM with the same security domain can restore it", frame.DomainID, c.h.cfg.Name, own.DomainID())
	}
	hd, err := seal.Header(frame.Sealed)
	if err == nil && hd.Kind == seal.KindKeyBackup && hd.Epoch != own.Epoch() {
		return nil, answerf(key.ErrBadParameter, "The backup of a key was made in epoch %d of security domain %s; HSM %s is in epoch %d of it", hd.Epoch, frame.DomainID, c.h.cfg.Name, own.Epoch())
	}
	plain, err := own.Open(keyBackupRef(frame.ID), frame.Sealed)
	if err != nil {
		return nil, answerf(key.ErrBadParameter, "The backup of a key is damaged or was altered; use another copy of it")
	}
	records, err := backup.ParseRecords(plain)
	var k *keyCopy
	if err == nil {
		k, err = openKeyCopy(own, records)
	}
	if err != nil {
		return nil, answerf(key.ErrBadParameter, "The backup of a key cannot be used on this HSM: %v", err)
	}
	return k, nil
}

// stageAttempts bounds how often a restore begins anew when others sweep what it has staged.
const stageAttempts = 3

// restoreCopy writes the key. A backup of the HSM or a restore that begins meanwhile sweeps what has no head
// yet; then it is done again.
func (c *call) restoreCopy(ctx context.Context, k *keyCopy) (head, error) {
	for range stageAttempts {
		hd, err := c.restoreOnce(ctx, k)
		if !errors.Is(err, errStageLost) {
			return hd, err
		}
		if err := c.admit(ctx); err != nil {
			return head{}, err
		}
	}
	return head{}, ErrConflict
}

func (c *call) restoreOnce(ctx context.Context, k *keyCopy) (_ head, err error) {
	hd, inc, name := k.head, key.NewIncarnation(), k.head.Meta.Name
	hd.Incarnation = inc
	if err := c.read(ctx, func() error { return c.v.nameFree(ctx, name) }); err != nil {
		return head{}, err
	}
	release, err := c.v.reserveName(ctx)
	if err != nil {
		return head{}, err
	}
	defer func() {
		// A commit of unknown outcome counts, as in creation.finish. Sweeping needs the note, which is gone
		// if the key came to be.
		release(err == nil || errors.Is(err, store.ErrUnknown))
		if err != nil {
			c.dropStage(ctx, inc)
		}
	}()
	at := c.v // where it is staged; the call may be admitted anew on other content
	s, err := at.stageKey(ctx, inc)
	if err != nil {
		return head{}, err
	}
	if err := s.copy(ctx, k); err != nil {
		if lost := s.stands(ctx); errors.Is(lost, errStageLost) {
			err = lost
		}
		return head{}, err
	}
	err = c.update(ctx, func() (change, error) {
		if c.v.dev.Generation != at.dev.Generation {
			return change{}, errStageLost
		}
		if err := s.stands(ctx); err != nil {
			return change{}, err
		}
		if err := c.v.nameFree(ctx, name); err != nil {
			return change{}, err
		}
		return s.reveal(name, c.v.put(headName(name), stamp{}, hd)), nil
	})
	return hd, err
}

// copy stages versions and material under the stage's incarnation.
func (s *keyStage) copy(ctx context.Context, k *keyCopy) error {
	defer s.wait()
	for i, m := range k.versions {
		sealed := k.materials[i]
		hd, err := seal.Header(sealed.Sealed)
		if err != nil {
			return fmt.Errorf("%w: %s: %v", ErrCorrupt, sealed.Name, err)
		}
		plain, err := s.v.root.OpenSecret(ref(sealed.Name, hd.Version), sealed.Sealed)
		if err != nil {
			return fmt.Errorf("%w: %s: %v", ErrCorrupt, sealed.Name, err)
		}
		put := s.v.putSecret(materialName(s.inc, m.Version), plain)
		plain.Wipe()
		if err := s.add(ctx, put); err != nil {
			return err
		}
		if err := s.add(ctx, s.v.put(versionName(s.inc, m.Version), stamp{}, m)); err != nil {
			return err
		}
	}
	return s.flush(ctx)
}

func (c *call) dropStage(ctx context.Context, inc key.IncarnationID) {
	if err := c.h.sweepKey(context.WithoutCancel(ctx), inc); err != nil {
		c.h.log.WarnContext(ctx, "a restored part of a key is left to be swept", "error", err)
	}
}
