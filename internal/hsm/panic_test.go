package hsm

import (
	"context"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/material"
)

// An operation that a fault of this program ends has no success in the audit log, and the fault goes on to whoever
// called.
func TestFaultIsNoSuccessInTheAuditLog(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.stop()
	r.cfg.MakeKey = func(context.Context, key.Spec) (material.Key, error) { panic("no such luck") }
	r.open()
	func() {
		defer func() {
			if p := recover(); p != "no such luck" {
				t.Errorf("recovered %v", p)
			}
		}()
		_, err := r.CreateKey(t.Context(), user, "a", key.CreateParams{Spec: ecSpec})
		t.Errorf("answered: %v", err)
	}()
	e := r.entries("KeyCreate")
	if len(e) != 1 || e[0].Result != "Failed" || e[0].RequestID != user.RequestID {
		t.Errorf("%+v", e)
	}
	r.check()
}
