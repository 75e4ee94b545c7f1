package storage

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// storageResource is the audience of tokens for blob storage, named in the challenge.
const storageResource = "https://storage.azure.com"

// authenticateBearer checks an access token. As in Azure it is refused over a plain connection, where
// anyone on the way could take it.
func (c *call) authenticateBearer(token string) (grant, error) {
	if !c.s.cfg.Secure(c.r) {
		return grant{}, authFailed("Authentication scheme Bearer is not supported over http.")
	}
	id, err := c.s.cfg.Authorizer.Bearer(c.r.Context(), strings.TrimSpace(token))
	switch {
	case err == nil && id != "":
		return grant{kind: grantBearer, principal: id}, nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return grant{}, err
	case err != nil:
		return grant{}, c.challenge("InvalidAuthenticationInfo", err.Error())
	}
	return grant{}, c.challenge("InvalidAuthenticationInfo", "the token names no principal")
}

// challenge is a refusal that tells the client where tokens come from.
func (c *call) challenge(code, detail string) *apiError {
	e := refuse(http.StatusUnauthorized, code, "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
	e.detail = detail
	uri := strings.TrimSuffix(c.s.cfg.Authority, "/") + "/oauth2/authorize"
	e.header = http.Header{"Www-Authenticate": {"Bearer authorization_uri=" + uri + " resource_id=" + storageResource}}
	return e
}

// delegationKey describes a user delegation key. Its value is derived from the account's key, so
// nothing is kept: a new account key revokes it, and so does taking away the principal's role, which
// is asked again at every use.
type delegationKey struct {
	oid, tid      string
	start, expiry string // as issued, YYYY-MM-DDThh:mm:ssZ
	service       string // "b"
	version       string
	delegatedTID  string
}

// maxDelegation is the longest life of a user delegation key.
const maxDelegation = 7 * 24 * time.Hour

func (d delegationKey) value(accountKey []byte) []byte {
	return sign(accountKey, strings.Join([]string{"user delegation key", d.oid, d.tid, d.start, d.expiry, d.service, d.version, d.delegatedTID}, "\n"))
}

// userDelegationKey issues a key with which the caller can sign a SAS in its own name.
func (c *call) userDelegationKey() error {
	r, _, err := c.body()
	if err != nil {
		return err
	}
	var in struct {
		XMLName      xml.Name `xml:"KeyInfo"`
		Start        string
		Expiry       string
		DelegatedTid string `xml:"DelegatedUserTid"`
	}
	if err := decodeXML(io.LimitReader(r, 64<<10), &in); err != nil {
		return err
	}
	start, expiry := c.now, time.Time{}
	if in.Start != "" {
		if start, err = parseSASTime(in.Start); err != nil {
			return badXMLValue("Start")
		}
	}
	if expiry, err = parseSASTime(in.Expiry); err != nil {
		return badXMLValue("Expiry")
	}
	if !expiry.After(c.now) || !expiry.After(start) || expiry.Sub(c.now) > maxDelegation+maxClockSkew || start.Sub(c.now) > maxDelegation {
		return badXMLValue("Expiry (a user delegation key lives at most seven days)")
	}
	const layout = "2006-01-02T15:04:05Z"
	d := delegationKey{
		oid: c.grant.principal, tid: c.s.cfg.TenantID, service: "b", version: c.version, delegatedTID: in.DelegatedTid,
		start: start.UTC().Format(layout), expiry: expiry.UTC().Format(layout),
	}
	if len(c.account.Keys) == 0 {
		return errAuthorization
	}
	writeXML(c.w, http.StatusOK, struct {
		XMLName      xml.Name `xml:"UserDelegationKey"`
		Oid          string   `xml:"SignedOid"`
		Tid          string   `xml:"SignedTid"`
		Start        string   `xml:"SignedStart"`
		Expiry       string   `xml:"SignedExpiry"`
		Service      string   `xml:"SignedService"`
		Version      string   `xml:"SignedVersion"`
		DelegatedTid string   `xml:"SignedDelegatedUserTid,omitempty"`
		Value        string
	}{Oid: d.oid, Tid: d.tid, Start: d.start, Expiry: d.expiry, Service: d.service, Version: d.version, DelegatedTid: d.delegatedTID,
		Value: base64.StdEncoding.EncodeToString(d.value(c.account.Keys[0]))})
	return nil
}

func badXMLValue(name string) *apiError {
	return refuse(400, "InvalidXmlNodeValue", "The value for one of the XML nodes is not in the correct format: "+name+".")
}

// decodeXML reads one document and nothing after it.
func decodeXML(r io.Reader, v any) error {
	d := xml.NewDecoder(r)
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errIncompleteBody
		}
		return errBadXML
	}
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errBadXML
		}
		switch t := t.(type) {
		case xml.StartElement, xml.EndElement:
			return errBadXML
		case xml.CharData:
			if strings.TrimSpace(string(t)) != "" {
				return errBadXML
			}
		}
	}
}
