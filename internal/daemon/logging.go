package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"

	"redoubt/internal/api/azhttp"
)

// LogConfig is about what the server writes to standard error.
type LogConfig struct {
	Format string `toml:"format"`
	Level  string `toml:"level"`
	Access string `toml:"access"`
}

// Values of LogConfig.Access.
const (
	accessOff      = "off"
	accessFailures = "failures"
	accessAll      = "all"
)

func (c *Config) checkLog(bad *problems) {
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		bad.add("log.format", "%q is neither text nor json", c.Log.Format)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		bad.add("log.level", "%q is none of debug, info, warn and error", c.Log.Level)
	}
	if !slices.Contains([]string{accessOff, accessFailures, accessAll}, c.Log.Access) {
		bad.add("log.access", "%q is none of off, failures and all", c.Log.Access)
	}
}

// loggers are the server's own, and that of requests, which level does not concern; both write to w. Either
// format keeps a record on one line, whatever a client has put into it: text is quoted where it has to be.
func (c LogConfig) loggers(w io.Writer, verbose bool) (log, access *slog.Logger) {
	level := slog.LevelDebug
	if !verbose {
		_ = level.UnmarshalText([]byte(c.Level)) // checked
	}
	all := &slog.HandlerOptions{Level: slog.LevelDebug}
	var h slog.Handler = slog.NewTextHandler(w, all)
	if c.Format == "json" {
		h = slog.NewJSONHandler(w, all)
	}
	if c.Access != accessOff {
		access = slog.New(h)
	}
	return slog.New(atLeast{h, level}), access
}

// atLeast passes on what is at least as grave as level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

// Enabled implements slog.Handler.
func (a atLeast) Enabled(_ context.Context, l slog.Level) bool { return l >= a.level }

// WithAttrs implements slog.Handler.
func (a atLeast) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLeast{a.Handler.WithAttrs(attrs), a.level}
}

// WithGroup implements slog.Handler.
func (a atLeast) WithGroup(name string) slog.Handler {
	return atLeast{a.Handler.WithGroup(name), a.level}
}

// accessLog writes a record of every request, or of those that failed. It names who and what, under the id
// that the client was told; never a query, a header or a body, which may have secrets.
type accessLog struct {
	log   *slog.Logger
	plane string
	all   bool
}

// The longest pieces that a client can put into a record.
const (
	loggedPath = 512
	loggedID   = 128 // of x-ms-client-request-id: longer ones are not given back either
)

// Answered implements azhttp.Observer.
func (a accessLog) Answered(rq *azhttp.Request, o azhttp.Outcome) {
	if !a.all && !failure(o) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 16), slog.String("plane", a.plane), slog.String("request", rq.ID))
	if id := rq.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= loggedID {
		attrs = append(attrs, slog.String("clientRequest", id))
	}
	path, method := rq.URL.Path, rq.Method
	attrs = append(attrs, slog.String("method", method[:min(len(method), 16)]), slog.String("path", path[:min(len(path), loggedPath)]))
	if rq.Operation != 0 {
		attrs = append(attrs, slog.String("operation", rq.Operation.String()))
	}
	if rq.HSM != "" {
		attrs = append(attrs, slog.String("hsm", rq.HSM))
	}
	if rq.Principal != "" {
		attrs = append(attrs, slog.String("principal", rq.Principal))
	}
	ip, _, _ := net.SplitHostPort(rq.RemoteAddr)
	attrs = append(attrs, slog.String("address", ip))
	if o.Gone {
		attrs = append(attrs, slog.Bool("gone", true))
	} else {
		attrs = append(attrs, slog.Int("status", o.Status))
		if o.Code != "" {
			attrs = append(attrs, slog.String("code", o.Code))
		}
	}
	a.log.LogAttrs(rq.Context(), slog.LevelInfo, "request", append(attrs, slog.Float64("durationMs", float64(o.Took.Microseconds())/1000))...)
}

// failure tells of what somebody may want to look into. The challenge to a client that has not signed in yet is none:
// every client begins with it.
func failure(o azhttp.Outcome) bool {
	challenge := o.Status == 401 && o.Code == ""
	return (o.Status >= 400 || o.Gone) && !challenge
}
