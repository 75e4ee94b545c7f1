package registrar

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"redoubt/internal/cloud"
)

// appView is what is told about an application, in the words of Graph and of az ad sp create-for-rbac.
type appView struct {
	ID           string            `json:"id"` // object id of the service principal
	AppID        string            `json:"appId"`
	DisplayName  string            `json:"displayName"`
	Enabled      bool              `json:"accountEnabled"`
	Tenant       string            `json:"tenant"`
	Secrets      int               `json:"secrets"` // how many there are
	Certificates []certificateView `json:"certificates"`
	Federated    []federatedView   `json:"federatedCredentials"`
	Password     string            `json:"password,omitempty"` // a secret that was just made
}

type certificateView struct {
	Thumbprint       string `json:"thumbprint"` // SHA-1, as az shows it
	ThumbprintSHA256 string `json:"thumbprintSha256"`
	Subject          string `json:"subject"`
	Until            string `json:"notAfter"` // RFC 3339
}

type federatedView struct {
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

func (r *Registrar) viewApp(ctx context.Context, a cloud.Application) (appView, error) {
	t, err := r.Cloud.Tenant(ctx)
	v := appView{ID: a.ObjectID, AppID: a.AppID, DisplayName: a.DisplayName, Enabled: !a.Disabled, Tenant: t.ID, Secrets: a.Secrets,
		Certificates: []certificateView{}, Federated: []federatedView{}}
	for _, c := range a.Certificates {
		sum := c.ThumbprintSHA256()
		cv := certificateView{Thumbprint: c.Thumbprint(), ThumbprintSHA256: strings.ToUpper(hex.EncodeToString(sum[:]))}
		if parsed, err := x509.ParseCertificate(c.DER); err == nil {
			cv.Subject, cv.Until = parsed.Subject.String(), parsed.NotAfter.UTC().Format(time.RFC3339)
		}
		v.Certificates = append(v.Certificates, cv)
	}
	for _, f := range a.Federated {
		v.Federated = append(v.Federated, federatedView{f.Name, f.Issuer, f.Subject, []string{f.Audience}})
	}
	return v, err
}

// app finds an application by application id, object id, or the name that only it has.
func (r *Registrar) app(ctx context.Context, name string) (cloud.Application, error) {
	a, err := r.Cloud.Application(ctx, name)
	if !errors.Is(err, cloud.ErrNotFound) {
		return a, err
	}
	all, err := r.Cloud.Applications(ctx)
	if err != nil {
		return cloud.Application{}, err
	}
	var found []cloud.Application
	for _, a := range all {
		if strings.EqualFold(a.DisplayName, name) {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return cloud.Application{}, fmt.Errorf("application %q: %w; 'redoubtd identity app list' lists them", name, cloud.ErrNotFound)
	}
	return cloud.Application{}, fmt.Errorf("%d applications are called %q; say which by its appId", len(found), name)
}

// shown is the answer with the application as it is now.
func (r *Registrar) shown(ctx context.Context, id, made string) (any, error) {
	a, err := r.Cloud.Application(ctx, id)
	if err != nil {
		return nil, err
	}
	v, err := r.viewApp(ctx, a)
	v.Password = made
	return v, err
}

func (r *Registrar) addApp(ctx context.Context, o Order) (any, error) {
	if o.Name == "" || len(o.Name) > 120 {
		return nil, errors.New("an application needs a name of at most 120 bytes")
	}
	var secret string
	if !o.NoSecret {
		secret = newSecret()
	}
	sp, err := r.Cloud.AddServicePrincipal(ctx, cloud.ServicePrincipal{DisplayName: o.Name}, secret)
	if err != nil {
		return nil, err
	}
	return r.shown(ctx, sp.ObjectID, secret)
}

func (r *Registrar) listApps(ctx context.Context, _ Order) (any, error) {
	all, err := r.Cloud.Applications(ctx)
	out := []appView{}
	for _, a := range all {
		v, verr := r.viewApp(ctx, a)
		out, err = append(out, v), errors.Join(err, verr)
	}
	return out, err
}

// rotateSecret makes a new secret. That of the first service principal is delivered while the old one still works,
// so that a crash leaves one that does.
func (r *Registrar) rotateSecret(ctx context.Context, o Order) (any, error) {
	a, err := r.app(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	secret := newSecret()
	if err := r.Cloud.SetSecret(ctx, a.ObjectID, secret, true); err != nil {
		return nil, err
	}
	if err := r.deliver(a.ObjectID, "", secret); err != nil {
		return nil, err
	}
	if !o.KeepOld {
		if err := r.Cloud.SetSecret(ctx, a.ObjectID, secret, false); err != nil {
			return nil, err
		}
	}
	r.unlock("", a.AppID)
	return r.shown(ctx, a.ObjectID, secret)
}

func (r *Registrar) disableApp(ctx context.Context, o Order) (any, error) {
	a, err := r.app(ctx, o.Name)
	if err == nil {
		err = r.spare(ctx, a.ObjectID)
	}
	if err != nil {
		return nil, err
	}
	if err := r.Cloud.SetDisabled(ctx, a.ObjectID, true); err != nil {
		return nil, err
	}
	return r.shown(ctx, a.ObjectID, "")
}

func (r *Registrar) enableApp(ctx context.Context, o Order) (any, error) {
	a, err := r.app(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	if err := r.Cloud.SetDisabled(ctx, a.ObjectID, false); err != nil {
		return nil, err
	}
	r.unlock("", a.AppID)
	return r.shown(ctx, a.ObjectID, "")
}

func (r *Registrar) removeApp(ctx context.Context, o Order) (any, error) {
	a, err := r.app(ctx, o.Name)
	if err == nil {
		err = r.spare(ctx, a.ObjectID)
	}
	if err != nil {
		return nil, err
	}
	v, err := r.viewApp(ctx, a)
	return v, errors.Join(err, r.Cloud.DeletePrincipal(ctx, a.ObjectID))
}

func (r *Registrar) addCertificate(ctx context.Context, o Order) (any, error) {
	return r.change(ctx, o, func(id string) error {
		_, err := r.Cloud.AddCertificate(ctx, id, o.Certificate)
		return err
	})
}

func (r *Registrar) removeCertificate(ctx context.Context, o Order) (any, error) {
	return r.change(ctx, o, func(id string) error { return r.Cloud.RemoveCertificate(ctx, id, o.Thumbprint) })
}

func (r *Registrar) addFederated(ctx context.Context, o Order) (any, error) {
	return r.change(ctx, o, func(id string) error { return r.Cloud.AddFederated(ctx, id, o.Federated) })
}

func (r *Registrar) removeFederated(ctx context.Context, o Order) (any, error) {
	return r.change(ctx, o, func(id string) error { return r.Cloud.RemoveFederated(ctx, id, o.Federated.Name) })
}

// change does something to one application and shows it.
func (r *Registrar) change(ctx context.Context, o Order, do func(id string) error) (any, error) {
	a, err := r.app(ctx, o.Name)
	if err == nil {
		err = do(a.ObjectID)
	}
	if err != nil {
		return nil, err
	}
	return r.shown(ctx, a.ObjectID, "")
}
