package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"redoubt/internal/client"
	"redoubt/internal/durable"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
)

// The holders of the security domain, and how many of them are needed.
const (
	holders = 3
	quorum  = 2
)

// holder is one holder's files. The certificate stands beside the key under the same name, as the Azure CLI
// wants it.
type holder struct{ cert, key string }

func (h holder) name() string { return filepath.Base(h.key) }

// makeHolders makes wrapping key pairs offline: files only.
func makeHolders(dir, prefix string, n int) ([]holder, []securitydomain.Certificate, error) {
	now := time.Now()
	hs := make([]holder, n)
	certs := make([]securitydomain.Certificate, n)
	for i := range n {
		certPEM, keyPEM, err := securitydomain.NewWrappingKeyPair(fmt.Sprintf("%s %d", prefix, i), securitydomain.MinKeyBits, now.Add(-time.Hour).Unix(), now.AddDate(1, 0, 0).Unix())
		if err != nil {
			return nil, nil, err
		}
		base := filepath.Join(dir, fmt.Sprintf("%s_%d", prefix, i))
		hs[i] = holder{cert: base + ".cer", key: base + ".key"}
		err = errors.Join(durable.CreateExclusive(hs[i].cert, certPEM, 0o644), durable.CreateExclusive(hs[i].key, keyPEM.Expose(), 0o600))
		keyPEM.Wipe()
		if err != nil {
			return nil, nil, err
		}
		if certs[i], err = securitydomain.ParseCertificate(hs[i].cert, certPEM); err != nil {
			return nil, nil, err
		}
	}
	return hs, certs, nil
}

// activate downloads the security domain for the holders, which activates the HSM. The file is written
// after the poll that says success, as the Azure CLI does.
func (d *drill) activate(ctx context.Context, s *step) error {
	hs, certs, err := makeHolders(d.file(""), "holder", holders)
	if err != nil {
		return err
	}
	d.holders = hs
	request, err := securitydomain.EncodeDownloadRequest(certs, quorum)
	if err != nil {
		return err
	}
	file, err := d.source.DownloadDomain(ctx, request)
	if err != nil {
		return err
	}
	if _, err := d.source.WaitDownload(ctx, nil); err != nil {
		return err
	}
	d.domain = d.file(sourceName + "-SD.json")
	if err := durable.CreateExclusive(d.domain, file, 0o600); err != nil {
		return err
	}
	id := securitydomain.ReadDomainID(file)
	if id == "" {
		return errors.New("the security domain file names no domain")
	}
	d.report.DomainID = id
	s.note("%d holders, quorum %d, %s", holders, quorum, id)
	return d.expectActive(ctx, sourceName, id)
}

// expectActive asks the control plane whether the HSM is active with this security domain.
func (d *drill) expectActive(ctx context.Context, name, domainID string) error {
	m, err := d.person.GetHSM(ctx, resourceGroup, name)
	if err != nil {
		return err
	}
	if m.Activation != "Active" || !strings.Contains(m.ActivationMessage, domainID) {
		return fmt.Errorf("the control plane says of %s: %s, %s; expected Active with %s", name, m.Activation, m.ActivationMessage, domainID)
	}
	return nil
}

// offline is the offline step: which files it reads and the one it writes.
type offline struct {
	domain   string   // security domain file
	exchange string   // certificate of the new HSM's exchange key
	keys     []holder // of the holders who take part
	out      string   // restore blob
}

// restoreBlob does the offline step in this process. It reads and writes files and does nothing else, and
// it returns the domain id under encryption.
func restoreBlob(o offline) (domainID string, err error) {
	file, err := os.ReadFile(o.domain)
	if err != nil {
		return "", err
	}
	exchangePEM, err := os.ReadFile(o.exchange)
	if err != nil {
		return "", err
	}
	exchange, err := securitydomain.ParseExchangeCertificate(exchangePEM)
	if err != nil {
		return "", err
	}
	var keys []securitydomain.WrappingKey
	defer func() {
		for _, k := range keys {
			k.Wipe()
		}
	}()
	for _, h := range o.keys {
		k, err := readHolder(h)
		if err != nil {
			return "", err
		}
		keys = append(keys, k)
	}
	data, err := securitydomain.Open(file, keys)
	if err != nil {
		return "", err
	}
	defer func() {
		for _, datum := range data {
			datum.Value.Wipe()
		}
	}()
	encoded, _ := securitydomain.Lookup(data, securitydomain.TagInfo)
	info, err := securitydomain.ParseInfo(encoded)
	if err != nil {
		return "", err
	}
	blob, err := securitydomain.Reencrypt(data, exchange)
	if err != nil {
		return "", err
	}
	return info.DomainID, durable.CreateExclusive(o.out, blob, 0o600)
}

func readHolder(h holder) (securitydomain.WrappingKey, error) {
	certPEM, err := os.ReadFile(h.cert)
	if err != nil {
		return securitydomain.WrappingKey{}, err
	}
	keyPEM, err := os.ReadFile(h.key)
	if err != nil {
		return securitydomain.WrappingKey{}, err
	}
	pem := secret.New(keyPEM)
	defer pem.Wipe()
	return securitydomain.ParseWrappingKey(h.name(), certPEM, pem.Expose(), secret.Bytes{})
}

// toolRestoreBlob has the operator's tool do the offline step, in a process that knows of no server.
func toolRestoreBlob(ctx context.Context, tool string, o offline) error {
	args := []string{"security-domain", "restore-blob", "--sd-exchange-key", o.exchange, "--sd-file", o.domain, "--sd-file-restore-blob", o.out, "--sd-wrapping-keys"}
	for _, h := range o.keys {
		args = append(args, h.key)
	}
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = []string{"NO_COLOR=1"} // not ours: it names the proxy's variables, if anything
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s security-domain restore-blob: %w: %s", tool, err, clip(string(out), 400))
	}
	return nil
}

