// Package registrar does what an administrator orders to be done to the directory of a dev cloud: people,
// applications (service principals), and the external issuers whose tokens applications sign in with. An order is
// data, so that it can be carried out by the program that was told (the server is stopped) or by the server (it
// runs, and has the store).
//
// Secrets come in with an order or are made here; those that are made are in the answer, once. Nothing here
// prints or logs.
package registrar

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
)

// ErrLastOwner: the order would leave nobody who could give anybody a role again.
var ErrLastOwner = errors.New("this is the last Owner of the subscription that can sign in; make another one first: az role assignment create --role Owner --assignee … --scope /subscriptions/…")

// ErrUnknownOrder: no such thing can be ordered.
var ErrUnknownOrder = errors.New("no such order")

// Order is one thing to be done. Verb says what, and which of the other fields it looks at.
type Order struct {
	Verb        string          `json:"verb"` // "user add", "app rotate-secret", …
	Name        string          `json:"name,omitempty"`
	DisplayName string          `json:"displayName,omitempty"`
	Secret      string          `json:"secret,omitempty"` // a password; empty: one is made
	NoSecret    bool            `json:"noSecret,omitempty"`
	KeepOld     bool            `json:"keepOld,omitempty"`
	Certificate []byte          `json:"certificate,omitempty"` // DER
	Thumbprint  string          `json:"thumbprint,omitempty"`
	Federated   cloud.Federated `json:"federated,omitzero"`
	JWKS        json.RawMessage `json:"jwks,omitempty"`
}

// String never shows the secret.
func (o Order) String() string { return o.Verb + " " + o.Name }

// GoString never shows the secret.
func (o Order) GoString() string { return o.String() }

// Registrar carries out orders, one at a time. Cloud is required.
type Registrar struct {
	Cloud *cloud.Cloud
	// Account is what the cloud began with. New secrets of its person and its service principal are given to
	// Deliver, which keeps them for env.sh.
	Account cloud.Account
	Deliver func(password, clientSecret string) error // one of the two is empty
	// Record puts an order that changes something on record, twice: with Started and nil before anything is done, and
	// with its outcome. It returns when that is durable; while it fails, nothing is done. May be nil.
	Record func(o Order, result string, err error) error
	// Unlock ends the lock that wrong secrets have put on a person (by UPN) or an application (by id); may be nil.
	Unlock func(upn, appID string)

	mu sync.Mutex
}

// The results that are put on record.
const (
	Started   = "Started"
	Succeeded = "Success"
	Failed    = "Failed"
)

// Do carries out one order. The answer is a value for JSON.
func (r *Registrar) Do(ctx context.Context, o Order) (any, error) {
	r.mu.Lock() // two administrators at once must not remove each other
	defer r.mu.Unlock()
	do, ok := orders[o.Verb]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownOrder, o.Verb)
	}
	if r.Record == nil || strings.HasSuffix(o.Verb, " list") {
		return do(r, ctx, o)
	}
	if err := r.Record(o, Started, nil); err != nil {
		return nil, fmt.Errorf("nothing was done, because it could not be put on record: %w", err)
	}
	v, err := do(r, ctx, o)
	result := Succeeded
	if err != nil {
		v, result = nil, Failed
	}
	if lost := r.Record(o, result, err); lost != nil && err == nil {
		return nil, fmt.Errorf("it was done, but that could not be put on record: %w", lost)
	}
	return v, err
}

var orders = map[string]func(*Registrar, context.Context, Order) (any, error){
	"user add":               (*Registrar).addUser,
	"user list":              (*Registrar).listUsers,
	"user set-password":      (*Registrar).setPassword,
	"user disable":           (*Registrar).disableUser,
	"user enable":            (*Registrar).enableUser,
	"user remove":            (*Registrar).removeUser,
	"app add":                (*Registrar).addApp,
	"app list":               (*Registrar).listApps,
	"app rotate-secret":      (*Registrar).rotateSecret,
	"app disable":            (*Registrar).disableApp,
	"app enable":             (*Registrar).enableApp,
	"app remove":             (*Registrar).removeApp,
	"app add-certificate":    (*Registrar).addCertificate,
	"app remove-certificate": (*Registrar).removeCertificate,
	"app add-federated":      (*Registrar).addFederated,
	"app remove-federated":   (*Registrar).removeFederated,
	"issuer set":             (*Registrar).setIssuer,
	"issuer list":            (*Registrar).listIssuers,
	"issuer remove":          (*Registrar).removeIssuer,
}

