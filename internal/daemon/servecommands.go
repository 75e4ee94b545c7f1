package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
	"redoubt/internal/durable"
	"redoubt/internal/store/bolt"
	"redoubt/internal/unlock/passfile"
)

// withConfig makes a command that does something with a configuration file.
func withConfig(c *cobra.Command, run func(c *cobra.Command, cfg Config) error) *cobra.Command {
	var file string
	c.Args = exactly(0)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := ReadConfig(file)
		if err != nil {
			return err
		}
		return run(c, cfg)
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (required); see docs/configuration.md")
	_ = c.MarkFlagRequired("config") // cannot fail: the flag exists
	return c
}

func serveCommand() *cobra.Command {
	var verbose bool
	c := &cobra.Command{Use: "serve --config FILE", Short: "Serve HSMs for real: control plane and data plane, tokens of your own issuers",
		Long: `Serve the HSMs of the data directory that redoubtd init made, with the names, certificate and issuers of
the configuration file.

One line beginning "ready" is printed when everything answers. SIGHUP reads the TLS certificate and key
again; SIGTERM takes no new requests, lets running ones end, and exits.`}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log everything, as log.level = \"debug\" does")
	return withConfig(c, func(c *cobra.Command, cfg Config) error {
		log, access := cfg.Log.loggers(c.ErrOrStderr(), verbose)
		return runServe(c.Context(), cfg, ServeOptions{Log: log, Access: access}, c.OutOrStdout())
	})
}

// runServe serves until the context ends.
func runServe(ctx context.Context, cfg Config, o ServeOptions, out io.Writer) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	s, err := StartServe(ctx, cfg, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "ready %s health=%s\n", s.addr, s.health)
	for {
		select {
		case <-again:
			s.Reload()
		case <-ctx.Done():
			return s.Close()
		}
	}
}

func initCommand() *cobra.Command {
	return withConfig(&cobra.Command{Use: "init --config FILE", Short: "Make the data directory of redoubtd serve, once",
		Long: `Make the data directory and, if there is none, the passphrase file that a configuration names; store the
tenant, the subscription and its owners. It never touches a data directory that is in use, and cannot be
run twice.

Keep a copy of the passphrase file in another place: with the data directory alone, nothing can be opened.`},
		func(c *cobra.Command, cfg Config) error {
			if err := initialise(c.Context(), cfg); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "made %s for subscription %s with %d owners; keep a copy of %s elsewhere\n",
				cfg.DataDirectory, cfg.Subscription, len(cfg.Owners), cfg.PassphraseFile)
			return nil
		})
}

// initialise makes what serve needs. What a crash leaves half made is gone on with the next time: the one
// transaction of cloud.Found decides whether it happened.
func initialise(ctx context.Context, cfg Config) (err error) {
	if len(cfg.Owners) == 0 {
		return errors.New("owners: at least one object id is needed, or nobody could ever create an HSM")
	}
	p := cfg.place()
	if _, err := p.roots(); err != nil { // a passphrase inside the data directory, before anything is made
		return err
	}
	if err := emptyOrBegun(p); err != nil {
		return err
	}
	if err := folderOfPassphrase(p); err != nil {
		return err
	}
	if err := durable.MkdirAll(p.data, 0o700); err != nil {
		return fmt.Errorf("the data directory cannot be made: %w", err)
	}
	info, err := os.Stat(p.data)
	if err != nil {
		return err
	}
	if err := checkPrivate(p.data, info); err != nil {
		return err
	}
	there, err := p.passphraseThere()
	if err != nil {
		return err
	}
	if !there {
		if err := passfile.Create(p.passphrase); err != nil {
			return err
		}
	}
	if err := checkPassphrase(p); err != nil {
		return err
	}
	st, err := bolt.Open(p.store(), bolt.Options{Create: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	err = cloud.Open(st).Found(ctx, cloud.Site{Tenant: cfg.Tenant, Subscription: cfg.Subscription}, cfg.Owners)
	if errors.Is(err, cloud.ErrExists) {
		return fmt.Errorf("%s is in use already, and init makes a new one only; start it with redoubtd serve", cfg.DataDirectory)
	}
	return err
}

// folderOfPassphrase finds out before anything is made that the passphrase file could not be.
func folderOfPassphrase(p place) error {
	dir := filepath.Dir(p.passphrase)
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("passphrase-file: its directory cannot be used; make it first: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("passphrase-file: %s is no directory", dir)
	}
	return nil
}

// emptyOrBegun refuses a directory with files of somebody else.
func emptyOrBegun(p place) error {
	list, err := os.ReadDir(p.data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, e := range list {
		if e.Name() == "store.db" {
			return nil // the store itself says whether it is in use
		}
	}
	if len(list) > 0 {
		return fmt.Errorf("%s is not empty and holds no store.db: it is not Redoubt's; name an empty directory, or one that does not exist", p.data)
	}
	return nil
}

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "The configuration file of redoubtd serve"}
	c.AddCommand(withConfig(&cobra.Command{Use: "check --config FILE", Short: "Check a configuration and the files it names",
		Long: `Check every key of a configuration file, the TLS certificate and key, the passphrase file and the data
directory. Nothing is changed, nothing is sent anywhere, and a running server is not disturbed.`},
		func(c *cobra.Command, cfg Config) error {
			if err := cfg.checkFiles(); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "the configuration is good")
			return nil
		}))
	c.AddCommand(groupIDCommand(), configTokenCommand())
	return c
}

