package cloud

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/store"
)

// Tenant is the directory that everything belongs to.
type Tenant struct {
	ID          string `json:"id"`     // GUID
	Domain      string `json:"domain"` // "contoso.onmicrosoft.com"
	DisplayName string `json:"displayName"`
}

// Subscription is what resources are created in.
type Subscription struct {
	ID          string `json:"id"` // GUID
	TenantID    string `json:"tenantId"`
	DisplayName string `json:"displayName"`
}

// User is a person.
type User struct {
	ObjectID    string `json:"objectId"`
	UPN         string `json:"upn"`
	DisplayName string `json:"displayName"`
	// Stamp changes with the password, so that what was issued under the old one can be refused.
	Stamp string `json:"stamp"`
}

// ServicePrincipal is a program that signs in with a secret.
type ServicePrincipal struct {
	ObjectID    string `json:"objectId"`
	AppID       string `json:"appId"`
	DisplayName string `json:"displayName"`
}

// ManagedIdentity is a user-assigned managed identity, an ARM resource and a principal at once.
type ManagedIdentity struct {
	ResourceID  string            `json:"resourceId"` // "/subscriptions/../providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME"
	PrincipalID string            `json:"principalId"`
	ClientID    string            `json:"clientId"`
	Location    string            `json:"location"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// Name is the last segment of the resource id.
func (m ManagedIdentity) Name() string {
	return m.ResourceID[strings.LastIndexByte(m.ResourceID, '/')+1:]
}

type userRecord struct {
	User
	PasswordHash string `json:"passwordHash"`
}

type spRecord struct {
	ServicePrincipal
	SecretHashes []string `json:"secretHashes"`
}

// Kind is what a principal is.
type Kind string

// The kinds of principal. The values are stored.
const (
	KindUser             Kind = "user"
	KindServicePrincipal Kind = "servicePrincipal"
	KindManagedIdentity  Kind = "managedIdentity"
)

// Principal is any principal of the directory, as far as they are alike.
type Principal struct {
	Kind        Kind
	ObjectID    string
	DisplayName string
	UPN         string // people only
	AppID       string // service principals and managed identities only
	ResourceID  string // managed identities only
}

// pointer is the record under /cloud/oid/.
type pointer struct {
	Kind Kind   `json:"kind"`
	Key  string `json:"key"` // the principal's record
}

// Tenant returns the tenant, or ErrNotFound before Bootstrap.
func (c *Cloud) Tenant(ctx context.Context) (Tenant, error) {
	t, _, err := load[Tenant](ctx, c, "tenant")
	return t, err
}

// Subscription returns one subscription by id.
func (c *Cloud) Subscription(ctx context.Context, id string) (Subscription, error) {
	s, _, err := load[Subscription](ctx, c, "sub/"+fold(id))
	return s, err
}

// Subscriptions returns all of them.
func (c *Cloud) Subscriptions(ctx context.Context) ([]Subscription, error) {
	return loadAll[Subscription](ctx, c, "sub/")
}

// AddUser creates a person with a password. ErrExists when the name is taken. An empty ObjectID is filled in.
func (c *Cloud) AddUser(ctx context.Context, u User, password string) (User, error) {
	ifs, then, u, err := c.newUser(u, password)
	if err != nil {
		return User{}, err
	}
	return u, c.create(ctx, ifs, then)
}

func (c *Cloud) newUser(u User, password string) ([]store.Cond, []store.Op, User, error) {
	if !keySafe(u.UPN) || !strings.Contains(u.UPN, "@") {
		return nil, nil, u, fmt.Errorf("%w: user name %q is not of the form name@domain", ErrInvalid, u.UPN)
	}
	if password == "" {
		return nil, nil, u, fmt.Errorf("%w: empty password", ErrInvalid)
	}
	if u.ObjectID == "" {
		u.ObjectID = NewGUID()
	}
	u.ObjectID, u.Stamp = fold(u.ObjectID), NewGUID()
	key, upn, oid := "user/"+u.ObjectID, "upn/"+fold(u.UPN), "oid/"+u.ObjectID
	return []store.Cond{absent(key), absent(upn), absent(oid)},
		[]store.Op{
			put(key, userRecord{User: u, PasswordHash: c.secrets.hash(password)}),
			put(upn, u.ObjectID),
			put(oid, pointer{Kind: KindUser, Key: key}),
		}, u, nil
}

// User returns a person by object id or user principal name.
func (c *Cloud) User(ctx context.Context, idOrUPN string) (User, error) {
	r, _, err := c.user(ctx, idOrUPN)
	return r.User, err
}

func (c *Cloud) user(ctx context.Context, idOrUPN string) (userRecord, store.Rev, error) {
	if !keySafe(idOrUPN) {
		return userRecord{}, 0, ErrNotFound
	}
	id := fold(idOrUPN)
	if strings.Contains(id, "@") {
		var err error
		if id, _, err = load[string](ctx, c, "upn/"+id); err != nil {
			return userRecord{}, 0, err
		}
	}
	return load[userRecord](ctx, c, "user/"+id)
}

// Users returns all people.
func (c *Cloud) Users(ctx context.Context) ([]User, error) {
	return loadAll[User](ctx, c, "user/")
}

// SetPassword changes a person's password and stamp.
func (c *Cloud) SetPassword(ctx context.Context, idOrUPN, password string) error {
	if password == "" {
		return fmt.Errorf("%w: empty password", ErrInvalid)
	}
	hash := c.secrets.hash(password)
	return c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		r, rev, err := c.user(ctx, idOrUPN)
		if err != nil {
			return nil, nil, err
		}
		r.PasswordHash, r.Stamp = hash, NewGUID()
		key := "user/" + r.ObjectID
		return []store.Cond{unchanged(key, rev)}, []store.Op{put(key, r)}, nil
	})
}

// CheckPassword returns the person, or ErrBadCredentials.
func (c *Cloud) CheckPassword(ctx context.Context, upn, password string) (User, error) {
	r, _, err := c.user(ctx, upn)
	switch {
	case isNotFound(err):
		c.secrets.waste(password)
		return User{}, ErrBadCredentials
	case err != nil:
		return User{}, err
	case !c.secrets.check(r.PasswordHash, password):
		return User{}, ErrBadCredentials
	}
	return r.User, nil
}

// AddServicePrincipal creates a service principal with a secret. Empty ids are filled in.
func (c *Cloud) AddServicePrincipal(ctx context.Context, sp ServicePrincipal, secret string) (ServicePrincipal, error) {
	ifs, then, sp, err := c.newServicePrincipal(sp, secret)
	if err != nil {
		return ServicePrincipal{}, err
	}
	return sp, c.create(ctx, ifs, then)
}

func (c *Cloud) newServicePrincipal(sp ServicePrincipal, secret string) ([]store.Cond, []store.Op, ServicePrincipal, error) {
	if secret == "" {
		return nil, nil, sp, fmt.Errorf("%w: empty secret", ErrInvalid)
	}
	if sp.ObjectID == "" {
		sp.ObjectID = NewGUID()
	}
	if sp.AppID == "" {
		sp.AppID = NewGUID()
	}
	sp.ObjectID, sp.AppID = fold(sp.ObjectID), fold(sp.AppID)
	key, app, oid := "sp/"+sp.ObjectID, "app/"+sp.AppID, "oid/"+sp.ObjectID
	return []store.Cond{absent(key), absent(app), absent(oid)},
		[]store.Op{
			put(key, spRecord{ServicePrincipal: sp, SecretHashes: []string{c.secrets.hash(secret)}}),
			put(app, sp.ObjectID),
			put(oid, pointer{Kind: KindServicePrincipal, Key: key}),
		}, sp, nil
}

// ServicePrincipal returns one by object id or application id.
func (c *Cloud) ServicePrincipal(ctx context.Context, id string) (ServicePrincipal, error) {
	r, _, err := c.servicePrincipal(ctx, id)
	return r.ServicePrincipal, err
}

func (c *Cloud) servicePrincipal(ctx context.Context, id string) (spRecord, store.Rev, error) {
	if !keySafe(id) {
		return spRecord{}, 0, ErrNotFound
	}
	r, rev, err := load[spRecord](ctx, c, "sp/"+fold(id))
	if !isNotFound(err) {
		return r, rev, err
	}
	oid, _, err := load[string](ctx, c, "app/"+fold(id))
	if err != nil {
		return spRecord{}, 0, err
	}
	return load[spRecord](ctx, c, "sp/"+oid)
}

// ServicePrincipals returns all of them, without managed identities.
func (c *Cloud) ServicePrincipals(ctx context.Context) ([]ServicePrincipal, error) {
	return loadAll[ServicePrincipal](ctx, c, "sp/")
}

// SetSecret replaces all secrets of a service principal.
func (c *Cloud) SetSecret(ctx context.Context, id, secret string) error {
	if secret == "" {
		return fmt.Errorf("%w: empty secret", ErrInvalid)
	}
	hash := c.secrets.hash(secret)
	return c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		r, rev, err := c.servicePrincipal(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		r.SecretHashes = []string{hash}
		key := "sp/" + r.ObjectID
		return []store.Cond{unchanged(key, rev)}, []store.Op{put(key, r)}, nil
	})
}

// CheckSecret returns the service principal with this application id: ErrNotFound when there is none,
// ErrBadCredentials when the secret is wrong.
func (c *Cloud) CheckSecret(ctx context.Context, appID, secret string) (ServicePrincipal, error) {
	r, _, err := c.servicePrincipal(ctx, appID)
	if err != nil {
		return ServicePrincipal{}, err
	}
	ok := slices.ContainsFunc(r.SecretHashes, func(h string) bool { return c.secrets.check(h, secret) })
	if !ok || r.AppID != fold(appID) {
		return ServicePrincipal{}, ErrBadCredentials
	}
	return r.ServicePrincipal, nil
}
