package dataplane

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
)

// TestReplaysAreBounded: whatever paths a caller without any permission tries, memory does not grow.
func TestReplaysAreBounded(t *testing.T) {
	t.Parallel()
	var r replays
	refused := errors.New("denied")
	for i := range 1000 {
		name := fmt.Sprintf("k%d", i)
		rq, err := azhttp.NewRequest(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "PUT", "/keys/"+name+"/restore", nil))
		if err != nil {
			t.Fatal(err)
		}
		rq.Header.Set("x-ms-client-request-id", name)
		rq.SetParam("name", name)
		q := &request{Request: rq, hsm: new(hsm.HSM), pattern: "keys/{name}/restore", replays: &r}
		if _, err := q.once(nil, func() (azhttp.Reply, error) { return azhttp.Reply{}, refused }); !errors.Is(err, refused) {
			t.Fatal(err)
		}
	}
	if len(r.m) != 1 {
		t.Errorf("%d replies are kept", len(r.m))
	}
}
