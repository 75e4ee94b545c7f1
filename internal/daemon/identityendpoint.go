package daemon

import (
	"errors"
	"log/slog"
	"net"
	"net/http"

	"redoubt/internal/api/identity"
)

// serveManagedIdentity offers managed identities to programs in the two ways in which Azure does: as App Service,
// with a plain HTTP address on loopback and a secret header, and as the metadata service of a virtual machine, with
// an address alone. Both are in env.sh. They are off unless asked for, because the SDKs' default credential
// prefers them to a person's sign-in once the variables are there.
func (d *Dev) serveManagedIdentity() error {
	if d.cfg.IdentityEndpoint {
		msi, err := identity.NewMSI(d.issuer, d.cloud, d.msiHeader, d.log)
		if err == nil {
			d.identityAddr, err = d.servePlain(msi, "identity")
		}
		if err != nil {
			return err
		}
	}
	if d.cfg.IMDS {
		imds, err := identity.NewIMDS(d.issuer, d.cloud, d.log)
		if err == nil {
			d.imdsAddr, err = d.servePlain(imds, "imds")
		}
		return err
	}
	return nil
}

// servePlain answers plain HTTP on a port of loopback.
func (d *Dev) servePlain(h http.Handler, what string) (net.Addr, error) {
	l, err := d.bind(net.JoinHostPort("127.0.0.1", "0"), what)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: headerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerBytes, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)}
	d.servers = append(d.servers, srv)
	d.work.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("a managed identity endpoint ended", "endpoint", what, "error", err)
		}
	})
	return l.Addr(), nil
}

// identityVariables are the lines that env.sh gets for them.
func (d *Dev) identityVariables() (vars []Variable) {
	if d.identityAddr != nil {
		vars = append(vars, Variable{"IDENTITY_ENDPOINT", "http://" + d.identityAddr.String() + "/msi/token"}, Variable{"IDENTITY_HEADER", d.msiHeader})
	}
	if d.imdsAddr != nil {
		vars = append(vars, Variable{"AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://" + d.imdsAddr.String()})
	}
	return vars
}
