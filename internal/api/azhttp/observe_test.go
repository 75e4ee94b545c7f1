package azhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

type seen struct{ all []Outcome }

func (s *seen) Answered(_ *Request, o Outcome) { s.all = append(s.all, o) }

// TestClientGone: that a client went away is no failure of the server; what fails for another reason is, even then.
func TestClientGone(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, stop := context.WithTimeout(t.Context(), 0)
	defer stop()
	for what, c := range map[string]struct {
		ctx          context.Context
		err          error
		status       int
		isGone, logs bool
	}{
		"gone":                       {gone, fmt.Errorf("wait for a turn: %w", context.Canceled), 503, true, false},
		"gone, in the store":         {gone, fmt.Errorf("%w: read: %w", hsm.ErrUnavailable, context.Canceled), 503, true, false},
		"gone, and something broken": {gone, hsm.ErrCorrupt, 500, false, true},
		"gone, and the caller's":     {gone, key.ErrNotFound, 404, false, false},
		"somebody else's end":        {t.Context(), context.Canceled, 503, false, true},
		"too late":                   {late, context.DeadlineExceeded, 503, false, true},
		"unknown":                    {t.Context(), errors.New("x"), 500, false, true},
		"the caller's":               {t.Context(), key.ErrNotFound, 404, false, false},
	} {
		w := httptest.NewRecorder()
		rq, err := NewRequest(w, httptest.NewRequestWithContext(c.ctx, "GET", "/keys", nil))
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		rq.Fail(slog.New(slog.NewTextHandler(&log, nil)), c.err, "")
		var s seen
		rq.Answered(Observers{&s})
		rq.Answered(nil)
		if len(s.all) != 1 || s.all[0].Gone != c.isGone || s.all[0].Status != c.status || w.Code != c.status || s.all[0].Code == "" || s.all[0].Took <= 0 {
			t.Errorf("%s: %+v, answered %d", what, s.all, w.Code)
		}
		if logged := strings.Contains(log.String(), "level=ERROR"); logged != c.logs {
			t.Errorf("%s: logged %q", what, log.String())
		}
	}
}
