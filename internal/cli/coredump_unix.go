//go:build unix

package cli

import "syscall"

// noCoreDumps keeps private keys and master keys out of core files; it fails only where there are none.
func noCoreDumps() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
