package cloud

import (
	"context"
	"errors"
	"fmt"
	"time"

	"redoubt/internal/store"
)

// Account is what a fresh cloud begins with.
type Account struct {
	Tenant           Tenant
	Subscription     Subscription
	User             User
	ServicePrincipal ServicePrincipal
}

// Credentials are secrets that were just made. They cannot be read back later.
type Credentials struct {
	Password     string // of Account.User
	ClientSecret string // of Account.ServicePrincipal
}

// String never shows the secrets.
func (Credentials) String() string { return "(redacted)" }

// GoString never shows the secrets.
func (Credentials) GoString() string { return "(redacted)" }

// Options say how a cloud begins. The zero value is good.
type Options struct {
	Domain   string // "contoso.onmicrosoft.com" when empty
	UserName string // "operator" when empty
	// Deliver is called with new credentials before anything that depends on them is committed: when it
	// has written them to a safe place, a crash at any moment loses nothing. It may be called again with
	// other credentials if the commit did not happen; the last ones count.
	Deliver func(Account, Credentials) error
	// Reissue makes new secrets for a cloud that is there, because its credentials file was lost.
	Reissue bool
}

// bootRecord remembers which of the records are the first ones.
type bootRecord struct {
	Subscription     string `json:"subscription"`
	User             string `json:"user"`
	ServicePrincipal string `json:"servicePrincipal"`
}

// Bootstrap makes tenant, subscription, a person and a service principal, both Owner of the subscription, if
// the store holds no cloud yet; otherwise it returns the ones that are there. So the same store is the same
// cloud for ever.
func (c *Cloud) Bootstrap(ctx context.Context, o Options) (Account, error) {
	if _, err := c.Site(ctx); !isNotFound(err) {
		return Account{}, errors.Join(err, errors.New("these are the data of redoubtd serve, not of a dev cloud"))
	}
	acct, err := c.account(ctx)
	if err == nil && o.Reissue {
		return acct, c.reissue(ctx, acct, o)
	}
	if !isNotFound(err) {
		return acct, err
	}
	acct, err = c.begin(ctx, o)
	if errors.Is(err, ErrExists) {
		return c.account(ctx) // somebody else was quicker
	}
	return acct, err
}

func (c *Cloud) account(ctx context.Context) (Account, error) {
	b, _, err := load[bootRecord](ctx, c, "boot")
	if err != nil {
		return Account{}, err
	}
	var a Account
	if a.Tenant, err = c.Tenant(ctx); err != nil {
		return Account{}, fmt.Errorf("dev cloud: its tenant: %w", broken(err))
	}
	if a.Subscription, err = c.Subscription(ctx, b.Subscription); err != nil {
		return Account{}, fmt.Errorf("dev cloud: its subscription: %w", broken(err))
	}
	// These two may have been deleted by the user; their ids still answer.
	if a.User, err = c.User(ctx, b.User); isNotFound(err) {
		a.User, err = User{ObjectID: b.User}, nil
	}
	if err != nil {
		return Account{}, err
	}
	if a.ServicePrincipal, err = c.ServicePrincipal(ctx, b.ServicePrincipal); isNotFound(err) {
		a.ServicePrincipal, err = ServicePrincipal{ObjectID: b.ServicePrincipal}, nil
	}
	return a, err
}

// broken hides ErrNotFound: a cloud without its tenant is damaged, not absent.
func broken(err error) error {
	if isNotFound(err) {
		return errors.New("record is missing; the data directory is damaged")
	}
	return err
}

func (c *Cloud) begin(ctx context.Context, o Options) (Account, error) {
	if o.Domain == "" {
		o.Domain = "contoso.onmicrosoft.com"
	}
	if o.UserName == "" {
		o.UserName = "operator"
	}
	cred := Credentials{Password: newSecret(), ClientSecret: newSecret()}
	a := Account{Tenant: Tenant{ID: NewGUID(), Domain: fold(o.Domain), DisplayName: "Redoubt dev cloud"}}
	a.Subscription = Subscription{ID: NewGUID(), TenantID: a.Tenant.ID, DisplayName: "Redoubt dev subscription"}
	ifs, then, u, err := c.newUser(User{UPN: o.UserName + "@" + a.Tenant.Domain, DisplayName: "Dev cloud operator"}, cred.Password)
	if err != nil {
		return Account{}, err
	}
	a.User = u
	i, t, sp := c.newServicePrincipal(ServicePrincipal{DisplayName: "redoubt-dev"}, cred.ClientSecret)
	a.ServicePrincipal = sp
	ifs, then = append(ifs, i...), append(then, t...)
	ifs = append(ifs, absent("boot"), absent("tenant"))
	then = append(then,
		put("boot", bootRecord{Subscription: a.Subscription.ID, User: u.ObjectID, ServicePrincipal: sp.ObjectID}),
		put("tenant", a.Tenant),
		put("sub/"+a.Subscription.ID, a.Subscription))
	owners, err := c.owners(a)
	if err != nil {
		return Account{}, err
	}
	then = append(then, owners...)
	if err := deliver(o, a, cred); err != nil {
		return Account{}, err
	}
	return a, c.create(ctx, ifs, then)
}

// owners are the writes that make the first two principals Owner.
func (c *Cloud) owners(a Account) ([]store.Op, error) {
	ops := []store.Op{grantsChanged()}
	now := time.Now().UTC().Format(time.RFC3339)
	for _, p := range []struct{ id, kind string }{{a.User.ObjectID, "User"}, {a.ServicePrincipal.ObjectID, "ServicePrincipal"}} {
		ra := RoleAssignment{Name: NewGUID(), Scope: "/subscriptions/" + a.Subscription.ID, Role: RoleOwner,
			PrincipalID: p.id, PrincipalType: p.kind, CreatedBy: a.User.ObjectID, CreatedOn: now}
		key, err := resourceKey("ra", ra.ID())
		if err != nil {
			return nil, err
		}
		ops = append(ops, put(key, ra), put(ra.grantKey(), ra.ID()))
	}
	return ops, nil
}

func (c *Cloud) reissue(ctx context.Context, a Account, o Options) error {
	cred := Credentials{Password: newSecret(), ClientSecret: newSecret()}
	if err := deliver(o, a, cred); err != nil {
		return err
	}
	if err := c.SetPassword(ctx, a.User.ObjectID, cred.Password); err != nil && !isNotFound(err) {
		return err
	}
	if err := c.SetSecret(ctx, a.ServicePrincipal.ObjectID, cred.ClientSecret, false); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}

func deliver(o Options, a Account, cred Credentials) error {
	if o.Deliver == nil {
		return nil
	}
	if err := o.Deliver(a, cred); err != nil {
		return fmt.Errorf("deliver new credentials: %w", err)
	}
	return nil
}
