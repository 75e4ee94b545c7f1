package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"redoubt/internal/audit"
	"redoubt/internal/cloud"
	"redoubt/internal/durable"
	"redoubt/internal/registrar"
	"redoubt/internal/store/bolt"
)

// A running dev cloud has its store to itself, so the verbs of redoubtd identity hand their orders in at its desk:
// a path of the local TLS listener. Who may: whoever can read DIR/data/desk.json, mode 0600, which has a token that
// is new at every start. The verbs trust no certificate but those of DIR's own authority, whose leaves have a key that
// is in the server's memory only; so a password cannot end up at a stranger who listens on an old port.

// deskFile is DIR/data/desk.json.
type deskFile struct {
	Address string `json:"address"` // of the TLS listener
	Token   string `json:"token"`
}

const (
	deskPath  = "redoubt" // first segment on a local name
	deskURL   = "https://localhost/redoubt/identity"
	deskBytes = 1 << 20 // of an order and of an answer
)

// desk is the server's side.
type desk struct {
	registrar *registrar.Registrar
	token     [sha256.Size]byte
	log       *slog.Logger
}

// ServeHTTP carries out one order.
func (k *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	if subtle.ConstantTimeCompare(got[:], k.token[:]) != 1 || r.Method != http.MethodPost || r.Header.Get("Origin") != "" {
		http.Error(w, "not for you", http.StatusForbidden)
		return
	}
	var o registrar.Order
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, deskBytes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		deskAnswer(w, http.StatusBadRequest, map[string]string{"error": "this server does not understand the order; are both of the same version?"})
		return
	}
	// An order that was begun is finished, whether its client waits or not.
	v, err := k.registrar.Do(context.WithoutCancel(r.Context()), o)
	if err != nil {
		k.log.Info("an order was refused", "verb", o.Verb, "name", o.Name)
		deskAnswer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	k.log.Info("an order was carried out", "verb", o.Verb, "name", o.Name)
	deskAnswer(w, http.StatusOK, v)
}

func deskAnswer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client went away
}

// openDesk makes the desk; it can be used once desk.json is there.
func (d *Dev) openDesk() http.Handler {
	d.deskToken = rand.Text() + rand.Text()
	return &desk{token: sha256.Sum256([]byte(d.deskToken)), log: d.log, registrar: &registrar.Registrar{Cloud: d.cloud, Account: d.account,
		Deliver: d.newCredentials, Unlock: d.signIn.Unlock,
		Record: func(o registrar.Order, result string, err error) error {
			return recordOrder(d.trail, d.account.Tenant.ID, o, result, err)
		}}}
}

// announceDesk writes desk.json, and has it removed at the end.
func (d *Dev) announceDesk() error {
	b, err := json.Marshal(deskFile{Address: d.tlsAddr.String(), Token: d.deskToken})
	if err != nil {
		return err
	}
	path := d.path("data", "desk.json")
	d.closers = append(d.closers, func() error {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	return durable.WriteFile(path, b, 0o600)
}

// newCredentials keeps a new secret of one of the first two principals, for this env.sh and those to come.
func (d *Dev) newCredentials(password, clientSecret string) error {
	c, err := replaceCredentials(d.path("credentials.json"), password, clientSecret)
	if err != nil {
		return err
	}
	d.secrets.Store(&c)
	return d.writeEnv()
}

// errNoDesk: no server of this folder answers.
var errNoDesk = errors.New("no running server answers")

// order has something done to the directory of the dev cloud in dir, by its server if it runs.
func order(ctx context.Context, dir string, o registrar.Order) (json.RawMessage, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(devPlace(dir).store()); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no data of redoubtd dev: there is no data/store.db in it", dir)
	}
	answer, err := askDesk(ctx, dir, o)
	if !errors.Is(err, errNoDesk) {
		return answer, err
	}
	answer, stopped := orderStopped(ctx, dir, o)
	if errors.Is(stopped, bolt.ErrInUse) {
		return nil, fmt.Errorf("a server has the data of %s, and does not take orders; is it starting or stopping? (%w)", dir, err)
	}
	return answer, stopped
}

// askDesk hands an order in at the server that runs on dir; errNoDesk when there is none.
func askDesk(ctx context.Context, dir string, o registrar.Order) (json.RawMessage, error) {
	var at deskFile
	b, err := os.ReadFile(filepath.Join(dir, "data", "desk.json"))
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	host, _, addrErr := net.SplitHostPort(at.Address)
	ca, caErr := os.ReadFile(filepath.Join(dir, "ca.pem"))
	roots := x509.NewCertPool()
	if err != nil || addrErr != nil || !isLoopback(host) || caErr != nil || !roots.AppendCertsFromPEM(ca) {
		return nil, errNoDesk
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, deskURL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+at.Token)
	r.Header.Set("Content-Type", "application/json")
	c := &http.Client{Timeout: writeTime, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at.Address)
		}}}
	resp, err := c.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoDesk, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, deskBytes))
	if err != nil {
		return nil, fmt.Errorf("the server did not finish its answer; look with 'list' whether the order was carried out: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	var refused struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &refused) != nil || refused.Error == "" {
		return nil, fmt.Errorf("%w: what answers says %s", errNoDesk, resp.Status)
	}
	return nil, errors.New(refused.Error)
}

