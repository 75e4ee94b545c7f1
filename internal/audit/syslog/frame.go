package syslog

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/audit"
)

// Names in every message. 32473 is the enterprise number for examples (RFC 5612): Redoubt has none of its own.
const (
	appName = "redoubtd"
	sdID    = "redoubt@32473"

	facility = 13 // log audit
	severe   = 4  // warning: refused or failed
	usual    = 6  // informational
)

// message is one line of a chain as a syslog message (RFC 5424), behind its length (RFC 5425, section 4.3).
//
// MSG is the entry, or the checkpoint, exactly as it is hashed, and the structured data have the rest of the line: from what
// it got, a receiver can put the chain together again and verify it.
func message(host, chain string, ln audit.Line, now time.Time) ([]byte, error) {
	severity, at, id, hsm := usual, now, "checkpoint", ""
	if !ln.Checkpoint {
		var e audit.Entry
		if err := json.Unmarshal(ln.Body, &e); err != nil {
			return nil, err
		}
		id, at = "AuditEvent", e.Time
		if e.Result == "Denied" || e.Result == "Failed" {
			severity = severe
		}
		if e.Resource != nil {
			hsm = e.Resource.Name
		}
	}
	m := append(make([]byte, 0, len(ln.Body)+512), '<')
	m = strconv.AppendInt(m, int64(facility*8+severity), 10)
	m = append(m, ">1 "...)
	m = at.UTC().AppendFormat(m, "2006-01-02T15:04:05.000000Z")
	for _, s := range []string{header(host, 255), appName, "-", id} {
		m = append(append(m, ' '), s...)
	}
	m = append(m, " ["+sdID...)
	for _, p := range [][2]string{{"chain", chain}, {"seq", strconv.FormatUint(ln.Head.Seq, 10)}, {"prev", ln.Prev}, {"hash", ln.Head.Hash}, {"hsm", hsm}} {
		if p[1] != "" {
			m = append(m, ' ')
			m = append(append(m, p[0]...), `="`...)
			m = append(append(m, escape.Replace(p[1])...), '"')
		}
	}
	m = append(append(m, "] "...), ln.Body...)
	return append(strconv.AppendInt(make([]byte, 0, len(m)+12), int64(len(m)), 10), append([]byte{' '}, m...)...), nil
}

// escape is that of values in structured data (RFC 5424, section 6.3.3).
var escape = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `]`, `\]`)

// header is a value in the header: printable, without spaces, "-" when there is none.
func header(s string, longest int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), longest)]
}
