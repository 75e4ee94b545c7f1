package azblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"SAS": func(o *Options) { o.PageSize = 2 }, "Token": withToken,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			blobtest.Run(t, func(t *testing.T) blob.Container { return a.open(t, change) }, func(t *testing.T) blob.Container {
				gone := newAccount(t)
				gone.gone = true
				return gone.open(t, change)
			})
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	target := blob.Target{Account: "acct", Container: "cont", Host: "acct.blob.core.test"}
	sas := func() string { return testSAS("r") }
	token := TokenSource(func(context.Context) (string, time.Time, error) { return "", time.Time{}, nil })
	for i, o := range []Options{{}, {SAS: sas}, {Transport: http.DefaultTransport}, {Transport: http.DefaultTransport, SAS: sas, Token: token}} {
		if _, err := Open(target, o); err == nil {
			t.Errorf("options %d are accepted", i)
		}
	}
	if _, err := Open(blob.Target{}, Options{Transport: http.DefaultTransport, SAS: sas}); !errors.Is(err, blob.ErrBadTarget) {
		t.Errorf("zero target: %v", err)
	}
}

// every runs the four calls and returns their errors.
func every(ctx context.Context, c blob.Container) map[string]error {
	out := map[string]error{"put": c.Put(ctx, "f/new", []byte("x")), "delete": c.Delete(ctx, "f/old")}
	_, out["get"] = blobtest.ReadAll(ctx, c, "f/old")
	for _, err := range c.List(ctx, "f/") {
		out["list"] = errors.Join(out["list"], err)
	}
	return out
}

// TestAnswers: what the service may answer, the sentinel it becomes, the words it must keep, and no secret
// in any of it although the service echoes both.
func TestAnswers(t *testing.T) {
	t.Parallel()
	echoes := map[string]string{"SAS": " [" + canarySig + " sig=CANARY%2bsig]", "token": " [" + canaryToken + " Bearer " + canaryToken + "]"}
	for _, tc := range []struct {
		status               int
		code, message, words string
		detail               string
		want                 error
	}{
		{status: 403, code: "AuthenticationFailed", detail: "Signature not valid in the specified time frame: Start [x] - Expiry [y]", want: blob.ErrExpired, words: "time frame"},
		{status: 403, code: "AuthenticationFailed", detail: "Signature fields not well formed.", want: blob.ErrBadCredential, words: "well formed"},
		{status: 403, code: "AuthenticationFailed", detail: "Signature did not match.", want: blob.ErrBadCredential},
		{status: 403, code: "AuthorizationPermissionMismatch", message: "not authorized using this permission", want: blob.ErrDenied, words: "this permission"},
		{status: 403, code: "AuthorizationFailure", want: blob.ErrDenied, words: "firewall"},
		{status: 403, code: "AuthorizationFailure", message: "Server failed to authenticate the request.", want: blob.ErrBadCredential},
		{status: 403, code: "AuthorizationResourceTypeMismatch", want: blob.ErrBadCredential},
		{status: 403, want: blob.ErrDenied},
		{status: 401, code: "NoAuthenticationInformation", want: blob.ErrBadCredential},
		{status: 404, code: "ContainerNotFound", want: blob.ErrNoContainer},
		{status: 409, code: "ContainerBeingDeleted", want: blob.ErrNoContainer},
		{status: 507, want: blob.ErrFull},
		{status: 302, want: blob.ErrBadTarget, words: "redirect"},
		{status: 308, want: blob.ErrBadTarget, words: "redirect"},
		{status: 400, code: "InvalidUri", want: errRefused, words: "InvalidUri"},
		{status: 503, code: "ServerBusy", want: blob.ErrUnreachable, words: "ServerBusy"},
		{status: 500, code: "InternalError", want: blob.ErrUnreachable},
		{status: 502, want: blob.ErrUnreachable},
		{status: 200, want: nil},
	} {
		for credential, change := range map[string]func(*Options){"SAS": nil, "token": withToken} {
			a, echo := newAccount(t), echoes[credential]
			a.before = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Location", "https://acct.blob.core.test"+r.URL.RequestURI())
				if tc.status != 200 {
					fail(w, tc.status, tc.code, tc.message+echo, tc.detail+echo)
				}
				return true
			}
			for op, err := range every(t.Context(), a.open(t, change)) {
				clean(t, err)
				if tc.status == 200 && (op == "get" || op == "list") {
					continue // an empty object; an answer that is no listing
				}
				if tc.status == 200 {
					if err == nil {
						t.Errorf("%s: a 200 passes for success", op)
					}
					continue
				}
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.words) {
					t.Errorf("%s with %s, %d %s: %v, want %v with %q", op, credential, tc.status, tc.code, err, tc.want, tc.words)
				}
			}
			if limit := 4 * 5; a.count() > limit {
				t.Errorf("%d %s: %d requests for 4 calls", tc.status, tc.code, a.count())
			}
		}
	}
}

