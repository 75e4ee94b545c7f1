package azhttp

import (
	"bytes"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

// blank tells whether nothing is left in b, up to its capacity.
func blank(b []byte) bool { return len(bytes.Trim(b[:cap(b)], "\x00")) == 0 }

// secretBody appends a secret to whatever buffer it is given.
type secretBody string

func (s secretBody) AppendJSON(b []byte) []byte { return append(append(append(b, '"'), s...), '"') }

// TestBuffersAreWiped: what a request or an answer carried is gone when the answer has been sent, also where
// the buffer had to grow.
func TestBuffersAreWiped(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, newSize - 1, newSize, newSize + 1, keepSize, 3 * keepSize} {
		for _, told := range []int64{int64(size), -1} {
			text := strings.Repeat("s", size)
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/", iotest.HalfReader(strings.NewReader(text)))
			r.ContentLength = told
			rq, err := NewRequest(httptest.NewRecorder(), r)
			if err != nil {
				t.Fatal(err)
			}
			first := newBuffer()
			rq.body = first
			before := first.b
			body, err := rq.ReadBody()
			if err != nil || string(body) != text {
				t.Fatalf("%d bytes: %d, %v", size, len(body), err)
			}
			if cap(body) != cap(before) && !blank(before) {
				t.Errorf("%d bytes: a copy is left where the buffer was before it grew", size)
			}
			rq.Send(Reply{Body: secretBody(text)})
			if !blank(body) {
				t.Errorf("%d bytes: the request's body is still there", size)
			}
		}
		out := newBuffer()
		before := out.b
		out.encode(secretBody(strings.Repeat("s", size)))
		sent := out.b
		if len(sent) != size+2 || cap(sent) != cap(before) && !blank(before) {
			t.Errorf("%d bytes: %d encoded", size, len(sent))
		}
		if out.free(); !blank(sent) {
			t.Errorf("%d bytes: the answer is still there", size)
		}
	}
}

// TestFailedReads: what came of a body that broke off is wiped as well.
func TestFailedReads(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", io.MultiReader(strings.NewReader("secret"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	rq, err := NewRequest(httptest.NewRecorder(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rq.ReadBody(); err == nil {
		t.Fatal("no error")
	}
	kept := rq.body.b
	if string(kept) != "secret" {
		t.Fatalf("%q", kept)
	}
	if rq.Send(Reply{}); !blank(kept) {
		t.Error("the beginning of the body is still there")
	}
}