// offlineStep makes the restore blob with a quorum of holders chosen at random, after showing that less
// does not do.
func (d *drill) offlineStep(ctx context.Context, s *step) error {
	order := randomOrder(holders)
	o := offline{domain: d.domain, exchange: d.file(rebuiltName + "-SDE.cer"), out: d.file("restore_blob.json")}
	for _, i := range order[:quorum] {
		o.keys = append(o.keys, d.holders[i])
	}
	if err := d.proveQuorum(o, d.holders[order[0]]); err != nil {
		return err
	}
	d.report.OfflineStep = "in this process, with files only"
	if d.o.Tool != "" {
		d.report.OfflineStep = "by the operator's tool in a process of its own"
		if err := toolRestoreBlob(ctx, d.o.Tool, o); err != nil {
			return err
		}
	} else {
		id, err := restoreBlob(o)
		if err != nil {
			return err
		}
		d.proofs.of(proofDomain).check(id == d.report.DomainID, "the security domain opens to %s, its file says %s", id, d.report.DomainID)
	}
	s.note("%s, with %s and %s", d.report.OfflineStep, o.keys[0].name(), o.keys[1].name())
	return nil
}

// proveQuorum tries the offline step with too few holders, each time without a file being written.
func (d *drill) proveQuorum(o offline, one holder) error {
	strangers, _, err := makeHolders(d.file(""), "stranger", 1)
	if err != nil {
		return err
	}
	t := d.proofs.of(proofQuorum)
	for _, try := range []struct {
		what string
		keys []holder
	}{
		{"without any key", nil},
		{"with one key", []holder{one}},
		{"with one key given twice", []holder{one, one}},
		{"with one key and one of another security domain", []holder{one, strangers[0]}},
	} {
		bad := o
		bad.keys, bad.out = try.keys, d.file("refused_blob.json")
		_, err := restoreBlob(bad)
		t.check(errors.Is(err, securitydomain.ErrQuorum), "%s the security domain did not answer with a lack of quorum: %v", try.what, err)
		_, err = os.Stat(bad.out)
		t.check(errors.Is(err, os.ErrNotExist), "%s a restore blob was written", try.what)
	}
	t.done()
	return nil
}

// uploadDomain gives the restore blob to the new HSM, after the domain ids were compared.
func (d *drill) uploadDomain(ctx context.Context, s *step) error {
	file, err := os.ReadFile(d.domain)
	if err != nil {
		return err
	}
	blob, err := os.ReadFile(d.file("restore_blob.json"))
	if err != nil {
		return err
	}
	t := d.proofs.of(proofDomain)
	id := securitydomain.ReadDomainID(file)
	t.check(id == d.report.DomainID, "the security domain file says %s, the source was activated with %s", id, d.report.DomainID)
	if _, err := d.rebuilt.UploadDomain(ctx, blob); err != nil {
		return err
	}
	status, err := d.rebuilt.WaitUpload(ctx, nil)
	if err != nil {
		return err
	}
	t.check(strings.Contains(status.Details, id), "the upload's status does not name %s: %s", id, status.Details)
	err = d.expectActive(ctx, rebuiltName, id)
	t.check(err == nil, "%v", err)
	t.done()
	s.note("%s", id)
	return nil
}

// initRecovery fetches the exchange key and compares its fingerprint with the one the control plane shows:
// the second channel of the procedure.
func (d *drill) initRecovery(ctx context.Context, s *step) error {
	jwk, err := d.rebuilt.TransferKey(ctx)
	if err != nil {
		return err
	}
	exchange, err := securitydomain.ParseExchangeCertificate(jwk)
	if err != nil {
		return err
	}
	m, err := d.person.GetHSM(ctx, resourceGroup, rebuiltName)
	if err != nil {
		return err
	}
	if !strings.Contains(m.ActivationMessage, exchange.X5TS256) {
		return fmt.Errorf("the control plane does not show the exchange key's fingerprint %s: %s", exchange.X5TS256, m.ActivationMessage)
	}
	s.note("exchange key %s", exchange.X5TS256)
	return durable.CreateExclusive(d.file(rebuiltName+"-SDE.cer"), exchange.PEM(), 0o644)
}

// proveInactive shows that an HSM without a security domain refuses what its administrator may do later, and
// says why; a key he may not make in any case.
func (d *drill) proveInactive(ctx context.Context, h *client.HSM) {
	t := d.proofs.of(proofActivation)
	for what, do := range map[string]func() error{
		"took a backup":           func() error { _, err := h.StartBackup(ctx, d.storage()); return err },
		"listed role assignments": func() error { _, err := h.RoleAssignments(ctx, "/"); return err },
		"listed settings":         func() error { _, err := h.Settings(ctx); return err },
	} {
		err := do()
		t.check(refusedWith(err, 403, "NotActivated"), "%s %s before it was activated, or failed otherwise: %v", h.URL(), what, err)
	}
	_, err := h.CreateKey(ctx, "drill-too-early", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"})
	t.check(refusedWith(err, 403, ""), "%s made a key before it was activated, or failed otherwise: %v", h.URL(), err)
}

// refusedWith tells whether err is the service's answer with a status and, unless empty, a code of its
// innererror.
func refusedWith(err error, status int, inner string) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Status == status && (inner == "" || e.Inner == inner)
}
