package bolt

import bbolt "go.etcd.io/bbolt"

// WithCommit returns o with commit in the place of the engine's commit.
func (o Options) WithCommit(commit func(tx *bbolt.Tx) error) Options {
	o.testOnlyCommit = commit
	return o
}

// DecodeLog makes the parser of log entries reachable for fuzzing: it answers how many keys it found.
func DecodeLog(entry []byte, prefix string) (int, error) {
	changes, err := decodeLog(entry, prefix)
	return len(changes), err
}

// Hot tells how many records are kept in memory, and their bytes.
func Hot(s *Store) (records, bytes int) {
	s.hot.mu.RLock()
	defer s.hot.mu.RUnlock()
	return len(s.hot.m), s.hot.bytes
}