// orderStopped carries out an order on the data of a server that does not run.
func orderStopped(ctx context.Context, dir string, o registrar.Order) (_ json.RawMessage, err error) {
	s, err := bolt.Open(devPlace(dir).store(), bolt.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	c := cloud.Open(s)
	if _, err := c.Tenant(ctx); err != nil {
		return nil, fmt.Errorf("%s holds no dev cloud: %w; start redoubtd dev once", dir, err)
	}
	account, err := c.Bootstrap(ctx, cloud.Options{}) // there is one: this reads it
	if err != nil {
		return nil, err
	}
	var records running
	defer func() { err = errors.Join(err, records.close(0, slog.New(slog.DiscardHandler))) }()
	p := devPlace(dir)
	roots, err := p.roots()
	if err != nil {
		return nil, err
	}
	trail, err := records.openTrail(ctx, openAudit(p), s, roots, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	r := &registrar.Registrar{Cloud: c, Account: account,
		Record: func(o registrar.Order, result string, err error) error {
			return recordOrder(trail, account.Tenant.ID, o, result, err)
		},
		Deliver: func(password, clientSecret string) error {
			_, err := replaceCredentials(filepath.Join(dir, "credentials.json"), password, clientSecret)
			if errors.Is(err, fs.ErrNotExist) { // the next start makes new ones of everything
				return nil
			}
			return err
		}}
	v, err := r.Do(ctx, o)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// recordOrder puts an order into the audit log of the control plane, under a name such as IdentityUserSetPassword.
// Nothing in it is secret: of an order it has what it was and whom it was about.
func recordOrder(t *audit.Trail, tenant string, o registrar.Order, result string, err error) error {
	name := "Identity"
	for _, word := range strings.FieldsFunc(o.Verb, func(r rune) bool { return r == ' ' || r == '-' }) {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	e := audit.Entry{Operation: name, Result: result, Target: clipped(o.Name), ClientInfo: "redoubtd identity", Resource: &audit.Resource{Tenant: tenant, Type: "tenants"}}
	if err != nil {
		e.Reason = clipped(err.Error())
	}
	details := map[string]string{"thumbprint": o.Thumbprint, "federated": o.Federated.Name, "issuer": o.Federated.Issuer, "subject": o.Federated.Subject, "audience": o.Federated.Audience}
	for k, v := range details {
		if details[k] = clipped(v); v == "" {
			delete(details, k)
		}
	}
	e.Details = details
	return t.Record(e)
}

// clipped bounds what somebody typed.
func clipped(s string) string {
	if len(s) > 512 {
		s = s[:512]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// replaceCredentials puts new secrets into the file of env.sh's; empty ones stay as they are.
func replaceCredentials(path, password, clientSecret string) (credentials, error) {
	c, err := readCredentials(path)
	if err != nil {
		return c, err
	}
	if password != "" {
		c.Password = password
	}
	if clientSecret != "" {
		c.ClientSecret = clientSecret
	}
	return c, c.write(path)
}

// newIdentityHeader is a secret for IDENTITY_HEADER.
func newIdentityHeader() string {
	b := make([]byte, 24)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
