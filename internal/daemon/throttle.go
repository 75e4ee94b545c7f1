package daemon

import (
	"time"

	"redoubt/internal/throttle"
)

// strangersBurst is how many seconds' worth of requests without a good token an address may send at once: every
// client begins with one, and many may stand behind one address.
const strangersBurst = 4

// throttle makes the limits of requests.
func (l LimitsConfig) throttle(clock func() time.Time) *throttle.Limits {
	burst := l.Burst
	if burst == 0 {
		burst = 2 * l.RequestsPerSecond
	}
	return throttle.New(throttle.Config{PerSecond: float64(l.RequestsPerSecond), Burst: burst,
		StrangersPerSecond: float64(l.UnauthenticatedPerSecond), StrangersBurst: strangersBurst * l.UnauthenticatedPerSecond, Clock: clock})
}
