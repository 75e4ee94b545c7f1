package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"

	"redoubt/internal/client"
)

// keyState is what one key is, as far as its owner was told.
type keyState struct {
	where    string // "none", "live" or "deleted"
	versions int
	tag      string
}

// lane is one worker with a key of its own, which it takes through its whole life again and again.
type lane struct {
	mu    sync.Mutex
	name  string
	done  keyState // after the last acknowledged step
	doing keyState // after the one that is under way
}

// step is one change of a lane's key.
type step struct {
	next func(keyState) keyState
	do   func(ctx context.Context, h *client.HSM, name string) error
}

var ec = client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}

// life is what happens to each key, in order.
var life = []step{
	{func(keyState) keyState { return keyState{"live", 1, ""} }, func(ctx context.Context, h *client.HSM, name string) error {
		_, err := h.CreateKey(ctx, name, ec)
		return err
	}},
	{func(s keyState) keyState { return keyState{"live", s.versions + 1, ""} }, func(ctx context.Context, h *client.HSM, name string) error {
		_, err := h.CreateKey(ctx, name, ec)
		return err
	}},
	{func(s keyState) keyState { s.tag = "set"; return s }, func(ctx context.Context, h *client.HSM, name string) error {
		_, err := h.UpdateKey(ctx, name, "", client.UpdateKey{Tags: map[string]string{"t": "set"}})
		return err
	}},
	{func(s keyState) keyState { return keyState{"live", s.versions + 1, ""} }, func(ctx context.Context, h *client.HSM, name string) error {
		jwk, err := importable()
		if err == nil {
			_, err = h.ImportKey(ctx, name, client.ImportKey{Key: jwk})
		}
		return err
	}},
	{func(s keyState) keyState { s.where = "deleted"; return s }, func(ctx context.Context, h *client.HSM, name string) error {
		_, err := h.DeleteKey(ctx, name)
		return err
	}},
	{func(s keyState) keyState { s.where = "live"; return s }, func(ctx context.Context, h *client.HSM, name string) error {
		_, err := h.RecoverKey(ctx, name)
		return err
	}},
	{func(s keyState) keyState { s.where = "deleted"; return s }, func(ctx context.Context, h *client.HSM, name string) error {
		_, err := h.DeleteKey(ctx, name)
		return err
	}},
	{func(keyState) keyState { return keyState{"none", 0, ""} }, purge},
}

// lifeAfterDeath is what happens to a key that was backed up and purged, in order.
var lifeAfterDeath = []step{
	{func(keyState) keyState { return keyState{"live", 1, ""} }, life[0].do},
	{func(s keyState) keyState { return keyState{"live", s.versions + 1, ""} }, life[1].do},
	{func(s keyState) keyState { s.where = "deleted"; return s }, func(ctx context.Context, h *client.HSM, name string) error {
		blob, err := h.BackupKey(ctx, name)
		if err != nil {
			return err
		}
		saved.Store(name, blob)
		_, err = h.DeleteKey(ctx, name)
		return err
	}},
	{func(keyState) keyState { return keyState{"none", 0, ""} }, purge},
	{func(keyState) keyState { return keyState{"live", 2, ""} }, func(ctx context.Context, h *client.HSM, name string) error {
		blob, _ := saved.Load(name)
		b, _ := blob.([]byte)
		_, err := h.RestoreKey(ctx, b)
		return err
	}},
	{func(s keyState) keyState { s.where = "deleted"; return s }, func(ctx context.Context, h *client.HSM, name string) error {
		_, err := h.DeleteKey(ctx, name)
		return err
	}},
	{func(keyState) keyState { return keyState{"none", 0, ""} }, purge},
}

// saved are the newest backups of the keys, by name.
var saved sync.Map

func purge(ctx context.Context, h *client.HSM, name string) error { return h.PurgeKey(ctx, name) }

// importable is a new P-256 key.
func importable() (client.PrivateJWK, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return client.PrivateJWK{}, err
	}
	pub, err := k.PublicKey.Bytes()
	if err != nil {
		return client.PrivateJWK{}, err
	}
	d, err := k.Bytes()
	return client.PrivateJWK{Kty: "EC-HSM", Crv: "P-256", X: pub[1:33], Y: pub[33:], D: d}, err
}

