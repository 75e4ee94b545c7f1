package hsm

import "redoubt/internal/store"

// OutsideEntry is the write that puts an entry into the audit log of a device that is not open: of what an operator did to
// the whole server while it was stopped. The entry is in the store with the change that it is committed with, and gets into
// the file when the device opens.
func OutsideEntry(cfg Config, operation string, details map[string]string) store.Op {
	h := &HSM{cfg: cfg}
	return h.outboxEntry(h.systemEntry(operation, "", nil, details))
}
