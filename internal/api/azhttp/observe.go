package azhttp

import (
	"context"
	"errors"
	"time"
)

// Outcome is what became of a request.
type Outcome struct {
	Status int           // HTTP status
	Code   string        // of the error, in Azure's words; empty for a success
	Gone   bool          // the client went away before there was an answer: Status and Code are nobody's
	Took   time.Duration // from the end of the header to the last byte of the answer
}

// Observer is told of every request when it has been answered. The connection waits for it meanwhile, so it
// must be quick; it may keep nothing of the request.
type Observer interface{ Answered(rq *Request, o Outcome) }

// Observers are several, told in order.
type Observers []Observer

// Answered implements Observer.
func (all Observers) Answered(rq *Request, o Outcome) {
	for _, one := range all {
		one.Answered(rq, o)
	}
}

// Answered tells o, which may be nil, what became of the request. Call it once, after Send or Fail.
func (rq *Request) Answered(o Observer) {
	if o == nil {
		return
	}
	rq.outcome.Took = rq.Elapsed()
	o.Answered(rq, rq.outcome)
}

// gone tells that err is nothing but the client's having gone away.
func (rq *Request) gone(err error) bool {
	return errors.Is(err, context.Canceled) && errors.Is(rq.Context().Err(), context.Canceled)
}
