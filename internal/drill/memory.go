package drill

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
)

// peakMemory is the most memory this process ever had resident, in bytes: VmHWM of proc(5), which includes
// the pages of mapped files. Where the kernel does not tell, it is what the Go runtime has obtained from it.
func peakMemory() int64 {
	if n := statusLine("VmHWM:"); n > 0 {
		return n
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}

// ownMemory is the memory that this process has resident now without pages of files (RssAnon), or 0 where
// the kernel does not tell.
func ownMemory() int64 { return statusLine("RssAnon:") }

// statusLine reads a size from /proc/self/status, 0 if it is not there.
func statusLine(name string) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
		if err != nil {
			return 0
		}
		return kb << 10
	}
	return 0
}
