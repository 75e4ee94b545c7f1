package daemon

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/audit"
)

// AuditConfig is about the audit logs of the HSMs and of the control plane.
type AuditConfig struct {
	Sync       bool     `toml:"sync"`
	RotateSize Size     `toml:"rotate-size"`
	RotateAge  Duration `toml:"rotate-age"`
	Keep       int      `toml:"keep"`

	Syslog SyslogConfig `toml:"syslog"`
}

// options are those of every log.
func (c AuditConfig) options() audit.Options {
	return audit.Options{RotateSize: int64(c.RotateSize), RotateAge: time.Duration(c.RotateAge), Keep: c.Keep}
}

func (c *Config) checkAudit(bad *problems) {
	a := c.Audit
	if a.RotateSize != 0 && a.RotateSize < 64<<10 {
		bad.add("audit.rotate-size", "at least 64KiB, or 0 for files that grow for ever")
	}
	if a.RotateAge != 0 && a.RotateAge < Duration(time.Minute) {
		bad.add("audit.rotate-age", "at least 1m, or 0s for files of any age")
	}
	if a.Keep < 0 {
		bad.add("audit.keep", "at least 1, or 0 for all files")
	}
	a.Syslog.check(bad)
	if a.Keep > 0 && a.RotateSize == 0 && a.RotateAge == 0 {
		bad.add("audit.keep", "without audit.rotate-size or audit.rotate-age there is only one file")
	}
}

// Size is a number of bytes, written "512KiB", "64MiB" or "1GiB"; "0" is none.
type Size int64

var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	if string(b) == "0" {
		*s = 0
		return nil
	}
	for _, u := range units {
		number, ok := strings.CutSuffix(string(b), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err == nil && n > 0 && n <= math.MaxInt64/u.bytes && strconv.FormatInt(n, 10) == number {
			*s = Size(n * u.bytes)
			return nil
		}
	}
	return fmt.Errorf("%.40q is not a size such as 512KiB, 64MiB or 1GiB", b)
}

// String implements fmt.Stringer.
func (s Size) String() string {
	for _, u := range units {
		if s > 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
