package storage

import (
	"net/http"
	"net/url"
	"strings"
)

// The strings to sign of the three kinds of shared access signature, by signed version (sv). Pages:
// learn.microsoft.com "Create a service SAS", "Create an account SAS", "Create a user delegation SAS".
// Versions are dates, so they compare as text.

// Versions at which a string to sign changed its form.
const (
	versionOldest         = "2015-04-05" // nothing older is accepted
	versionSignedResource = "2018-11-09" // sr, snapshot time
	versionAuthorizedOID  = "2020-02-10" // saoid, suoid, scid (user delegation)
	versionScope          = "2020-12-06" // ses
	versionDelegatedUser  = "2025-07-05" // skdutid, sduoid (user delegation)
	versionSignedRequest  = "2026-04-06" // srh, srq (user delegation)
)

// serviceString is signed with an account key; resource is "/blob/account/container[/blob]".
func (t *sas) serviceString(resource string) string {
	f := []string{t.permissions, t.start, t.expiry, resource, t.identifier}
	f = t.appendCommon(f)
	return strings.Join(append(f, t.overrides[:]...), "\n")
}

// delegationString is signed with a user delegation key. header and query are the request's: the SAS
// may pin some of them.
func (t *sas) delegationString(resource string, header http.Header, query url.Values) string {
	k := t.key
	f := []string{t.permissions, t.start, t.expiry, resource, k.oid, k.tid, k.start, k.expiry, k.service, k.version}
	if t.version >= versionAuthorizedOID {
		f = append(f, t.authorizedOID, t.unauthorizedOID, t.corrID)
	}
	if t.version >= versionDelegatedUser {
		f = append(f, k.delegatedTID, t.delegatedOID)
	}
	f = t.appendCommon(f)
	if t.version >= versionSignedRequest {
		headers, params := "", ""
		for _, n := range names(t.signedHeaders) {
			headers += n + ":" + header.Get(n) + "\n"
		}
		for _, n := range names(t.signedQuery) {
			params += "\n" + n + ":" + query.Get(n)
		}
		f = append(f, headers, params)
	}
	return strings.Join(append(f, t.overrides[:]...), "\n")
}

func names(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// appendCommon adds sip, spr, sv, sr, the snapshot time (never given here) and ses.
func (t *sas) appendCommon(f []string) []string {
	f = append(f, t.ip, t.protocol, t.version)
	if t.version >= versionSignedResource {
		f = append(f, t.resource, "")
	}
	if t.version >= versionScope {
		f = append(f, t.encryptionScope)
	}
	return f
}

// accountString is signed with an account key and ends in a newline.
func (t *sas) accountString(account string) string {
	f := []string{account, t.permissions, t.services, t.resourceTypes, t.start, t.expiry, t.ip, t.protocol, t.version}
	if t.version >= versionScope {
		f = append(f, t.encryptionScope)
	}
	return strings.Join(f, "\n") + "\n"
}