// TestExpiredMeanwhile: a token that ended during the job is reported as that, whatever the server calls it.
func TestExpiredMeanwhile(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"AuthenticationFailed", "AuthorizationFailure", ""} {
		a := newAccount(t)
		a.before = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			fail(w, 403, code, "Server failed to authenticate the request.", "")
			return true
		}
		c := a.open(t, func(o *Options) {
			o.SAS = func() string { return strings.Replace(testSAS("racwdl"), "se=2099", "se=2025", 1) }
		})
		for op, err := range every(t.Context(), c) {
			if clean(t, err); !errors.Is(err, blob.ErrExpired) {
				t.Errorf("%s, %q: %v", op, code, err)
			}
		}
	}
}

func TestNotFoundAndExists(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.set("f/new", "other")
	c := a.open(t, nil)
	errs := every(t.Context(), c)
	if !errors.Is(errs["put"], blob.ErrExists) || !errors.Is(errs["get"], blob.ErrNotFound) || errs["delete"] != nil || errs["list"] != nil {
		t.Errorf("%v", errs)
	}
}

// TestPermissions: with crdw everything but the listing works, with rl the reading half.
func TestPermissions(t *testing.T) {
	t.Parallel()
	for sp, denied := range map[string]string{"crdw": "list", "rl": "put delete", "r": "put delete list"} {
		a := newAccount(t)
		a.set("f/old", "x")
		c := a.open(t, func(o *Options) { o.SAS = func() string { return testSAS(sp) } })
		for op, err := range map[string]error{"put": c.Put(t.Context(), "f/new", nil), "get": second(blobtest.ReadAll(t.Context(), c, "f/old"))} {
			if strings.Contains(denied, op) != errors.Is(err, blob.ErrDenied) {
				t.Errorf("%s with %s: %v", op, sp, err)
			}
			clean(t, err)
		}
		for op, err := range every(t.Context(), a.open(t, func(o *Options) { o.SAS = func() string { return testSAS(sp) } })) {
			if op != "get" && op != "put" && strings.Contains(denied, op) != errors.Is(err, blob.ErrDenied) {
				t.Errorf("%s with %s: %v", op, sp, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestPutAgain: the fault pair of every write, and what the retry makes of it.
func TestPutAgain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		lost   bool   // the first try has no effect; otherwise it is stored and its answer lost
		status int    // how it ends: 0 = connection dropped, else this answer
		other  string // content that somebody else put there before
		sp     string
		want   error
	}{
		{name: "lost", lost: true, sp: "cr"},
		{name: "stored", sp: "cr"},
		{name: "stored, then 500", status: 500, sp: "cr"},
		{name: "lost, then 503", lost: true, status: 503, sp: "cr"},
		{name: "lost, taken by another", lost: true, other: "different!", sp: "cr", want: blob.ErrExists},
		{name: "lost, taken by another of other length", lost: true, other: "different", sp: "cr", want: blob.ErrExists},
		{name: "stored, cannot look", sp: "c", want: blob.ErrUnreachable},
		{name: "busy is a clear no", lost: true, status: 429, other: "0123456789", sp: "cr", want: blob.ErrExists},
	} {
		a := newAccount(t)
		if tc.other != "" {
			a.set("n", tc.other)
		}
		fault := func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n != 1 {
				return false
			}
			if tc.status != 0 {
				fail(w, tc.status, "ServerBusy", "", "")
			} else {
				drop(w)
			}
			return true
		}
		if tc.lost {
			a.before = fault
		} else {
			a.after = fault
		}
		c := a.open(t, func(o *Options) { o.SAS = func() string { return testSAS(tc.sp) } })
		err := c.Put(t.Context(), "n", []byte("0123456789"))
		if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		clean(t, err)
		if got, _ := a.get("n"); err == nil && got != "0123456789" {
			t.Errorf("%s: stored %q", tc.name, got)
		}
	}
}

// TestResume: a download whose connection breaks goes on where it was, unless the object has changed.
func TestResume(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("0123456789abcdef", 64<<10)
	for _, tc := range []struct {
		name    string
		breaks  int
		changes bool
		shift   int // the account sends another range than asked for
		want    error
	}{
		{name: "once", breaks: 1}, {name: "four times", breaks: 4}, {name: "too often", breaks: 5, want: blob.ErrUnreachable},
		{name: "changed", breaks: 1, changes: true, want: errRefused},
		{name: "other range", breaks: 2, shift: 1, want: blob.ErrUnreachable},
	} {
		a := newAccount(t)
		a.set("n", data)
		a.before = func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n > tc.breaks {
				if tc.changes {
					a.set("n", data)
				}
				return false
			}
			var from int
			status := http.StatusOK
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
				status, from = http.StatusPartialContent, from-tc.shift
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			}
			w.Header().Set("ETag", `"e"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
			w.WriteHeader(status)
			_, _ = io.WriteString(w, data[from:from+100_000])
			return true
		}
		a.objects["n"] = object{data, `"e"`}
		got, err := blobtest.ReadAll(t.Context(), a.open(t, nil), "n")
		if !errors.Is(err, tc.want) || tc.want == nil && (err != nil || string(got) != data) {
			t.Errorf("%s: %d bytes, %v, want %v", tc.name, len(got), err, tc.want)
		}
		clean(t, err)
	}
}

// TestToken: one token serves until it is refused; then another is fetched, once.
func TestToken(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.token = "second-" + canaryToken
	var asked atomic.Int32
	c := a.open(t, func(o *Options) {
		o.SAS = nil
		o.Token = func(context.Context) (string, time.Time, error) {
			if asked.Add(1) == 1 {
				return canaryToken, time.Now().Add(time.Hour), nil
			}
			return "second-" + canaryToken, time.Now().Add(time.Hour), nil
		}
	})
	for i := range 3 {
		if err := c.Put(t.Context(), fmt.Sprint("n", i), nil); err != nil {
			t.Error(err)
		}
	}
	if asked.Load() != 2 {
		t.Errorf("%d tokens fetched, want 2", asked.Load())
	}
	a.mu.Lock()
	a.token = "none of ours"
	a.mu.Unlock()
	err := c.Put(t.Context(), "n9", nil)
	if clean(t, err); !errors.Is(err, blob.ErrExpired) || asked.Load() != 3 {
		t.Errorf("refused twice: %v after %d tokens", err, asked.Load())
	}
	for _, source := range []TokenSource{
		func(context.Context) (string, time.Time, error) { return "", time.Time{}, nil },
		func(context.Context) (string, time.Time, error) { return "a\r\nb", time.Time{}, nil },
		func(context.Context) (string, time.Time, error) {
			return canaryToken, time.Time{}, errors.New("refused " + canaryToken)
		},
	} {
		c := a.open(t, func(o *Options) { o.SAS, o.Token = nil, source })
		err := c.Put(t.Context(), "n", nil)
		if clean(t, err); !errors.Is(err, blob.ErrBadCredential) {
			t.Errorf("bad token source: %v", err)
		}
	}
}