const rounds = 4 // lives of each key in one step of the scenario

// keys is four clients that create, import, change, delete, recover, purge and restore keys of one HSM at once.
func keys() scenario {
	var lanes []*lane
	const hsm = "keychurn"
	return scenario{
		name: "keys",
		prepare: func(ctx context.Context, w *world, n int) error {
			if n == 0 {
				h, err := w.create(ctx, hsm)
				if err == nil {
					_, err = w.activate(ctx, h)
				}
				if err == nil {
					err = errors.Join(w.allow(ctx, h), officer(ctx, w, h))
				}
				if err != nil {
					return err
				}
			}
			lanes = nil
			for i := range 4 {
				none := keyState{"none", 0, ""}
				lanes = append(lanes, &lane{name: fmt.Sprintf("key-%d-%d", n, i), done: none, doing: none})
			}
			return nil
		},
		step: func(ctx context.Context, w *world) error {
			h, err := w.arm.HSMNamed(hsm)
			if err != nil {
				return err
			}
			return parallel(len(lanes), len(lanes), func(i int) error { return lanes[i].live(ctx, h) })
		},
		verify: func(ctx context.Context, w *world) (outcome, error) {
			h, err := w.arm.HSMNamed(hsm)
			if err != nil {
				return "", err
			}
			got := after
			for _, l := range lanes {
				o, err := l.verify(ctx, h)
				if err != nil {
					return "", fmt.Errorf("key %s: %w", l.name, err)
				}
				if o == before {
					got = before
				}
			}
			return got, nil
		},
	}
}

func officer(ctx context.Context, w *world, h *client.HSM) error {
	_, err := h.CreateRoleAssignment(ctx, "/", "", w.me.ID, "515eb02d-2335-4d2d-92f2-b1cbdf9c3778") // recovers and purges
	return err
}

// live takes the lane's key through its lives until the context ends.
func (l *lane) live(ctx context.Context, h *client.HSM) error {
	for range rounds {
		for _, st := range slices.Concat(life, lifeAfterDeath) {
			l.mu.Lock()
			l.doing = st.next(l.done)
			l.mu.Unlock()
			if err := st.do(ctx, h, l.name); err != nil {
				return err
			}
			l.mu.Lock()
			l.done = l.doing
			l.mu.Unlock()
		}
	}
	return nil
}

// verify compares the key with what was acknowledged, and with what was under way.
func (l *lane) verify(ctx context.Context, h *client.HSM) (outcome, error) {
	now, err := look(ctx, h, l.name)
	switch {
	case err != nil:
		return "", err
	case now == l.doing:
		return after, nil
	case now == l.done:
		return before, nil
	}
	return "", fmt.Errorf("it is %+v; acknowledged was %+v, under way %+v", now, l.done, l.doing)
}

// look finds out what the key is now, and uses it if it is live.
func look(ctx context.Context, h *client.HSM, name string) (keyState, error) {
	k, err := h.GetKey(ctx, name, "")
	if client.IsNotFound(err) {
		_, err = h.GetDeletedKey(ctx, name)
		if client.IsNotFound(err) {
			return keyState{"none", 0, ""}, nil
		}
		if err != nil {
			return keyState{}, err
		}
		if k, err = h.RecoverKey(ctx, name); err != nil { // versions show only on live keys
			return keyState{}, err
		}
		s, err := live(ctx, h, k)
		s.where = "deleted"
		return s, err
	}
	if err != nil {
		return keyState{}, err
	}
	return live(ctx, h, k)
}

func live(ctx context.Context, h *client.HSM, k client.Key) (keyState, error) {
	versions, err := h.ListKeyVersions(ctx, k.Name())
	if err != nil {
		return keyState{}, err
	}
	digest := make([]byte, 32)
	for _, v := range versions {
		sig, err := h.Sign(ctx, k.Name(), v.Version(), "ES256", digest)
		if err != nil {
			return keyState{}, fmt.Errorf("version %s: %w", v.Version(), err)
		}
		if ok, err := h.Verify(ctx, k.Name(), v.Version(), "ES256", digest, sig.Value); err != nil || !ok {
			return keyState{}, fmt.Errorf("version %s does not verify its own signature: %w", v.Version(), err)
		}
	}
	return keyState{"live", len(versions), k.Tags["t"]}, nil
}
