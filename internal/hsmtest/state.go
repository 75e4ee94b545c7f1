package hsmtest

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	"redoubt/internal/hsm"
	"redoubt/internal/store"
)

// SetState puts a device into a state without what leads there.
func (s *Site) SetState(d *hsm.HSM, state hsm.State) {
	s.T.Helper()
	ctx := context.WithoutCancel(s.T.Context())
	at := "/hsm/" + d.ID() + "/dev"
	kv, _, err := s.Below.Get(ctx, at)
	var dev map[string]any
	if err == nil {
		err = json.Unmarshal(kv.Val, &dev)
	}
	if err == nil {
		dev["state"] = state
		var b []byte
		if b, err = json.Marshal(dev); err == nil {
			_, err = s.Below.Txn(ctx, nil, []store.Op{store.Put(at, b)})
		}
	}
	if err != nil {
		s.T.Fatal(err)
	}
}

// Content is all records of a device but its waiting audit entries, as they are stored.
func (s *Site) Content(d *hsm.HSM) map[string]string {
	s.T.Helper()
	prefix := "/hsm/" + d.ID() + "/"
	page, err := s.Below.Range(context.WithoutCancel(s.T.Context()), store.Query{Prefix: prefix, Limit: 1 << 20})
	if err != nil {
		s.T.Fatal(err)
	}
	out := make(map[string]string, len(page.KVs))
	for _, kv := range page.KVs {
		if !strings.HasPrefix(kv.Key, prefix+"l/out/") && kv.Key != prefix+"l/audit" {
			out[kv.Key] = string(kv.Val)
		}
	}
	return out
}

// Reset puts back what Content returned. Nothing may be under way on the device.
func (s *Site) Reset(d *hsm.HSM, content map[string]string) {
	s.T.Helper()
	now := s.Content(d)
	if maps.Equal(now, content) {
		return
	}
	var ops []store.Op
	for k, v := range content {
		if now[k] != v {
			ops = append(ops, store.Put(k, []byte(v)))
		}
	}
	for k := range now {
		if _, kept := content[k]; !kept {
			ops = append(ops, store.Delete(k))
		}
	}
	if _, err := s.Below.Txn(context.WithoutCancel(s.T.Context()), nil, ops); err != nil {
		s.T.Fatal(err)
	}
}
