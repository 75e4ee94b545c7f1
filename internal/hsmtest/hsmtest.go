// Package hsmtest puts up what the edges stand on in a test: a fleet of real HSMs on a store in memory that
// can be made to fail, the dev cloud's directory, an issuer of real tokens, and both edges behind a real
// HTTP listener. Only the clock, the unlock driver and the blob containers are stand-ins.
//
// At the end of a test everything is closed, and every HSM is checked (fleet.Check): a test that leaves
// damage fails.
package hsmtest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/api/attest"
	"redoubt/internal/api/identity"
	"redoubt/internal/audit"
	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/cloud"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/seal"
	"redoubt/internal/secret"
	"redoubt/internal/store"
	"redoubt/internal/store/mem"
	"redoubt/internal/store/storetest"
	"redoubt/internal/unlock"
)

// Site is one server's insides. The embedded Fleet is the one that runs now; Restart replaces it.
type Site struct {
	*fleet.Fleet
	T       testing.TB
	Below   store.Store       // survives restarts
	Faults  *storetest.Faults // in front of Below; what everything writes through
	Clock   *Clock
	Dir     string // roots and audit files
	Roots   *unlock.Roots
	Cloud   *cloud.Cloud
	Account cloud.Account
	Issuer  *identity.Issuer
	Trail   *audit.Trail    // the control plane's audit log
	Attest  *attest.Handler // the test attestation service that the HSMs trust, as Attestation
	Config  fleet.Config    // of the Fleet; changes count from the next Restart on

	locked     *atomic.Bool // the unlock driver opens nothing
	mu         sync.Mutex
	containers map[string]*blobtest.Mem // by URI
}

// Clock stands still until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time it stands at.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves it on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// New puts up a site without HSMs.
func New(t testing.TB) *Site {
	t.Helper()
	s := &Site{T: t, Below: mem.New(), Clock: &Clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, Dir: t.TempDir(),
		containers: make(map[string]*blobtest.Mem), locked: new(atomic.Bool)}
	s.Faults = storetest.NewFaults(s.Below)
	s.Roots = unlock.NewRoots(filepath.Join(s.Dir, "roots"), driver{s.locked})
	s.openCloud()
	s.Config = fleet.Config{Store: s.Faults, Roots: s.Roots, OpenContainer: s.openContainer, Clock: s.Clock.Now, RestorePointMaxAge: 30 * time.Minute,
		OpenAudit:   func(id string) (*audit.Log, error) { return audit.Open(s.AuditFile(id)) },
		Attestation: s.openAttestation(), Log: slog.New(slog.DiscardHandler)}
	s.openTrail()
	s.Config.Trail = s.Trail
	s.open()
	t.Cleanup(s.end)
	return s
}

// AuditFile is the path of an HSM's audit file. What is in it is complete once the fleet is stopped.
func (s *Site) AuditFile(id string) string { return filepath.Join(s.Dir, "audit", id+".jsonl") }

// TrailFile is the path of the control plane's audit file.
func (s *Site) TrailFile() string { return s.AuditFile("control") }

func (s *Site) openTrail() {
	s.T.Helper()
	log, err := audit.Open(s.TrailFile())
	if err != nil {
		s.T.Fatal(err)
	}
	s.Trail = audit.NewTrail(audit.TrailConfig{Log: log, Clock: s.Clock.Now, Signer: func() (audit.Signer, error) { return seal.NewRoot(0).LocalSigner("control"), nil }})
	s.T.Cleanup(func() {
		if err := s.Trail.Close(); err != nil {
			s.T.Error(err)
		}
	})
}

func (s *Site) open() {
	s.T.Helper()
	f, err := fleet.Open(context.WithoutCancel(s.T.Context()), s.Config)
	if err != nil {
		s.T.Fatal(err)
	}
	s.Fleet = f
}

// Restart ends the fleet, dead or alive, and opens it again on what the store has.
func (s *Site) Restart() {
	s.T.Helper()
	s.Stop()
	s.Faults.Revive()
	s.open()
}

// Stop ends the fleet. Only Restart may follow.
func (s *Site) Stop() {
	s.T.Helper()
	if s.Fleet == nil {
		return
	}
	if err := s.Fleet.Close(); err != nil {
		s.T.Error(err)
	}
	s.Fleet = nil
}

func (s *Site) end() {
	s.Faults.Revive()
	s.Lock(false)
	if s.Fleet != nil && !s.T.Failed() {
		s.Check()
	}
	s.Stop()
}

// Check examines the whole state of every HSM.
func (s *Site) Check() {
	s.T.Helper()
	err := s.Fleet.Check(context.WithoutCancel(s.T.Context()), func(r fleet.Resource, err error) {
		if err != nil {
			s.T.Errorf("HSM %s: %v", r.Name, err)
		}
	})
	if err != nil {
		s.T.Error(err)
	}
}

