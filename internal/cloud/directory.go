package cloud

import (
	"context"
	"fmt"
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
	Disabled    bool   `json:"disabled,omitempty"`
	// Stamp changes with the password and when the person is disabled, so that what was issued before can be
	// refused.
	Stamp string `json:"stamp"`
}

// ServicePrincipal is a program that signs in with a secret, a certificate or a federated token.
type ServicePrincipal struct {
	ObjectID    string `json:"objectId"`
	AppID       string `json:"appId"`
	DisplayName string `json:"displayName"`
	Disabled    bool   `json:"disabled,omitempty"`
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
	SecretHashes []string      `json:"secretHashes"` // the latest last
	Certificates []Certificate `json:"certificates,omitempty"`
	Federated    []Federated   `json:"federated,omitempty"`
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
	Disabled    bool
}

// pointer is the record under /cloud/oid/.
type pointer struct {
	Kind     Kind   `json:"kind"`
	Key      string `json:"key"` // the principal's record
	Disabled bool   `json:"disabled,omitempty"`
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

// CheckPassword returns the person, or ErrBadCredentials. An unknown name takes as long as a wrong password.
// ErrDisabled is told only to whoever knows the password.
func (c *Cloud) CheckPassword(ctx context.Context, upn, password string) (User, error) {
	r, _, err := c.user(ctx, upn)
	if err == nil && !strings.Contains(upn, "@") { // an object id: nobody signs in with that
		err = ErrNotFound
	}
	switch {
	case isNotFound(err):
		c.secrets.waste(password)
		return User{}, ErrBadCredentials
	case err != nil:
		return User{}, err
	case !c.secrets.check(r.PasswordHash, password):
		return User{}, ErrBadCredentials
	case r.Disabled:
		return User{}, ErrDisabled
	}
	return r.User, nil
}
