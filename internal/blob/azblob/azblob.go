// Package azblob keeps a blob container in Azure Storage, Azurite, or anything that speaks the same REST
// protocol (Blob service REST API, version 2021-12-02).
//
// It needs four calls of that protocol (Put Blob, Get Blob, List Blobs, Delete Blob), and speaks them
// with net/http alone. The vendor's SDK was set aside for three reasons: it links a columnar-data library into every
// program that uses it, its errors carry the signed URL, and Put's promise needs to know whether a
// refusal answers the first try or a later one, which the SDK hides.
//
// Rules that hold for every call: the credential goes only to the target's host, over https; a redirect
// is an error and is never followed; no error text contains the signature or token, whoever wrote the text;
// an account that cannot be reached is reported in about a quarter of a minute (Timing).
package azblob

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"redoubt/internal/blob"
)

const apiVersion = "2021-12-02"

// TokenSource gives an access token for the storage service and the time it expires. It is asked when the
// former token is about to expire or was refused.
type TokenSource func(ctx context.Context) (token string, expires time.Time, err error)

// Options say how to reach the account. Transport and exactly one of SAS and Token are required.
type Options struct {
	// Transport sends requests; it must not follow redirects, which no http.RoundTripper does. See NewTransport.
	Transport http.RoundTripper
	// SAS returns the shared access signature, without "?". It is read for each request, so that the
	// secret need not be kept here.
	SAS func() string
	// Token is the managed identity's token source.
	Token TokenSource
	// Timing bounds waiting; zero members mean the defaults.
	Timing Timing
	// PageSize is the number of objects asked for per page of a listing; 0 = the service's, 5000.
	PageSize int
}

// Container is a container of an account.
type Container struct {
	target blob.Target
	opt    Options
	timing Timing

	mu      sync.Mutex
	token   string    // guarded by mu; "" = none
	expires time.Time // guarded by mu
}

var _ blob.Container = (*Container)(nil)

// Open makes a container of a target that passed blob.ParseTarget. It sends nothing.
func Open(t blob.Target, o Options) (*Container, error) {
	if t.Account == "" || t.Container == "" || t.Host == "" {
		return nil, fmt.Errorf("open container: %w: the address was not checked", blob.ErrBadTarget)
	}
	if o.Transport == nil || (o.SAS == nil) == (o.Token == nil) {
		return nil, errors.New("open container: a transport and either a SAS or a token source are needed")
	}
	return &Container{target: t, opt: o, timing: o.Timing.withDefaults()}, nil
}

// URL implements blob.Container.
func (c *Container) URL() string { return c.target.URL() }

// Put implements blob.Container. The service refuses an existing name (If-None-Match: *). When a try got no
// clear answer and the next one finds the name taken, the object is read back: if it is what was to be
// stored, the lost answer was a yes.
func (c *Container) Put(ctx context.Context, name string, data []byte) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	resp, unclear, err := c.do(ctx, call{
		op: "put " + name, method: http.MethodPut, name: name, body: data, ok: http.StatusCreated,
		header: http.Header{
			"X-Ms-Blob-Type": {"BlockBlob"}, "If-None-Match": {"*"}, "Content-Type": {"application/octet-stream"},
		},
	})
	if err == nil {
		return resp.Close()
	}
	if unclear == nil || !errors.Is(err, blob.ErrExists) {
		return err
	}
	same, rerr := c.holds(ctx, name, data)
	switch {
	case rerr != nil:
		return fmt.Errorf("%w; whether that try stored the object cannot be told: %v", unclear, rerr)
	case same:
		return nil
	}
	return err
}

// holds tells whether the object is exactly data.
func (c *Container) holds(ctx context.Context, name string, data []byte) (bool, error) {
	r, info, err := c.Get(ctx, name)
	if err != nil {
		return false, err
	}
	defer r.Close()
	if info.Size != int64(len(data)) {
		return false, nil
	}
	chunk := make([]byte, 64<<10)
	for rest := data; len(rest) > 0; {
		n, err := io.ReadFull(r, chunk[:min(len(chunk), len(rest))])
		if err != nil {
			return false, err
		}
		if string(chunk[:n]) != string(rest[:n]) {
			return false, nil
		}
		rest = rest[n:]
	}
	return true, nil
}