// cloudRecords are those of one bootstrapped cloud: hashing its secrets takes time on purpose, so it is
// done once.
var cloudRecords = sync.OnceValue(func() []store.KV {
	s := mem.New()
	if _, err := cloud.Open(s).Bootstrap(context.Background(), cloud.Options{}); err != nil {
		panic(err)
	}
	page, err := s.Range(context.Background(), store.Query{Prefix: "/cloud/"})
	if err != nil {
		panic(err)
	}
	return page.KVs
})

// issuerKey signs the tokens of all sites.
var issuerKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func (s *Site) openCloud() {
	s.T.Helper()
	var ops []store.Op
	for _, kv := range cloudRecords() {
		ops = append(ops, store.Put(kv.Key, kv.Val))
	}
	_, err := s.Below.Txn(s.T.Context(), nil, ops)
	if err == nil {
		s.Cloud = cloud.Open(s.Faults)
		s.Account, err = s.Cloud.Bootstrap(s.T.Context(), cloud.Options{})
	}
	if err == nil {
		s.Issuer, err = identity.NewIssuer(identity.IssuerConfig{Key: issuerKey(), Tenant: s.Account.Tenant.ID, Resources: []string{Devices, Control}, Clock: s.Clock.Now})
	}
	if err != nil {
		s.T.Fatal(err)
	}
}

// Container is the blob container at uri: what jobs with that storage address find.
func (s *Site) Container(uri string) *blobtest.Mem {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[uri] == nil {
		s.containers[uri] = blobtest.NewMem()
	}
	return s.containers[uri]
}

type addressed struct {
	*blobtest.Mem
	uri string
}

func (a addressed) URL() string { return a.uri }

func (s *Site) openContainer(_ context.Context, r hsm.ContainerRequest) (blob.Container, error) {
	t, err := blob.ParseTarget(r.URI, blob.Policy{Suffixes: []string{".blob.core.windows.net"}})
	if err != nil {
		return nil, err
	}
	return addressed{s.Container(t.URL()), t.URL()}, nil
}

// Lock keeps the unlock driver from opening roots, or lets it again: HSMs are sealed from the next Restart on.
func (s *Site) Lock(on bool) { s.locked.Store(on) }

// driver is an unlock.Driver with a key that lives as long as the process.
type driver struct{ locked *atomic.Bool }

var driverKey = sync.OnceValue(func() cipher.AEAD {
	k := make([]byte, 32)
	rand.Read(k)
	b, err := aes.NewCipher(k)
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCMWithRandomNonce(b)
	if err != nil {
		panic(err)
	}
	return a
})

// Seal implements unlock.Driver.
func (driver) Seal(_ context.Context, s secret.Bytes, aad []byte) ([]byte, error) {
	return driverKey().Seal(nil, nil, s.Expose(), aad), nil
}

// Open implements unlock.Driver.
func (d driver) Open(_ context.Context, sealed, aad []byte) (secret.Bytes, error) {
	if d.locked.Load() {
		return secret.Bytes{}, unlock.ErrLocked
	}
	b, err := driverKey().Open(nil, nil, sealed, aad)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("%w: %w", unlock.ErrLocked, err)
	}
	return secret.New(b), nil
}

// Describe implements unlock.Driver.
func (driver) Describe() string { return "test" }

// RootFiles lists the files of sealed roots, below the folder of roots.
func (s *Site) RootFiles() []string {
	s.T.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir, "roots", "*", "*"))
	if err != nil {
		s.T.Fatal(err)
	}
	return files
}

// Records lists the keys of all records under prefix.
func (s *Site) Records(prefix string) []string {
	s.T.Helper()
	page, err := s.Below.Range(context.WithoutCancel(s.T.Context()), store.Query{Prefix: prefix, Limit: 1 << 20, KeysOnly: true})
	if err != nil {
		s.T.Fatal(err)
	}
	var out []string
	for _, kv := range page.KVs {
		out = append(out, kv.Key)
	}
	return out
}

// State is everything the store has but audit entries on their way to their file, heads of audit logs, and sweeps.
func (s *Site) State() map[string]string {
	s.T.Helper()
	return s.StateOf(s.T)
}

// StateOf is State within a fuzz target, whose own t it must be given.
func (s *Site) StateOf(t testing.TB) map[string]string {
	t.Helper()
	page, err := s.Below.Range(context.WithoutCancel(t.Context()), store.Query{Prefix: "/", Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string, len(page.KVs))
	for _, kv := range page.KVs {
		if !strings.Contains(kv.Key, "/l/out/") && !strings.HasSuffix(kv.Key, "/l/audit") && !strings.Contains(kv.Key, "/l/sweep/") {
			out[kv.Key] = string(kv.Val)
		}
	}
	return out
}

// Exists tells whether a file is there.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
