package registrar

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/cloud"
)

// userView is what is told about a person, in the words of Graph.
type userView struct {
	ID          string `json:"id"`
	UPN         string `json:"userPrincipalName"`
	DisplayName string `json:"displayName"`
	Enabled     bool   `json:"accountEnabled"`
	Password    string `json:"password,omitempty"` // one that was just made
}

func viewUser(u cloud.User) userView {
	return userView{ID: u.ObjectID, UPN: u.UPN, DisplayName: u.DisplayName, Enabled: !u.Disabled}
}

// user finds a person by user principal name, by the part of it before the @, or by object id.
func (r *Registrar) user(ctx context.Context, name string) (cloud.User, error) {
	upn, err := r.upn(ctx, name)
	if err != nil {
		return cloud.User{}, err
	}
	u, err := r.Cloud.User(ctx, upn)
	if errors.Is(err, cloud.ErrNotFound) {
		u, err = r.Cloud.User(ctx, name)
	}
	if errors.Is(err, cloud.ErrNotFound) {
		return u, fmt.Errorf("user %q: %w; 'redoubtd identity user list' lists them", name, err)
	}
	return u, err
}

func (r *Registrar) upn(ctx context.Context, name string) (string, error) {
	if strings.Contains(name, "@") {
		return name, nil
	}
	t, err := r.Cloud.Tenant(ctx)
	return name + "@" + t.Domain, err
}

func (r *Registrar) addUser(ctx context.Context, o Order) (any, error) {
	secret, made, err := password(o)
	if err != nil {
		return nil, err
	}
	upn, err := r.upn(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	if o.DisplayName == "" {
		o.DisplayName, _, _ = strings.Cut(upn, "@")
	}
	u, err := r.Cloud.AddUser(ctx, cloud.User{UPN: upn, DisplayName: o.DisplayName}, secret)
	if errors.Is(err, cloud.ErrExists) {
		return nil, fmt.Errorf("user %q: %w; 'redoubtd identity user set-password' gives them another password", upn, err)
	}
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", upn, err)
	}
	r.unlock(u.UPN, "") // somebody may have guessed at the name before it was given
	v := viewUser(u)
	v.Password = made
	return v, nil
}

func (r *Registrar) listUsers(ctx context.Context, _ Order) (any, error) {
	all, err := r.Cloud.Users(ctx)
	out := []userView{}
	for _, u := range all {
		out = append(out, viewUser(u))
	}
	return out, err
}

// setPassword ends every sign-in of the person: refresh tokens are bound to the password.
func (r *Registrar) setPassword(ctx context.Context, o Order) (any, error) {
	secret, made, err := password(o)
	if err != nil {
		return nil, err
	}
	u, err := r.user(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	if err := r.Cloud.SetPassword(ctx, u.ObjectID, secret); err != nil {
		return nil, err
	}
	r.unlock(u.UPN, "")
	v := viewUser(u)
	v.Password = made
	return v, r.deliver(u.ObjectID, secret, "")
}

func (r *Registrar) disableUser(ctx context.Context, o Order) (any, error) {
	return r.enable(ctx, o, false)
}

func (r *Registrar) enableUser(ctx context.Context, o Order) (any, error) {
	return r.enable(ctx, o, true)
}

func (r *Registrar) enable(ctx context.Context, o Order, enabled bool) (any, error) {
	u, err := r.user(ctx, o.Name)
	if err == nil && !enabled {
		err = r.spare(ctx, u.ObjectID)
	}
	if err != nil {
		return nil, err
	}
	if err := r.Cloud.SetDisabled(ctx, u.ObjectID, !enabled); err != nil {
		return nil, err
	}
	if enabled {
		r.unlock(u.UPN, "")
	}
	u, err = r.Cloud.User(ctx, u.ObjectID)
	return viewUser(u), err
}

func (r *Registrar) removeUser(ctx context.Context, o Order) (any, error) {
	u, err := r.user(ctx, o.Name)
	if err == nil {
		err = r.spare(ctx, u.ObjectID)
	}
	if err != nil {
		return nil, err
	}
	return viewUser(u), r.Cloud.DeletePrincipal(ctx, u.ObjectID)
}
