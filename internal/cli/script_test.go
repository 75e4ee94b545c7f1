package cli

import (
	"bytes"
	"context"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"redoubt/internal/attestation"
	"redoubt/internal/audit"
	"redoubt/internal/backup"
	"redoubt/internal/blob/dir"
	"redoubt/internal/byok"
	"redoubt/internal/client"
	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/seal"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
)

// The scripts run the tool as a program, and beside it a few that play the HSM.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"redoubt":    func() { os.Exit(Main()) },
		"mkdomain":   program(mkDomain),
		"mkexchange": program(mkExchange),
		"accept":     program(accept),
		"mkbackup":   program(mkBackup),
		"mkaudit":    program(mkAudit),
		"dropfile":   program(dropFile),
		"mkkek":      program(mkKEK),
		"openbyok":   program(openBYOK),
		"mkevidence": program(mkEvidence),
		"mkkey":      program(mkKey),
		"flip":       program(flip),
		"truncate":   program(truncate),
		"mode":       program(mode),
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true, Setup: func(e *testscript.Env) error {
		// A ceremony machine has no network: a proxy that nobody answers makes every attempt fail at once.
		e.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
		e.Setenv("PATH", os.Getenv("PATH"))
		for _, from := range []string{"vectors", "keys", "golden"} {
			if err := copyAll(filepath.Join("..", "securitydomain", "testdata", from), filepath.Join(e.WorkDir, from)); err != nil {
				return err
			}
		}
		return nil
	}})
}

func copyAll(from, to string) error {
	return os.CopyFS(to, os.DirFS(from))
}

// program makes a main function of one that takes arguments.
func program(f func(args []string) error) func() {
	return func() {
		if err := f(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, filepath.Base(os.Args[0])+":", err)
			os.Exit(1)
		}
	}
}

// testRoot is the same root every time: seed bytes 0, 1, 2, ...
func testRoot() *seal.Root {
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(i)
	}
	r, err := seal.FromDomain(secret.New(b[:32]), secret.New(b[32:]), 1)
	if err != nil {
		panic(err)
	}
	return r
}

// mkDomain QUORUM OUT CERT...: what an HSM hands out at activation.
func mkDomain(args []string) error {
	quorum, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var certs []securitydomain.Certificate
	for _, path := range args[2:] {
		c, _, err := readCertificate(path)
		if err != nil {
			return err
		}
		certs = append(certs, c)
	}
	r := testRoot()
	root, seed, epoch := r.Domain()
	file, err := securitydomain.Create([]securitydomain.Datum{{Tag: securitydomain.TagRoot, Value: root}, {Tag: securitydomain.TagSigningSeed, Value: seed},
		{Tag: securitydomain.TagInfo, Value: securitydomain.EncodeInfo(securitydomain.Info{Epoch: epoch, DomainID: r.DomainID()})}}, certs, quorum, r.DomainID())
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], file, 0o600)
}

// mkExchange PRIVATE PUBLIC: what an HSM makes at init-recovery.
func mkExchange(args []string) error {
	x, err := securitydomain.NewExchangeKey("mhsm-exchange", 1, 2_000_000_000)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(args[0], x.Export().Expose(), 0o600), os.WriteFile(args[1], x.CertificatePEM(), 0o600))
}

// accept PRIVATE BLOB: what an HSM does at upload. It prints the domain that it would install.
func accept(args []string) error {
	private, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	x, err := securitydomain.ImportExchangeKey(secret.New(private))
	if err != nil {
		return err
	}
	blob, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	data, err := securitydomain.Accept(blob, x, securitydomain.Tags())
	if err != nil {
		return err
	}
	root, _ := securitydomain.Lookup(data, securitydomain.TagRoot)
	seed, _ := securitydomain.Lookup(data, securitydomain.TagSigningSeed)
	r, err := seal.FromDomain(root, seed, 1)
	if err != nil {
		return err
	}
	fmt.Println("accepted", r.DomainID())
	return nil
}

