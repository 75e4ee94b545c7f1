package azhttp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Pace is how slowly a request body may come: it has Grace from the end of the header on, and one second
// more for each Rate bytes that have come. It holds for bodies nobody reads, too: the server waits for the
// rest of a short one before it sends a refusal.
type Pace struct {
	Grace time.Duration
	Rate  int64 // bytes per second
}

// BodyPace is what the server's front allows.
var BodyPace = Pace{Grace: 20 * time.Second, Rate: 16 << 10}

// Limit puts r's body under the pace. Call it once, before anything reads the body. A read that comes too
// late fails with an error that is both os.ErrDeadlineExceeded and io.ErrUnexpectedEOF.
func (p Pace) Limit(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	b := &pacedBody{ReadCloser: r.Body, pace: p, conn: http.NewResponseController(w), start: time.Now()}
	if b.extend() == nil { // not every ResponseWriter has deadlines; then there is nothing to limit
		r.Body = b
	}
}

// LimitBody puts r's body under BodyPace.
func LimitBody(w http.ResponseWriter, r *http.Request) { BodyPace.Limit(w, r) }

type pacedBody struct {
	io.ReadCloser
	pace  Pace
	conn  *http.ResponseController
	start time.Time
	got   int64
}

func (b *pacedBody) extend() error {
	return b.conn.SetReadDeadline(b.start.Add(b.pace.Grace + time.Duration(b.got)*time.Second/time.Duration(b.pace.Rate)))
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.got += int64(n)
	switch {
	case errors.Is(err, io.EOF):
		// From here on the server watches the connection for the client's going away; a deadline would end
		// the request's context.
		_ = b.conn.SetReadDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("the request body came too slowly: %w: %w", io.ErrUnexpectedEOF, err)
	case err == nil && n > 0:
		err = b.extend()
	}
	return n, err
}

func tooSlow(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
