package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Error is an answer that says no.
type Error struct {
	Status    int    // HTTP status; 200 for a long-running operation that failed
	Code      string // the service's code, such as Forbidden
	Inner     string // code of innererror, such as NotActivated, or empty
	Message   string
	RequestID string
}

// Error is "(Code) message", as az prints it.
func (e *Error) Error() string {
	code := e.Code
	if e.Inner != "" {
		code += "/" + e.Inner
	}
	s := fmt.Sprintf("(%s) %s", code, e.Message)
	if e.RequestID != "" && !strings.Contains(s, e.RequestID) {
		s += " (request " + e.RequestID + ")"
	}
	return s
}

// IsNotFound tells whether err is the service's "no such thing".
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// IsConflict tells whether err is a 409.
func IsConflict(err error) bool { return hasStatus(err, http.StatusConflict) }

func hasStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}

type wireError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   *struct {
			Code string `json:"code"`
		} `json:"innererror"`
	} `json:"error"`
}

const maxShown = 300 // characters of a body that is not an error document

// parseError makes an Error of an answer.
func parseError(status int, header http.Header, body []byte) *Error {
	e := &Error{Status: status, RequestID: header.Get("x-ms-request-id")}
	var w wireError
	if json.Unmarshal(body, &w) == nil && w.Error.Code != "" {
		e.Code, e.Message = w.Error.Code, w.Error.Message
		if w.Error.Inner != nil {
			e.Inner = w.Error.Inner.Code
		}
		return e
	}
	e.Code = header.Get("x-ms-error-code") // the blob service, whose bodies are XML
	if e.Code == "" {
		e.Code = fmt.Sprint(status)
	}
	e.Message = strings.ToValidUTF8(strings.TrimSpace(string(body)), "?")
	if len(e.Message) > maxShown {
		e.Message = e.Message[:maxShown] + "..."
	}
	if e.Message == "" || strings.HasPrefix(e.Message, "<") {
		e.Message = "the server answered " + http.StatusText(status)
	}
	if status >= 300 && status < 400 {
		e.Message = "the server answered with a redirect, which is never followed"
	}
	return e
}
