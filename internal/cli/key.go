package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) key() *cobra.Command {
	return group("key", "Keys of an HSM", a.keyCreate(), a.keyShow(), a.keyList(), a.keyListVersions(), a.keySetAttributes(), a.keyRotate(), a.rotationPolicy(),
		a.keyDelete(), a.keyShowDeleted(), a.keyListDeleted(), a.keyRecover(), a.keyPurge(),
		a.keyImport(), a.keyMakeBYOK(), a.keyDownload(), a.keyBackup(), a.keyRestore(), a.keyGetAttestation(), a.keyVerifyAttestation())
}

var keyColumns = []string{"name", "kid", "attributes.enabled", "attributes.created"}

// keyAttributes is how az prints a key's attributes: times in words, unset ones as null.
type keyAttributes struct {
	Created         *string `json:"created"`
	Enabled         bool    `json:"enabled"`
	Expires         *string `json:"expires"`
	Exportable      bool    `json:"exportable"`
	HSMPlatform     *string `json:"hsmPlatform"`
	KeySize         *int    `json:"keySize,omitempty"`
	NotBefore       *string `json:"notBefore"`
	RecoverableDays int     `json:"recoverableDays"`
	RecoveryLevel   string  `json:"recoveryLevel"`
	Updated         *string `json:"updated"`
}

func azAttributes(at client.Attributes) keyAttributes {
	out := keyAttributes{Created: azTime(at.Created), Enabled: at.Enabled, Expires: azTime(at.Expires), Exportable: at.Exportable, NotBefore: azTime(at.NotBefore),
		RecoverableDays: at.RecoverableDays, RecoveryLevel: at.RecoveryLevel, Updated: azTime(at.Updated)}
	if at.HSMPlatform != "" {
		out.HSMPlatform = &at.HSMPlatform
	}
	if at.KeySize != 0 {
		out.KeySize = &at.KeySize
	}
	return out
}

func azTime(unix int64) *string {
	if unix == 0 {
		return nil
	}
	s := time.Unix(unix, 0).UTC().Format("2006-01-02T15:04:05+00:00")
	return &s
}

// shownKey is how az prints a key: byte strings in plain base64.
type shownKey struct {
	Attributes keyAttributes     `json:"attributes"`
	Key        shownJWK          `json:"key"`
	Tags       map[string]string `json:"tags"`
	Release    *shownRelease     `json:"releasePolicy"`
	shownDeletion
}

// shownDeletion is what deleted keys have besides.
type shownDeletion struct {
	DeletedDate        *string `json:"deletedDate,omitempty"`
	RecoveryID         string  `json:"recoveryId,omitempty"`
	ScheduledPurgeDate *string `json:"scheduledPurgeDate,omitempty"`
}

type shownJWK struct {
	Crv    *string  `json:"crv"`
	E      *string  `json:"e"`
	KeyOps []string `json:"keyOps"`
	Kid    string   `json:"kid"`
	Kty    string   `json:"kty"`
	N      *string  `json:"n"`
	X      *string  `json:"x"`
	Y      *string  `json:"y"`
}

func (a *app) printKey(k client.Key) error {
	text := func(b client.Bytes) *string {
		if len(b) == 0 {
			return nil
		}
		s := base64.StdEncoding.EncodeToString(b)
		return &s
	}
	out := shownKey{Attributes: azAttributes(k.Attributes), Tags: k.Tags, Release: showPolicy(k.Release), Key: shownJWK{KeyOps: k.Key.KeyOps, Kid: k.Key.Kid, Kty: k.Key.Kty,
		N: text(k.Key.N), E: text(k.Key.E), X: text(k.Key.X), Y: text(k.Key.Y)}}
	if k.Key.Crv != "" {
		out.Key.Crv = &k.Key.Crv
	}
	out.shownDeletion = shownDeletion{azTime(k.DeletedDate), k.RecoveryID, azTime(k.ScheduledPurgeDate)}
	return a.print(out, "key.kid", "key.kty", "attributes.enabled", "attributes.created")
}

