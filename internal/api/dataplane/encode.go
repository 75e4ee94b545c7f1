package dataplane

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"

	"redoubt/internal/key"
)

// The answers of cryptographic operations and of keys append their own JSON (azhttp.Appender), as encoding/json
// would write it: they are most of what is sent, and plaintexts among them must not lie in its buffers.

// AppendJSON implements azhttp.Appender.
func (r operationResult) AppendJSON(b []byte) []byte {
	b = appendText(append(b, `{"kid":`...), r.Kid)
	b = appendBytes(append(b, `,"value":`...), r.Value)
	b = appendSomeBytes(b, "iv", r.IV)
	b = appendSomeBytes(b, "tag", r.Tag)
	return append(appendSomeBytes(b, "aad", r.AAD), '}')
}

// bytesValue is an answer of nothing but a byte string.
type bytesValue struct {
	Value bytes64 `json:"value"`
}

// AppendJSON implements azhttp.Appender.
func (v bytesValue) AppendJSON(b []byte) []byte {
	return append(appendBytes(append(b, `{"value":`...), v.Value), '}')
}

// AppendJSON implements azhttp.Appender.
func (k keyBundle) AppendJSON(b []byte) []byte {
	b = k.Key.append(append(b, `{"key":`...))
	b = k.Attributes.append(append(b, `,"attributes":`...))
	b = appendTags(b, k.Tags)
	b = k.Release.append(b)
	return append(k.deletion.append(b), '}')
}

// AppendJSON implements azhttp.Appender.
func (k keyItem) AppendJSON(b []byte) []byte {
	b = appendText(append(b, `{"kid":`...), k.Kid)
	b = k.Attributes.append(append(b, `,"attributes":`...))
	b = appendTags(b, k.Tags)
	return append(k.deletion.append(b), '}')
}

// AppendJSON implements azhttp.Appender.
func (p page) AppendJSON(b []byte) []byte {
	b = append(b, `{"value":[`...)
	for i, item := range p.Value {
		if i > 0 {
			b = append(b, ',')
		}
		b = item.AppendJSON(b)
	}
	b = append(b, `],"nextLink":`...)
	if p.NextLink == nil {
		return append(b, "null}"...)
	}
	return append(appendText(b, *p.NextLink), '}')
}

func (k jsonWebKey) append(b []byte) []byte {
	b = appendText(append(b, `{"kid":`...), k.Kid)
	b = appendText(append(b, `,"kty":`...), k.Kty)
	b = append(b, `,"key_ops":[`...)
	for i, op := range k.KeyOps {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, string(op))
	}
	b = append(b, ']')
	b = appendSomeBytes(appendSomeBytes(b, "n", k.N), "e", k.E)
	b = appendSome(b, "crv", k.Crv)
	return append(appendSomeBytes(appendSomeBytes(b, "x", k.X), "y", k.Y), '}')
}

func (a attributes) append(b []byte) []byte {
	b = strconv.AppendBool(append(b, `{"enabled":`...), a.Enabled)
	b = appendNonZero(b, "nbf", a.NotBefore)
	b = appendNonZero(b, "exp", a.Expires)
	b = strconv.AppendInt(append(b, `,"created":`...), a.Created, 10)
	b = strconv.AppendInt(append(b, `,"updated":`...), a.Updated, 10)
	b = appendText(append(b, `,"recoveryLevel":`...), a.RecoveryLevel)
	b = strconv.AppendInt(append(b, `,"recoverableDays":`...), int64(a.RecoverableDays), 10)
	b = strconv.AppendBool(append(b, `,"exportable":`...), a.Exportable)
	b = appendSome(b, "hsmPlatform", a.HSMPlatform)
	b = appendNonZero(b, "key_size", int64(a.KeySize))
	return append(a.Attestation.append(b), '}')
}

func (a *keyAttestation) append(b []byte) []byte {
	if a == nil {
		return b
	}
	b = appendBytes(append(b, `,"attestation":{"certificatePemFile":`...), a.Certificates)
	b = appendBytes(append(b, `,"privateKeyAttestation":`...), a.Private)
	b = appendSomeBytes(b, "publicKeyAttestation", a.Public)
	return append(appendText(append(b, `,"version":`...), a.Version), '}')
}

func (p *releasePolicy) append(b []byte) []byte {
	if p == nil {
		return b
	}
	b = appendText(append(b, `,"release_policy":{"contentType":`...), p.ContentType)
	b = appendBytes(append(b, `,"data":`...), p.Data)
	return append(strconv.AppendBool(append(b, `,"immutable":`...), p.Immutable), '}')
}

func (d deletion) append(b []byte) []byte {
	b = appendSome(b, "recoveryId", d.RecoveryID)
	b = appendNonZero(b, "deletedDate", d.DeletedDate)
	return appendNonZero(b, "scheduledPurgeDate", d.ScheduledPurgeDate)
}

// appendTags appends the member tags, in the order of their names, unless there are none.
func appendTags(b []byte, tags map[string]string) []byte {
	if len(tags) == 0 {
		return b
	}
	var few [key.MaxTags]string
	names := few[:0]
	for name := range tags {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, `,"tags":`...)
	for i, name := range names {
		b = append(b, "{,"[min(i, 1)])
		b = appendText(append(appendText(b, name), ':'), tags[name])
	}
	return append(b, '}')
}

// appendText appends a JSON string. Names, addresses and most tags need no escapes.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			j, err := json.Marshal(s)
			if err != nil {
				panic(err) // no string fails
			}
			return append(b, j...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendBytes(b, value []byte) []byte {
	return append(base64.RawURLEncoding.AppendEncode(append(b, '"'), value), '"')
}

// appendMember appends one member of an object that has begun with others: a comma, the name, a colon.
func appendMember(b []byte, name string) []byte {
	return append(append(append(b, `,"`...), name...), `":`...)
}

// appendSome appends a member unless the text is empty.
func appendSome(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(appendMember(b, name), text)
}

// appendNonZero appends a member unless the number is zero.
func appendNonZero(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(appendMember(b, name), n, 10)
}

// appendSomeBytes appends a member unless the byte string is empty.
func appendSomeBytes(b []byte, name string, value []byte) []byte {
	if len(value) == 0 {
		return b
	}
	return appendBytes(appendMember(b, name), value)
}