// mkBackup DIR RECORDS: a backup by testRoot's HSM, in the folder mhsm-Contoso-2026010203040500.
func mkBackup(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := dir.Create(args[0])
	if err != nil {
		return err
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := testRoot()
	_, err = backup.Write(context.Background(), c, backup.Origin{Folder: backup.Folder("Contoso", at), HSMID: "11111111-1111-4111-8111-111111111111", HSMName: "Contoso",
		DomainID: r.DomainID(), Epoch: 1, Lineage: "22222222-2222-4222-8222-222222222222", Revision: 7, Time: at, Sequence: 3,
		AuditHead: audit.Head{Seq: 1, Hash: fmt.Sprintf("%064d", 1)}.String()}, func(yield func(backup.Record, error) bool) {
		for i := range n {
			if !yield(backup.Record{Name: fmt.Sprintf("record-%06d", i), Sealed: bytes.Repeat([]byte{byte(i)}, 100)}, nil) {
				return
			}
		}
	}, r)
	return err
}

// flip FILE MARK [OFFSET]: changes the byte at OFFSET (0) behind the first MARK to another of its alphabet.
func flip(args []string) error {
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	offset := 0
	if len(args) > 2 {
		if offset, err = strconv.Atoi(args[2]); err != nil {
			return err
		}
	}
	i := bytes.Index(b, []byte(args[1]))
	if i < 0 {
		return fmt.Errorf("no %q in %s", args[1], args[0])
	}
	at := i + len(args[1]) + offset
	switch b[at] {
	case 'A':
		b[at] = 'B'
	case '0':
		b[at] = '1'
	default:
		if b[at] >= '0' && b[at] <= '9' {
			b[at] = '0'
		} else {
			b[at] = 'A'
		}
	}
	return os.WriteFile(args[0], b, 0o600)
}

// truncate FILE BYTES: keeps the beginning only; a negative number cuts off that many.
func truncate(args []string) error {
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if n < 0 {
		n += len(b)
	}
	return os.WriteFile(args[0], b[:n], 0o600)
}

// mode OCTAL FILE...: fails unless every file has these permissions.
func mode(args []string) error {
	for _, path := range args[1:] {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if got := fmt.Sprintf("%04o", st.Mode()&fs.ModePerm); got != args[0] {
			return fmt.Errorf("%s has mode %s, not %s", path, got, args[0])
		}
	}
	return nil
}

// mkKEK PRIVATE PUBLIC JWK: a key exchange key, as DER, as key download writes it, and as key show prints it.
func mkKEK(args []string) error {
	k, err := material.Generate(key.Spec{Type: key.RSA, Bits: 2048})
	if err != nil {
		return err
	}
	inside, err := k.Export()
	if err != nil {
		return err
	}
	pub := k.Public()
	der, err := publicDER(client.JWK{Kty: "RSA-HSM", N: pub.N, E: pub.E})
	if err != nil {
		return err
	}
	std := base64.StdEncoding.EncodeToString
	show := fmt.Sprintf(`{"attributes":{},"key":{"keyOps":["import"],"kid":%q,"kty":"RSA-HSM","n":%q,"e":%q}}`, args[3], std(pub.N), std(pub.E))
	return errors.Join(os.WriteFile(args[0], inside.Expose(), 0o600), os.WriteFile(args[1], pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600),
		os.WriteFile(args[2], []byte(show), 0o600))
}

// openBYOK PRIVATE FILE [oct | as PUBLIC]: what an HSM does with a transfer blob. It prints what was inside, which must
// have the public half that mkKey printed into the file PUBLIC.
func openBYOK(args []string) error {
	der, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	kek, err := material.ImportPKCS8(secret.New(der))
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	blob, err := byok.Parse(raw)
	if err != nil {
		return err
	}
	inside, err := kek.UnwrapTransfer(key.TransferSHA1, blob.Ciphertext)
	if err != nil {
		return err
	}
	if len(args) == 3 {
		fmt.Printf("%s %q\n", blob.KID, inside.Expose())
		return nil
	}
	k, err := material.ImportPKCS8(inside)
	if err != nil {
		return err
	}
	pub := k.Public()
	public, err := publicDER(client.JWK{Kty: string(k.Spec().Type), Crv: string(k.Spec().Curve), N: pub.N, E: pub.E, X: pub.X, Y: pub.Y})
	if len(args) == 4 {
		if want, rerr := os.ReadFile(args[3]); rerr != nil || string(want) != hexSHA256(public)+"\n" {
			return fmt.Errorf("it is another key than that of %s", args[3])
		}
	}
	fmt.Println(blob.KID, k.Spec(), hexSHA256(public), blob.Generator != "")
	return err
}

// mkKey CURVE FILE: a new private key in SEC 1 (RFC 5915), as openssl ecparam -genkey writes it. It prints its public half.
func mkKey(args []string) error {
	k, err := material.Generate(key.Spec{Type: key.EC, Curve: key.Curve(args[0])})
	if err != nil {
		return err
	}
	p, err := k.Private()
	if err != nil {
		return err
	}
	der, err := asn1.Marshal(struct {
		Version int
		Key     []byte
		Curve   asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
	}{1, p.D.Expose(), oidCurves[key.Curve(args[0])]})
	if err != nil {
		return err
	}
	pub := k.Public()
	public, err := publicDER(client.JWK{Kty: "EC", Crv: args[0], X: pub.X, Y: pub.Y})
	fmt.Println(hexSHA256(public))
	return errors.Join(err, os.WriteFile(args[1], pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
}

const evidenceVersion = "0123456789abcdef0123456789abcdef"

// mkEvidence KIND FILE CERTIFICATES: evidence, and the certificates that are in it. It prints the fingerprint of the attestation root.
func mkEvidence(args []string) error {
	e, root, err := someEvidence(args[0])
	if err != nil {
		return err
	}
	fmt.Println(root)
	return errors.Join(os.WriteFile(args[1], e.File(), 0o600), os.WriteFile(args[2], e.Certificates, 0o600))
}

// someEvidence is what testRoot's HSM says of a key, rsa (generated) or oct (imported, exportable).
func someEvidence(kind string) (e attestation.Evidence, fingerprint string, err error) {
	const id = "11111111-1111-4111-8111-111111111111"
	r := testRoot()
	root, leaf := r.Attesters(id)
	i, err := attestation.NewIdentity(root, leaf, attestation.Name{HSM: "Contoso", ID: id, Domain: r.DomainID()}, func(text []byte) attestation.Endorsement {
		return attestation.Endorsement{Key: r.PublicKey(), Signature: r.Endorse(text)}
	})
	if err != nil {
		return e, "", err
	}
	m := key.Meta{Name: "signing", Version: evidenceVersion, Spec: key.Spec{Type: key.RSA, Bits: 2048}, Ops: []key.Op{key.OpSign}, Attributes: key.Attributes{Enabled: true, Created: 1767323045},
		Public: key.Public{N: bytes.Repeat([]byte{0xc1}, 256), E: []byte{1, 0, 1}}}
	if kind == "oct" {
		m = key.Meta{Name: "wrapping", Version: evidenceVersion, Spec: key.Spec{Type: key.Oct, Bits: 256}, Imported: true,
			Attributes: key.Attributes{Created: 1767323045, Exportable: true}, Release: &key.ReleasePolicy{Data: []byte(`{"version":"1.0.0"}`), Immutable: true}}
	}
	e, err = i.Attest(i.Describe(m, 1767409445))
	return e, i.Root(), err
}
