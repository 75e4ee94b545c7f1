package dataplane

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

var keyRoutes = []route{
	{"POST", "keys/{name}/create", createKey},
	{"GET", "keys", listKeys},
	{"GET", "keys/{name}/versions", listVersions},
	{"GET", "keys/{name}", getKey},
	{"GET", "keys/{name}/{version}", getKey},
	{"PATCH", "keys/{name}", updateKey},
	{"PATCH", "keys/{name}/{version}", updateKey},
	{"DELETE", "keys/{name}", deleteKey},
	{"GET", "deletedkeys", listDeleted},
	{"GET", "deletedkeys/{name}", getDeleted},
	{"DELETE", "deletedkeys/{name}", purgeKey},
	{"POST", "deletedkeys/{name}/recover", recoverKey},
	{"POST", "rng", randomBytes},
}

func (q *request) name() (key.Name, error) { return key.ParseName(q.Param("name")) }

func (q *request) nameAndVersion() (key.Name, key.Version, error) {
	n, err := q.name()
	if err != nil {
		return "", "", err
	}
	v, err := key.ParseVersion(q.Param("version"))
	return n, v, err
}

// keyAttributes is what a client may set.
type keyAttributes struct {
	Enabled    *bool  `json:"enabled"`
	NotBefore  *int64 `json:"nbf"`
	Expires    *int64 `json:"exp"`
	Exportable *bool  `json:"exportable"`
}

// newKeyParameters is what creating and importing have in common.
type newKeyParameters struct {
	Attributes keyAttributes     `json:"attributes"`
	Tags       map[string]string `json:"tags"`
	Release    *releasePolicy    `json:"release_policy"`
}

func (p newKeyParameters) params(ops []string) key.CreateParams {
	out := key.CreateParams{Ops: ops, Enabled: p.Attributes.Enabled, Tags: p.Tags, Exportable: p.Attributes.Exportable, Release: p.Release.domain()}
	if p.Attributes.NotBefore != nil {
		out.NotBefore = *p.Attributes.NotBefore
	}
	if p.Attributes.Expires != nil {
		out.Expires = *p.Attributes.Expires
	}
	return out
}

type keyCreateParameters struct {
	newKeyParameters
	Kty            string   `json:"kty"`
	KeySize        int      `json:"key_size"`
	PublicExponent int      `json:"public_exponent"` // 0: the usual one; the Java client sends it for RSA keys of whose exponent its caller said nothing
	KeyOps         []string `json:"key_ops"`
	Crv            string   `json:"crv"`
}

func (p keyCreateParameters) params() (key.CreateParams, error) {
	t, err := key.ParseType(p.Kty)
	if err != nil {
		return key.CreateParams{}, err
	}
	spec, err := key.NewSpec(t, p.KeySize, key.Curve(p.Crv), p.PublicExponent)
	if err != nil {
		return key.CreateParams{}, err
	}
	out := p.newKeyParameters.params(p.KeyOps)
	out.Spec = spec
	return out, nil
}

func createKey(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body keyCreateParameters
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	p, err := body.params()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.bundleReply(q.hsm.CreateKey(q.Context(), q.who, n, p))
}

func (q *request) bundleReply(b hsm.Bundle, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(q.bundle(b))
}

func getKey(q *request) (azhttp.Reply, error) {
	n, v, err := q.nameAndVersion()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.bundleReply(q.hsm.GetKey(q.Context(), q.who, n, v))
}

func updateKey(q *request) (azhttp.Reply, error) {
	n, v, err := q.nameAndVersion()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		KeyOps     []string          `json:"key_ops"`
		Attributes keyAttributes     `json:"attributes"`
		Tags       map[string]string `json:"tags"`
		Release    *releasePolicy    `json:"release_policy"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	a := body.Attributes
	return q.bundleReply(q.hsm.UpdateKey(q.Context(), q.who, n, v,
		key.Change{Enabled: a.Enabled, NotBefore: a.NotBefore, Expires: a.Expires, Ops: body.KeyOps, Tags: body.Tags,
			Exportable: a.Exportable, Release: body.Release.domain()}))
}

func deleteKey(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.bundleReply(q.hsm.DeleteKey(q.Context(), q.who, n))
}

func getDeleted(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.bundleReply(q.hsm.GetDeletedKey(q.Context(), q.who, n))
}

func recoverKey(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.bundleReply(q.hsm.RecoverKey(q.Context(), q.who, n))
}

func purgeKey(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.Reply{Status: http.StatusNoContent}, q.hsm.PurgeKey(q.Context(), q.who, n)
}

func randomBytes(q *request) (azhttp.Reply, error) {
	var body struct {
		Count int `json:"count"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	b, err := q.hsm.RandomBytes(q.Context(), q.who, body.Count)
	return azhttp.Reply{Body: bytesValue{b}}, err
}

// page is one answer of a paged list.
type page struct {
	Value    []keyItem `json:"value"`
	NextLink *string   `json:"nextLink"`
}

const maxPage = 25

// paging reads maxresults and the continuation of a list request.
func (q *request) paging() (after string, limit int, err error) {
	v := q.URL.Query()
	limit = maxPage
	if s := v.Get("maxresults"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxPage {
			return "", 0, azhttp.Bad("maxresults is 1 to 25.")
		}
	}
	b, err := base64.RawURLEncoding.DecodeString(v.Get("$skiptoken"))
	if err != nil {
		return "", 0, azhttp.Bad("$skiptoken is not one this HSM gave out.")
	}
	return string(b), limit, nil
}

// nextLink is the URL of the following page: the client's own path and api-version, and a continuation.
func (q *request) nextLink(next string, limit int) *string {
	if next == "" {
		return nil
	}
	return q.continued(next, url.Values{"maxresults": {strconv.Itoa(limit)}})
}

// continued is the same URL with the parameters v and a continuation.
func (q *request) continued(next string, v url.Values) *string {
	v.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(next)))
	v.Set("api-version", q.version.String())
	s := q.base() + q.URL.EscapedPath() + "?" + v.Encode()
	return &s
}

func listKeys(q *request) (azhttp.Reply, error) {
	after, limit, err := q.paging()
	if err != nil {
		return azhttp.Reply{}, err
	}
	items, next, err := q.hsm.ListKeys(q.Context(), q.who, after, limit)
	return q.listReply(items, next, limit, false), err
}

func listDeleted(q *request) (azhttp.Reply, error) {
	after, limit, err := q.paging()
	if err != nil {
		return azhttp.Reply{}, err
	}
	items, next, err := q.hsm.ListDeleted(q.Context(), q.who, after, limit)
	return q.listReply(items, next, limit, false), err
}

func listVersions(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	after, limit, err := q.paging()
	if err != nil {
		return azhttp.Reply{}, err
	}
	items, next, err := q.hsm.ListVersions(q.Context(), q.who, n, after, limit)
	return q.listReply(items, next, limit, true), err
}

func (q *request) listReply(items []hsm.Bundle, next string, limit int, versions bool) azhttp.Reply {
	p := page{Value: []keyItem{}, NextLink: q.nextLink(next, limit)}
	for _, b := range items {
		v := key.Version("")
		if versions {
			v = b.Meta.Version
		}
		p.Value = append(p.Value, q.item(b, v))
	}
	return azhttp.Reply{Body: p}
}