func groupIDCommand() *cobra.Command {
	var issuer string
	c := &cobra.Command{Use: "group-id --issuer URL NAME...", Short: "Print the object ids that stand for groups known by name", Args: cobra.MinimumNArgs(1),
		Long: `Print the object id that stands for each group of an issuer that names groups in its tokens (group-names in
the configuration). NAME is what the token says, byte for byte: Keycloak's group membership mapper writes
paths, such as /hsm/signers, or names alone, as it is set. Assign roles to the id; nothing is asked anywhere.

The id is the name-based UUID, version 5, of NAME in the namespace that is the UUID of the issuer's URL:
  python3 -c 'import sys, uuid; print(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, sys.argv[1]), sys.argv[2]))' URL NAME`}
	c.RunE = func(c *cobra.Command, names []string) error {
		for _, n := range names {
			fmt.Fprintf(c.OutOrStdout(), "%s  %s\n", authn.GroupID(issuer, n), n)
		}
		return nil
	}
	c.Flags().StringVar(&issuer, "issuer", "", "the issuer's URL, exactly as the configuration has it (required)")
	_ = c.MarkFlagRequired("issuer") // cannot fail: the flag exists
	return c
}

// checkFiles checks what the configuration names. All that is wrong is reported at once.
func (c *Config) checkFiles() error {
	var bad []error
	if pair, err := openKeyPair(c.Listen.Certificate, c.Listen.Key, time.Hour, time.Now, nil); err != nil {
		bad = append(bad, err)
	} else {
		for _, name := range uncovered(pair.current().Leaf, c.hostNames()) {
			bad = append(bad, fmt.Errorf("TLS certificate %s: it is not good for %s", c.Listen.Certificate, strings.Replace(name, "any.", "*.", 1)))
		}
	}
	_, err := outsideRoots(c.Outbound.CAFile)
	_, unbelieved := c.believedAttestation()
	_, unsent := c.Audit.Syslog.tls()
	bad = append(bad, err, unbelieved, unsent, checkDirectory(c.place()), checkPassphrase(c.place()))
	return errors.Join(bad...)
}

// outsideRoots are the system's authorities and those in file; nil, which stands for the system's, without one.
func outsideRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("outbound.ca-file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("the system's certificate authorities: %w", err)
	}
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("outbound.ca-file: %s holds no certificate in PEM", file)
	}
	return roots, nil
}

// errNotReady is the outcome of a status that is not good; what it is has been printed.
var errNotReady = errors.New("the server is not ready, or an HSM is not available")

func statusCommand() *cobra.Command {
	return withConfig(&cobra.Command{Use: "status --config FILE", Short: "Ask a running server how it and its HSMs are",
		Long: `Ask the server that runs with this configuration, at its health listener, how it is. One line is printed
for the server and one for each HSM, with what there is to know below it: the age of its last good backup,
jobs, warnings. The exit code is 0 only if the server is ready, every HSM can be used or waits for its security domain,
and every audit log can be written.`},
		func(c *cobra.Command, cfg Config) error {
			return runStatus(c.Context(), cfg.Listen.Health, c.OutOrStdout())
		})
}

func runStatus(ctx context.Context, addr string, out io.Writer) error {
	h, err := askHealth(ctx, addr)
	if err != nil {
		return err
	}
	now := time.Now()
	fmt.Fprintf(out, "%s at %s since %s, certificate until %s\n", h.Phase, h.Address, h.Since.Format(time.RFC3339), h.Certificate.UTC().Format(time.RFC3339))
	if h.Limit > 0 {
		fmt.Fprintf(out, "             %d of %d connections; %d requests were refused as too many; %s of %s free for the data\n", h.Connections, h.Limit, h.Throttled, bytesText(h.Free), bytesText(h.Size))
	}
	for _, issuer := range h.Issuers {
		fmt.Fprintf(out, "             issuer %s: its signing keys could not be fetched when that was last tried; the log says why, see to the issuer, the way to it and outbound.ca-file\n", issuer)
	}
	good := h.Phase == "ready"
	for _, d := range h.HSMs {
		fmt.Fprintf(out, "%-12s %s %s\n", d.State, d.Name, d.Domain)
		for _, line := range d.lines(now) {
			fmt.Fprintf(out, "             %s: %s\n", d.Name, line)
		}
		good = good && d.State != "Unavailable" && d.State != "Sealed" && d.State != "Degraded" && !d.AuditStopped
	}
	if !good {
		return errNotReady
	}
	return nil
}

// lines are what status says of an HSM below its state.
func (d *hsmHealth) lines(now time.Time) (out []string) {
	switch d.State {
	case "Unavailable":
		out = append(out, "it could not be opened; the log says why, and redoubtd check once the server is stopped")
	case "Sealed":
		out = append(out, "its root cannot be opened with passphrase-file, the log says why; put the passphrase that it was sealed with back, no restart is needed")
	}
	switch {
	case d.LastBackup != nil:
		out = append(out, fmt.Sprintf("last good backup %s, %s ago", d.LastBackup.Format(time.RFC3339), now.Sub(*d.LastBackup).Round(time.Second)))
	case d.State == "Active" || d.State == "Restoring":
		out = append(out, "no good backup of its present content")
	}
	if d.Unconfirmed {
		out = append(out, "a security domain was given out and its download not confirmed: the HSM is not activated; download it again, to the end")
	}
	if d.Jobs > 0 {
		out = append(out, fmt.Sprintf("%d backup or restore runs", d.Jobs))
	}
	if d.AuditStopped {
		out = append(out, "the audit log takes no entries, so that changes are refused; make room on its disk")
	}
	if d.AuditWaiting > 0 {
		out = append(out, fmt.Sprintf("%d audit entries are not in the file yet", d.AuditWaiting))
	}
	return append(out, d.Warnings...)
}

// bytesText is a size for people.
func bytesText(n uint64) string {
	const unit = 1 << 10
	v, i := float64(n), 0
	for ; v >= unit && i < 5; i++ {
		v /= unit
	}
	return fmt.Sprintf("%.1f %s", v, []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"}[i])
}
