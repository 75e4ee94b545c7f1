package daemon

import (
	"errors"
	"log/slog"
	"net"
	"net/http"

	"redoubt/internal/api/identity"
)

// serveIdentityEndpoint offers managed identities to programs the way App Service does: a plain HTTP
// address on loopback and a secret header, both in env.sh. It is off unless asked for, because the SDKs'
// default credential prefers it to a person's sign-in once the variables are there.
func (d *Dev) serveIdentityEndpoint() error {
	if !d.cfg.IdentityEndpoint {
		return nil
	}
	msi, err := identity.NewMSI(d.issuer, d.cloud, d.msiHeader, d.log)
	if err != nil {
		return err
	}
	l, err := d.bind(net.JoinHostPort("127.0.0.1", "0"), "identity")
	if err != nil {
		return err
	}
	d.identityAddr = l.Addr()
	srv := &http.Server{Handler: msi, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: headerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerBytes, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)}
	d.servers = append(d.servers, srv)
	d.work.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("the identity endpoint ended", "error", err)
		}
	})
	return nil
}

// identityVariables are the lines that env.sh gets for it.
func (d *Dev) identityVariables() []Variable {
	if d.identityAddr == nil {
		return nil
	}
	return []Variable{{"IDENTITY_ENDPOINT", "http://" + d.identityAddr.String() + "/msi/token"}, {"IDENTITY_HEADER", d.msiHeader}}
}