// newSecret returns a random secret, about 200 bits, in an alphabet that needs no quoting in a shell.
func newSecret() string { return strings.ToLower(rand.Text()[:20]) + rand.Text()[:20] }

// password is the one that was given, or a new one; made is what the answer shows.
func password(o Order) (secret, made string, err error) {
	if o.Secret == "" {
		secret = newSecret()
		return secret, secret, nil
	}
	if len(o.Secret) < 8 || len(o.Secret) > 256 || !utf8.ValidString(o.Secret) || strings.ContainsFunc(o.Secret, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", "", errors.New("a password has 8 to 256 bytes of UTF-8, on one line")
	}
	return o.Secret, "", nil
}

// deliver keeps a new secret for env.sh when it is one of the first two principals'.
func (r *Registrar) deliver(objectID, password, clientSecret string) error {
	mine := password != "" && objectID == r.Account.User.ObjectID || clientSecret != "" && objectID == r.Account.ServicePrincipal.ObjectID
	if !mine || r.Deliver == nil {
		return nil
	}
	return r.Deliver(password, clientSecret)
}

func (r *Registrar) unlock(upn, appID string) {
	if r.Unlock != nil {
		r.Unlock(upn, appID)
	}
}

// spare returns ErrLastOwner if every Owner of a subscription but this one is gone or disabled.
func (r *Registrar) spare(ctx context.Context, objectID string) error {
	subs, err := r.Cloud.Subscriptions(ctx)
	if err != nil {
		return err
	}
	grants, err := r.Cloud.RoleAssignments(ctx)
	if err != nil {
		return err
	}
	for _, s := range subs {
		mine, others := false, false
		for _, g := range grants {
			if g.Role != cloud.RoleOwner || !cloud.ScopeContains(g.Scope, "/subscriptions/"+s.ID) {
				continue
			}
			active, err := r.Cloud.Active(ctx, g.PrincipalID)
			if err != nil {
				return err
			}
			mine = mine || active && g.PrincipalID == objectID
			others = others || active && g.PrincipalID != objectID
		}
		if mine && !others {
			return ErrLastOwner
		}
	}
	return nil
}

// issuerView is what is told about an external issuer.
type issuerView struct {
	Issuer string   `json:"issuer"`
	Keys   []string `json:"keys"` // key ids
}

func viewIssuer(i cloud.ExternalIssuer) issuerView {
	v := issuerView{Issuer: i.URL, Keys: []string{}}
	keys, _ := authn.NewStaticKeys(i.JWKS) // was read when it was stored
	for kid := range keys {
		v.Keys = append(v.Keys, kid)
	}
	return v
}

func (r *Registrar) setIssuer(ctx context.Context, o Order) (any, error) {
	if _, err := authn.NewStaticKeys(o.JWKS); err != nil {
		return nil, fmt.Errorf("the issuer's keys: %w; what is needed is the document that its jwks_uri names", err)
	}
	i := cloud.ExternalIssuer{URL: o.Name, JWKS: o.JWKS}
	return viewIssuer(i), r.Cloud.PutIssuer(ctx, i)
}

func (r *Registrar) listIssuers(ctx context.Context, _ Order) (any, error) {
	all, err := r.Cloud.Issuers(ctx)
	out := []issuerView{}
	for _, i := range all {
		out = append(out, viewIssuer(i))
	}
	return out, err
}

func (r *Registrar) removeIssuer(ctx context.Context, o Order) (any, error) {
	return struct{}{}, r.Cloud.RemoveIssuer(ctx, o.Name)
}
