package arm

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	"redoubt/internal/api/azhttp"
)

// maxPage is how many resources an answer lists at most. $top asks for fewer; the others are behind nextLink.
const maxPage = 100

// list is the shape of a page.
type list[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// page reads $top and $skiptoken: how many to answer, and behind which place in the list.
func (q *request) page() (top int, after string, err error) {
	top = maxPage
	if s := q.queryParam("$top"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return 0, "", badQuery("$top is a number of resources, 1 or more; got '" + clip(s) + "'.")
		}
		top = min(n, maxPage)
	}
	if s := q.queryParam("$skiptoken"); s != "" {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(b) > 1024 {
			return 0, "", badQuery("The $skiptoken is not one of this server. Begin the list again.")
		}
		after = string(b)
	}
	return top, after, nil
}

func badQuery(message string) error {
	return &azhttp.Problem{Status: http.StatusBadRequest, Code: "InvalidParameter", Message: message}
}

// paged answers a page; last is the place of its last entry, and more tells that others follow.
func paged[T any](q *request, page []T, last string, more bool) azhttp.Reply {
	l := list[T]{Value: page}
	if page == nil {
		l.Value = []T{}
	}
	if more {
		query := url.Values{"$skiptoken": {base64.RawURLEncoding.EncodeToString([]byte(last))}}
		for _, name := range []string{"api-version", "$top", "$filter"} {
			if v := q.queryParam(name); v != "" {
				query.Set(name, v)
			}
		}
		l.NextLink = q.endpoints().ResourceManager + q.URL.EscapedPath() + "?" + query.Encode()
	}
	return azhttp.Reply{Body: l}
}
