package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/blob/azblob"
	"redoubt/internal/blob/dir"
	"redoubt/internal/client"
	"redoubt/internal/seal"
	"redoubt/internal/securitydomain"
)

type backupVerify struct {
	storage
	directory, folder string
	domainID, sdFile  string
}

// verified is what a backup was found to be.
type verified struct {
	Folder   string    `json:"folder"`
	Proved   string    `json:"proved"` // who made it, as far as is known
	DomainID string    `json:"domainId"`
	HSMName  string    `json:"hsmName"`
	HSMID    string    `json:"hsmId"`
	Time     time.Time `json:"time"`
	Age      string    `json:"age"`
	Sequence uint64    `json:"sequence"`
	Records  int64     `json:"records"`
	Bytes    int64     `json:"bytes"`
	Blocks   int       `json:"blocks"`
	Audit    string    `json:"auditHead"`
}

func (a *app) backupVerify() *cobra.Command {
	var v backupVerify
	c := a.verb("verify", "Check that a backup is complete, unaltered and of the right security domain", `Reads the whole backup and checks every digest, the order, the end mark and the signature. Nothing is decrypted and
no key is needed. The backup is in a folder of this machine (--directory, offline) or in a blob container (with a SAS
token of the permissions rl, or by your own sign-in).

Trust comes from outside the backup: --domain-id, or --sd-file whose readable domain id is taken. Without either only the
integrity is checked, since anyone can sign with a key of their own. Whoever holds an older backup of the domain can offer
that: look at the time. Exit code 4 means that the backup is not genuine.`, func(ctx context.Context) error { return v.run(ctx, a) })
	v.flags(c)
	f := c.Flags()
	f.StringVar(&v.directory, "directory", "", "folder on this machine that is the container")
	f.StringVar(&v.folder, "backup-folder", "", "folder of the backup in the container")
	f.StringVar(&v.domainID, "domain-id", "", "security domain that must have signed the backup")
	f.StringVar(&v.sdFile, "sd-file", "", "security domain file with that id")
	c.MarkFlagsMutuallyExclusive("domain-id", "sd-file")
	return require(c, "backup-folder")
}

func (v *backupVerify) run(ctx context.Context, a *app) error {
	anchor, err := v.anchor(a)
	if err != nil {
		return err
	}
	container, err := v.open(a)
	if err != nil {
		return err
	}
	m, err := backup.ReadManifest(ctx, container, v.folder, anchor)
	if err != nil {
		return fmt.Errorf("backup %s: %w", v.folder, err)
	}
	p := a.progress("verify")
	var done int64
	err = backup.Verify(ctx, container, m, func(backup.Record) error {
		done++
		p.count(done, m.Records)
		return nil
	})
	p.end()
	if err != nil {
		return fmt.Errorf("backup %s: %w", v.folder, err)
	}
	return a.print(verified{Folder: m.Folder, Proved: m.Trust().String(), DomainID: m.DomainID, HSMName: m.HSMName, HSMID: m.HSMID, Time: m.Time,
		Age: age(a.now().Sub(m.Time)), Sequence: m.Sequence, Records: m.Records, Bytes: m.Bytes, Blocks: len(m.Blocks), Audit: m.AuditHead},
		"folder", "proved", "domainId", "hsmName", "time", "records")
}

// age is a duration as people say it.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future: check the clocks"
	case d < 2*time.Hour:
		return plural(int(d.Minutes()), "minute")
	case d < 48*time.Hour:
		return plural(int(d.Hours()), "hour")
	}
	return plural(int(d.Hours()/24), "day")
}

func (v *backupVerify) anchor(a *app) (backup.Anchor, error) {
	scheme := backup.Scheme{Verify: seal.VerifyManifest, DomainID: seal.DomainIDOf}
	id := v.domainID
	if v.sdFile != "" {
		file, err := readFile("security domain", v.sdFile)
		if err != nil {
			return backup.Anchor{}, err
		}
		s, err := securitydomain.Inspect(file)
		if err != nil {
			return backup.Anchor{}, fmt.Errorf("%s: %w", v.sdFile, err)
		}
		if id = s.DomainID; id == "" {
			return backup.Anchor{}, fmt.Errorf("%s names no domain id: it was not made by Redoubt", v.sdFile)
		}
	}
	if id == "" {
		a.note("Warning: neither --domain-id nor --sd-file is given: integrity only, whoever made it.")
		return backup.Unanchored(scheme), nil
	}
	if !domainIDText.MatchString(id) {
		return backup.Anchor{}, wrongUse("%q is not a domain id (sd- and 32 hex digits)", id)
	}
	return backup.ByDomainID(scheme, id), nil
}

func (v *backupVerify) open(a *app) (blob.Container, error) {
	if v.directory != "" {
		if v.account != "" || v.container != "" || v.uri != "" {
			return nil, wrongUse("--directory stands instead of a storage account")
		}
		return dir.Open(v.directory)
	}
	cfg := client.Config{StorageSuffix: a.environment("REDOUBT_STORAGE_SUFFIX"), HTTP: a.http}
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	uri, err := v.address(c)
	if err != nil {
		return nil, err
	}
	suffix := cfg.StorageSuffix
	if suffix == "" {
		suffix = client.DefaultStorageSuffix
	}
	target, err := blob.ParseTarget(uri, blob.Policy{Suffixes: []string{".blob." + suffix}})
	if err != nil {
		return nil, err
	}
	// The address is the operator's own, so the usual transport and its proxy settings are right.
	o := azblob.Options{Transport: http.DefaultTransport} //nolint:forbidigo // says the comment above
	if a.http != nil && a.http.Transport != nil {
		o.Transport = a.http.Transport
	}
	token, err := v.token(a)
	if err != nil {
		return nil, err
	}
	if token != "" {
		o.SAS = func() string { return token }
		return azblob.Open(target, o)
	}
	if cfg, err = a.connection(); err != nil {
		return nil, errors.Join(errors.New("no SAS token is given"), err)
	}
	o.Token = func(ctx context.Context) (string, time.Time, error) {
		return cfg.Credential.Token(ctx, "https://storage.azure.com")
	}
	return azblob.Open(target, o)
}
