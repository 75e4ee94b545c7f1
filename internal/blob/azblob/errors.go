package azblob

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/blob"
)

// failure is one try's bad outcome. err has a sentinel of package blob wherever one fits, and no secret.
type failure struct {
	err        error
	again      bool          // another try may go better
	unclear    bool          // the try may have taken effect all the same
	renewToken bool          // the token was refused; worth one try with another
	after      time.Duration // the service asks for this pause
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// noAnswer describes a try that ended without a whole answer. err comes from the transport, which may
// quote the request, so it is never wrapped, only its cleaned text is kept.
func noAnswer(err, cause error, connected bool, cred credential) *failure {
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, blob.ErrBadTarget):
		text := redact(err.Error(), cred)
		if _, after, ok := strings.Cut(text, blob.ErrBadTarget.Error()+": "); ok {
			text = after
		}
		return &failure{err: fmt.Errorf("%w: %s", blob.ErrBadTarget, text)}
	case errors.Is(cause, errConnect):
		return &failure{err: fmt.Errorf("%w: %w", blob.ErrUnreachable, errConnect), again: true}
	case errors.Is(cause, errQuiet):
		return &failure{err: fmt.Errorf("%w: %w", blob.ErrUnreachable, errQuiet), unclear: true}
	case errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded):
		return &failure{err: cause, unclear: connected}
	case errors.As(err, &cert):
		return &failure{err: fmt.Errorf("%w: its certificate is not trusted: %s", blob.ErrUnreachable, redact(cert.Error(), cred))}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	text := redact(err.Error(), cred)
	text = strings.TrimPrefix(text, blob.ErrUnreachable.Error()+": ")
	return &failure{err: fmt.Errorf("%w: %s", blob.ErrUnreachable, text), again: true, unclear: connected}
}

// serviceError is the body of an error answer (Status and error codes, Blob service REST API).
type serviceError struct {
	XMLName xml.Name `xml:"Error"`
	Code    string   `xml:"Code"`
	Message string   `xml:"Message"`
	Detail  string   `xml:"AuthenticationErrorDetail"`
}

// sentinels by the service's error code. Codes that depend on more than themselves are in sentinel.
var sentinels = map[string]error{
	"BlobNotFound":                       blob.ErrNotFound,
	"ResourceNotFound":                   blob.ErrNotFound,
	"ContainerNotFound":                  blob.ErrNoContainer,
	"ContainerBeingDeleted":              blob.ErrNoContainer,
	"ContainerDisabled":                  blob.ErrNoContainer,
	"BlobAlreadyExists":                  blob.ErrExists,
	"UnauthorizedBlobOverwrite":          blob.ErrExists,
	"BlobImmutableDueToPolicy":           blob.ErrDenied,
	"AuthorizationPermissionMismatch":    blob.ErrDenied,
	"AuthorizationFailure":               blob.ErrDenied,
	"InsufficientAccountPermissions":     blob.ErrDenied,
	"AuthorizationSourceIPMismatch":      blob.ErrDenied,
	"AuthorizationProtocolMismatch":      blob.ErrDenied,
	"AccountIsDisabled":                  blob.ErrDenied,
	"KeyBasedAuthenticationNotPermitted": blob.ErrDenied,
	"PublicAccessNotPermitted":           blob.ErrBadCredential,
	"AuthorizationServiceMismatch":       blob.ErrBadCredential,
	"AuthorizationResourceTypeMismatch":  blob.ErrBadCredential,
	"NoAuthenticationInformation":        blob.ErrBadCredential,
	"InsufficientStorage":                blob.ErrFull,
	"ServerBusy":                         blob.ErrUnreachable,
	"OperationTimedOut":                  blob.ErrUnreachable,
	"InternalError":                      blob.ErrUnreachable,
}

var expiredWords = regexp.MustCompile(`(?i)expired|not valid in the specified time frame|not yet valid|lifetime validation`)

// sentinel finds the error kind of an answer.
func sentinel(status int, k call, e serviceError) error {
	if s := sentinels[e.Code]; s != nil {
		return s
	}
	switch {
	case e.Code == "AuthenticationFailed" || e.Code == "InvalidAuthenticationInfo" || status == http.StatusUnauthorized:
		if expiredWords.MatchString(e.Detail) || expiredWords.MatchString(e.Message) {
			return blob.ErrExpired
		}
		return blob.ErrBadCredential
	case k.method == http.MethodPut && (status == http.StatusConflict || status == http.StatusPreconditionFailed):
		return blob.ErrExists
	case status == http.StatusForbidden:
		return blob.ErrDenied
	case status == http.StatusNotFound && k.name != "" && k.method != http.MethodPut:
		return blob.ErrNotFound
	case status == http.StatusNotFound:
		return blob.ErrNoContainer
	case status == http.StatusInsufficientStorage:
		return blob.ErrFull
	case status >= 300 && status < 400:
		return blob.ErrBadTarget
	case status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests:
		return blob.ErrUnreachable
	}
	return errRefused
}

