// Package storage answers for Azure Blob Storage accounts: the part of the service that genuine
// clients use to make a container, sign for it, and move block blobs in and out. It exists so that a
// backup can be rehearsed, SAS and all, on a machine that has nothing but this program.
//
// Credentials are really checked: SharedKey and SharedKeyLite request signatures, service SAS for a
// container (sr=c) and a blob (sr=b), account SAS, user delegation SAS, and bearer tokens. A request is
// authorized before a byte of its body is read.
//
// Content lives in a folder (see disk.go) and survives a restart. A write that was answered with
// success is on the medium; one that was not is absent or complete, never partial.
//
// Not offered, and answered with 501 NotImplemented rather than silently ignored: append and page
// blobs, copies, snapshots, versions, leases, tiers, tags, batches and customer-provided encryption
// keys. Stored access policies (403) and public access (409) are refused too.
package storage

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Account is one storage account.
type Account struct {
	Name string   // lower case, 3 to 24 letters and digits
	Keys [][]byte // its access keys, decoded from base64; any of them signs
	// Spelling is the name as the account was made with, if it has capitals: clients sign the name as they
	// were given it, so a signature over this spelling holds as well.
	Spelling string
}

// spellings are the names that a signature may cover.
func (a Account) spellings() []string {
	if a.Spelling == "" || a.Spelling == a.Name {
		return []string{a.Name}
	}
	return []string{a.Name, a.Spelling}
}

// Accounts knows which accounts exist. Account is called once per request, with a lower-case name.
type Accounts interface {
	Account(name string) (Account, bool)
}

// Authorizer decides about principals. Both methods are called from any goroutine.
type Authorizer interface {
	// Bearer verifies an access token for the storage audience and names its principal (an object id).
	// The text of a refusal is shown to the client, so it must not contain the token.
	Bearer(ctx context.Context, token string) (principalID string, err error)
	// MayData says whether a principal may read (or write) data of a container. container is "" for
	// what concerns the account itself, such as listing its containers.
	MayData(principalID, account, container string, write bool) bool
}

// Config is what New needs. Dir, Accounts and Authorizer are required.
type Config struct {
	// Dir holds everything. One process at a time may use it.
	Dir        string
	Accounts   Accounts
	Authorizer Authorizer
	// Suffixes are the domains an account may be a label of, such as "blob.core.windows.net". A port in
	// them is ignored. None: whatever follows the first label is accepted.
	Suffixes []string
	// TenantID and Authority (https://login.example/{tenant}) go into the bearer challenge and into
	// user delegation keys.
	TenantID  string
	Authority string
	// Secure says whether the client's connection was encrypted. nil: the request arrived over TLS.
	// To be set where TLS ends before this handler.
	Secure func(*http.Request) bool
	Clock  func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: discarded. Never sees a query string, which may hold a SAS
	// MaxBody limits one request body, in bytes (Put Blob or one block). 0: 256 MiB.
	MaxBody int64
	// MaxBlob limits a blob made of blocks, in bytes. 0: 64 GiB.
	MaxBlob int64
}

type server struct {
	cfg  Config
	disk *disk
}

// New returns the handler of every account's blob endpoint. It removes from Dir what an interrupted
// write left behind.
func New(cfg Config) http.Handler {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Secure == nil {
		cfg.Secure = func(r *http.Request) bool { return r.TLS != nil }
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 256 << 20
	}
	if cfg.MaxBlob == 0 {
		cfg.MaxBlob = 64 << 30
	}
	s := &server{cfg: cfg, disk: newDisk(cfg.Dir)}
	if err := s.disk.sweep(cfg.Clock()); err != nil {
		cfg.Log.Warn("storage: clearing interrupted writes", "error", err)
	}
	return s
}

func (s *server) now() time.Time { return s.cfg.Clock().UTC() }
