package storage

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// apiError is a refusal as Azure Storage words it: an HTTP status, a code that programs compare, a
// message for people and, for authentication, a detail that tells what was wrong.
type apiError struct {
	status  int
	code    string
	message string
	detail  string // AuthenticationErrorDetail
	header  http.Header
}

func (e *apiError) Error() string {
	if e.detail != "" {
		return e.code + ": " + e.detail
	}
	return e.code + ": " + e.message
}

func refuse(status int, code, message string) *apiError {
	return &apiError{status: status, code: code, message: message}
}

const authFailedMessage = "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature."

// authFailed is 403 AuthenticationFailed: the credential itself is wrong.
func authFailed(format string, args ...any) *apiError {
	return &apiError{status: http.StatusForbidden, code: "AuthenticationFailed", message: authFailedMessage, detail: fmt.Sprintf(format, args...)}
}

// Refusals that several operations give. Treat as constants.
var (
	errContainerNotFound = refuse(404, "ContainerNotFound", "The specified container does not exist.")
	errContainerExists   = refuse(409, "ContainerAlreadyExists", "The specified container already exists.")
	errBlobNotFound      = refuse(404, "BlobNotFound", "The specified blob does not exist.")
	errBlobExists        = refuse(409, "BlobAlreadyExists", "The specified blob already exists.")
	errConditionNotMet   = refuse(412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
	errNotModified       = refuse(304, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
	errMD5Mismatch       = refuse(400, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
	errCRC64Mismatch     = refuse(400, "Crc64Mismatch", "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.")
	errInvalidMD5        = refuse(400, "InvalidMd5", "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64-encoded.")
	errInvalidBlockList  = refuse(400, "InvalidBlockList", "The specified block list is invalid.")
	errInvalidBlockID    = refuse(400, "InvalidBlockId", "The specified block ID is invalid. The block ID must be Base64-encoded and at most 64 bytes long.")
	errNoLength          = refuse(411, "MissingContentLengthHeader", "The Content-Length header was not specified.")
	errBodyTooLarge      = refuse(413, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit.")
	errIncompleteBody    = refuse(400, "IncompleteBody", "The request body ended before the announced Content-Length.")
	errBadXML            = refuse(400, "InvalidXmlDocument", "XML specified is not syntactically valid.")
	errInvalidURI        = refuse(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
	errBlobOverwrite     = refuse(403, "UnauthorizedBlobOverwrite", "This request is not authorized to perform blob overwrites.")
	errPermission        = refuse(403, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission.")
	errAuthorization     = refuse(403, "AuthorizationFailure", "This request is not authorized to perform this operation.")
	errInternal          = refuse(500, "InternalError", "The server encountered an internal error. Please retry the request.")
	// errNoSpace is this server's own: Azure never runs out. 507 is not among the statuses that the Go
	// SDK retries, so a full disk is reported at once.
	errNoSpace = refuse(http.StatusInsufficientStorage, "InsufficientStorage", "The disk of the storage server is full. Free some space, then repeat the request.")
)

func notImplemented(what string) *apiError {
	return refuse(http.StatusNotImplemented, "NotImplemented", "The requested operation is not implemented on the specified resource: "+what+" is not offered by this server.")
}

func badHeader(name string) *apiError {
	return refuse(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format: "+name+".")
}

func missingHeader(name string) *apiError {
	return refuse(400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified: "+name+".")
}

func badQuery(name string) *apiError {
	return refuse(400, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid: "+name+".")
}

// asAPIError finds the answer for any error of an operation. known is false when the cause is ours and
// belongs into the log.
func asAPIError(err error) (e *apiError, known bool) {
	switch {
	case errors.As(err, &e):
		return e, true
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errNoSpace, true
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errIncompleteBody, true
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return errBodyTooLarge, true
	}
	return errInternal, false
}

// writeError sends e in Azure's shape. HEAD and 304 answers have no body; the code is in a header too.
func writeError(w http.ResponseWriter, head bool, requestID string, now time.Time, e *apiError) {
	h := w.Header()
	for k, v := range e.header {
		h[k] = v
	}
	h.Set("x-ms-error-code", e.code)
	if head || e.status == http.StatusNotModified {
		w.WriteHeader(e.status)
		return
	}
	body := struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
		Detail  string `xml:"AuthenticationErrorDetail,omitempty"`
	}{
		Code:    e.code,
		Message: e.message + "\nRequestId:" + requestID + "\nTime:" + now.Format("2006-01-02T15:04:05.0000000Z"),
		Detail:  e.detail,
	}
	writeXML(w, e.status, body)
}

// writeXML sends v as a document; v must be encodable.
func writeXML(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?>`)
	if err := xml.NewEncoder(&b).Encode(v); err != nil {
		panic(fmt.Sprintf("storage: %T does not encode: %v", v, err))
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client is gone; nobody is left to tell
}