// refine tells apart what servers other than Azure's put under one code: a signature that is wrong or
// for another container, and one that has expired, which the token itself shows.
func refine(kind error, e serviceError, cred credential, now time.Time) error {
	if e.Code == "AuthorizationFailure" && strings.Contains(e.Message, "failed to authenticate") {
		kind = blob.ErrBadCredential
	}
	if !errors.Is(kind, blob.ErrBadCredential) && !errors.Is(kind, blob.ErrDenied) {
		return kind
	}
	if s, err := ParseSAS(cred.sas); err == nil && errors.Is(s.Check(now, ""), blob.ErrExpired) {
		return blob.ErrExpired
	}
	return kind
}

// errRefused is an answer that no sentinel of package blob describes.
var errRefused = errors.New("request refused")

const maxErrorBody = 16 << 10

// answered describes an answer other than success. It reads the body but does not close it.
func answered(status int, k call, r *response) *failure {
	body, _ := io.ReadAll(io.LimitReader(r, maxErrorBody)) // a body cut short only costs words
	var e serviceError
	if xml.Unmarshal(body, &e) != nil {
		e = serviceError{}
	}
	if code := r.header.Get("X-Ms-Error-Code"); code != "" {
		e.Code = code
	}
	kind := refine(sentinel(status, k, e), e, r.cred, time.Now())
	f := &failure{err: fmt.Errorf("%w: %s", kind, redact(describe(status, kind, e, r.cred), r.cred))}
	switch status {
	case http.StatusUnauthorized:
		f.renewToken = r.cred.token != ""
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		f.again, f.unclear = true, status != http.StatusTooManyRequests
		f.after = retryAfter(r.header)
	}
	return f
}

// describe says what the service said, and what to do about it.
func describe(status int, kind error, e serviceError, cred credential) string {
	text := fmt.Sprintf("the account answered %d", status)
	if e.Code != "" {
		text += " " + e.Code
	}
	message, _, _ := strings.Cut(strings.TrimSpace(e.Message), "\n")
	if message != "" {
		text += ": " + strings.TrimRight(message, " .\r")
	}
	if e.Detail != "" {
		text += " (" + strings.TrimSpace(e.Detail) + ")"
	}
	sas := cred.sas != ""
	switch {
	case errors.Is(kind, blob.ErrDenied) && sas:
		text += "; make a SAS token with the permissions this job needs, and check the account's firewall"
	case errors.Is(kind, blob.ErrDenied):
		text += "; give the managed identity the role Storage Blob Data Contributor on the account, and check the account's firewall"
	case errors.Is(kind, blob.ErrExpired) && sas:
		text += "; the SAS token is not valid at this time, make a new one"
	case errors.Is(kind, blob.ErrBadCredential) && sas:
		text += "; make a SAS token for this very container with a current key of its account"
	case errors.Is(kind, blob.ErrBadTarget):
		text += ", a redirect, which is never followed; give the account's own address"
	}
	return text
}

// retryAfter reads the pause the service asks for; 0 = none.
func retryAfter(h http.Header) time.Duration {
	if ms, err := strconv.Atoi(h.Get("X-Ms-Retry-After-Ms")); err == nil && ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil && s > 0 && s < 3600 {
		return time.Duration(s) * time.Second
	}
	return 0
}

var (
	sigPattern    = regexp.MustCompile(`(?i)\bsig(=|%3d)[^&\s"'<>]*`)
	bearerPattern = regexp.MustCompile(`(?i)\bbearer\s+[A-Za-z0-9._~+/=-]+`)
)

const (
	redacted = "(redacted)"
	maxText  = 600
)

// redact cuts the credential out of a text that somebody else wrote, in every spelling a URL can give it,
// and makes the text one short printable line.
func redact(text string, cred credential) string {
	for _, s := range cred.spellings() {
		text = strings.ReplaceAll(text, s, redacted)
	}
	text = sigPattern.ReplaceAllString(text, "sig="+redacted)
	text = bearerPattern.ReplaceAllString(text, "Bearer "+redacted)
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

var escapeCase = regexp.MustCompile(`%[0-9A-F]{2}`)

// spellings lists the secret parts of the credential as they may appear in a text, longest first.
func (c credential) spellings() []string {
	var out []string
	add := func(s string) {
		for _, v := range []string{s, escapeCase.ReplaceAllStringFunc(s, strings.ToLower), strings.Trim(s, "="), strings.Trim(strconv.Quote(s), `"`)} {
			if v != "" {
				out = append(out, v)
			}
		}
	}
	add(c.token)
	add(c.sas)
	for field := range strings.SplitSeq(c.sas, "&") {
		name, sig, _ := strings.Cut(field, "=")
		if !strings.EqualFold(name, "sig") {
			continue
		}
		add(sig)
		if plain, err := url.QueryUnescape(sig); err == nil {
			once := url.QueryEscape(plain)
			add(plain)
			add(once)
			add(url.PathEscape(plain))
			add(url.QueryEscape(once))
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}