type shownItem struct {
	Attributes keyAttributes     `json:"attributes"`
	Kid        string            `json:"kid"`
	Name       string            `json:"name"`
	Tags       map[string]string `json:"tags"`
	shownDeletion
}

func (a *app) printKeys(items []client.KeyItem) error {
	out := []shownItem{}
	for _, k := range items {
		out = append(out, shownItem{Attributes: azAttributes(k.Attributes), Kid: k.Kid, Name: k.Name(), Tags: k.Tags,
			shownDeletion: shownDeletion{azTime(k.DeletedDate), k.RecoveryID, azTime(k.ScheduledPurgeDate)}})
	}
	return a.print(out, keyColumns...)
}

// keyAddress names a key: --hsm-name and --name, or --id with the key's own URL.
type keyAddress struct{ hsm, id, name, version string }

func (t *keyAddress) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.hsm, "hsm-name", "", "name of the HSM")
	f.StringVar(&t.id, "id", "", "URL of the key, instead of --hsm-name and --name")
	f.StringVarP(&t.name, "name", "n", "", "name of the key")
	c.MarkFlagsOneRequired("hsm-name", "id")
	c.MarkFlagsMutuallyExclusive("hsm-name", "id")
	c.MarkFlagsMutuallyExclusive("name", "id")
}

func (t *keyAddress) open(a *app) (*client.HSM, error) {
	at := address{name: t.hsm}
	if t.id != "" {
		parts := strings.Split(strings.Trim(strings.TrimPrefix(t.id, "https://"), "/"), "/")
		if len(parts) < 3 || len(parts) > 4 || !strings.EqualFold(parts[1], "keys") && !strings.EqualFold(parts[1], "deletedkeys") {
			return nil, wrongUse("--id %s is not the URL of a key", t.id)
		}
		at.id = "https://" + parts[0]
		t.name = parts[2]
		if len(parts) == 4 {
			t.version = parts[3]
		}
	}
	if t.name == "" {
		return nil, wrongUse("--name is needed")
	}
	_, h, err := at.open(a)
	return h, err
}

// parseTags reads NAME=VALUE arguments; az takes a name alone for an empty value.
func parseTags(args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, t := range args {
		name, value, _ := strings.Cut(t, "=")
		if name == "" {
			return nil, wrongUse("--tags %q: use NAME=VALUE", t)
		}
		out[name] = value
	}
	return out, nil
}

func (a *app) keyShow() *cobra.Command {
	var t keyAddress
	var version string
	c := a.verb("show", "Show a key with its public part", "Of the newest version, unless --version names another.", func(ctx context.Context) error {
		h, err := t.open(a)
		if err != nil {
			return err
		}
		if version != "" {
			t.version = version
		}
		k, err := h.GetKey(ctx, t.name, t.version)
		if err != nil {
			return fmt.Errorf("show key %s: %w", t.name, err)
		}
		return a.printKey(k)
	})
	t.flags(c)
	c.Flags().StringVarP(&version, "version", "v", "", "version of the key")
	return c
}

func (a *app) keyList() *cobra.Command {
	var at address
	var max int
	c := a.verb("list", "List the keys of an HSM", "", func(ctx context.Context) error {
		_, h, err := at.open(a)
		if err != nil {
			return err
		}
		items, err := h.ListKeys(ctx)
		if err != nil {
			return fmt.Errorf("list keys: %w", err)
		}
		if max > 0 && len(items) > max {
			items = items[:max]
		}
		return a.printKeys(items)
	})
	at.flags(c)
	c.Flags().IntVar(&max, "maxresults", 0, "how many to show")
	c.Flags().Bool("include-managed", false, "")
	_ = c.Flags().MarkHidden("include-managed")
	return c
}

func (a *app) keyListVersions() *cobra.Command {
	var t keyAddress
	c := a.verb("list-versions", "List the versions of a key", "", func(ctx context.Context) error {
		h, err := t.open(a)
		if err != nil {
			return err
		}
		items, err := h.ListKeyVersions(ctx, t.name)
		if err != nil {
			return fmt.Errorf("list versions of key %s: %w", t.name, err)
		}
		return a.printKeys(items)
	})
	t.flags(c)
	return c
}