// Get implements blob.Container. A connection that breaks midway is taken up again where it broke, as
// long as the object is still the same one (If-Match).
func (c *Container) Get(ctx context.Context, name string) (io.ReadCloser, blob.Info, error) {
	if err := blob.CheckName(name); err != nil {
		return nil, blob.Info{}, err
	}
	resp, _, err := c.do(ctx, call{op: "get " + name, method: http.MethodGet, name: name, ok: http.StatusOK})
	if err != nil {
		return nil, blob.Info{}, err
	}
	size := resp.length
	if size < 0 {
		return nil, blob.Info{}, errors.Join(fmt.Errorf("get %s: %w: the answer has no length", name, blob.ErrUnreachable), resp.Close())
	}
	r := &download{ctx: ctx, c: c, name: name, size: size, etag: resp.header.Get("ETag"), response: resp}
	return blob.Exactly(r, size), blob.Info{Name: name, Size: size}, nil
}

// Delete implements blob.Container.
func (c *Container) Delete(ctx context.Context, name string) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	resp, _, err := c.do(ctx, call{op: "delete " + name, method: http.MethodDelete, name: name, ok: http.StatusAccepted})
	if errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return resp.Close()
}

// listing is the part of List Blobs' answer that is used (EnumerationResults).
type listing struct {
	XMLName xml.Name `xml:"EnumerationResults"`
	Blobs   []struct {
		Name struct {
			Encoded bool   `xml:"Encoded,attr"`
			Text    string `xml:",chardata"`
		} `xml:"Name"`
		Size *int64 `xml:"Properties>Content-Length"`
	} `xml:"Blobs>Blob"`
	NextMarker string `xml:"NextMarker"`
}

const maxListing = 64 << 20 // bytes of one page; 5000 names of 1024 characters fit several times

// List implements blob.Container. The order is the service's: by name, except in accounts with
// hierarchical namespaces, which list folder by folder.
func (c *Container) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for marker := ""; ; {
			page, err := c.page(ctx, prefix, marker)
			if err == nil && page.NextMarker == marker && marker != "" {
				err = fmt.Errorf("list %s: %w: the listing does not advance", prefix, blob.ErrUnreachable)
			}
			if err != nil {
				yield(blob.Info{}, err)
				return
			}
			for _, b := range page.Blobs {
				name := b.Name.Text
				if b.Name.Encoded {
					if plain, err := url.PathUnescape(name); err == nil {
						name = plain
					}
				}
				info := blob.Info{Name: name}
				if b.Size != nil {
					info.Size = *b.Size
				}
				if !yield(info, nil) {
					return
				}
			}
			if marker = page.NextMarker; marker == "" {
				return
			}
		}
	}
}

// page gets one page of a listing.
func (c *Container) page(ctx context.Context, prefix, marker string) (listing, error) {
	q := url.Values{"restype": {"container"}, "comp": {"list"}}
	if prefix != "" {
		q.Set("prefix", prefix)
	}
	if marker != "" {
		q.Set("marker", marker)
	}
	if c.opt.PageSize > 0 {
		q.Set("maxresults", strconv.Itoa(c.opt.PageSize))
	}
	op := strings.TrimSpace("list " + prefix)
	resp, _, err := c.do(ctx, call{op: op, method: http.MethodGet, query: q.Encode(), ok: http.StatusOK})
	if err != nil {
		return listing{}, err
	}
	b, err := io.ReadAll(io.LimitReader(resp, maxListing))
	err = errors.Join(err, resp.Close())
	if err != nil {
		return listing{}, fmt.Errorf("%s: %w", op, err)
	}
	var page listing
	if err := xml.Unmarshal(b, &page); err != nil {
		return listing{}, fmt.Errorf("%s: %w: the answer is not a listing", op, blob.ErrUnreachable)
	}
	return page, nil
}
