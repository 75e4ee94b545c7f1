package daemon

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Config is the configuration file of `redoubtd serve`, in TOML. docs/configuration.md describes every key; a
// test holds the two together. A key that is not here is refused.
type Config struct {
	DataDirectory  string              `toml:"data-directory"`
	PassphraseFile string              `toml:"passphrase-file"`
	Tenant         string              `toml:"tenant"`
	Subscription   string              `toml:"subscription"`
	Owners         []string            `toml:"owners"`
	Listen         ListenConfig        `toml:"listen"`
	Names          NamesConfig         `toml:"names"`
	Issuers        []IssuerConfig      `toml:"issuers"`
	Attestation    []AttestationConfig `toml:"attestation"`
	Outbound       OutboundConfig      `toml:"outbound"`
	Storage        StorageConfig       `toml:"storage"`
	Limits         LimitsConfig        `toml:"limits"`
	Audit          AuditConfig         `toml:"audit"`
	Log            LogConfig           `toml:"log"`
}

// ListenConfig says where the server answers.
type ListenConfig struct {
	Address     string   `toml:"address"`
	Certificate string   `toml:"certificate"`
	Key         string   `toml:"key"`
	Reload      Duration `toml:"reload"`
	Health      string   `toml:"health"`
}

// NamesConfig says by which names clients know the server. Only these are answered.
type NamesConfig struct {
	DeviceSuffixes   []string `toml:"device-suffixes"`
	ControlHost      string   `toml:"control-host"`
	LoginURL         string   `toml:"login-url"`
	GraphURL         string   `toml:"graph-url"`
	DeviceAudiences  []string `toml:"device-audiences"`
	ControlAudiences []string `toml:"control-audiences"`
	Cloud            string   `toml:"cloud"`
}

// IssuerConfig is an OpenID Connect issuer whose tokens are believed.
type IssuerConfig struct {
	URL              string       `toml:"url"`
	JWKS             string       `toml:"jwks"`
	Algorithms       []string     `toml:"algorithms"`
	Tenant           string       `toml:"tenant"`
	SubjectIsID      bool         `toml:"subject-is-id"`
	DeviceAudiences  []string     `toml:"device-audiences"`
	ControlAudiences []string     `toml:"control-audiences"`
	GroupNames       bool         `toml:"group-names"`
	Claims           ClaimsConfig `toml:"claims"`
}

// ClaimsConfig names the claims of an issuer's tokens; see authn.ClaimNames.
type ClaimsConfig struct {
	ObjectID    string `toml:"object-id"`
	Tenant      string `toml:"tenant"`
	Groups      string `toml:"groups"`
	UserName    string `toml:"user-name"`
	DisplayName string `toml:"display-name"`
	AppID       string `toml:"app-id"`
}

// AttestationConfig is an attestation service whose word about an environment is believed (secure key release).
type AttestationConfig struct {
	URL      string `toml:"url"`
	KeysFile string `toml:"keys-file"`
}

// OutboundConfig is about the connections that the server makes.
type OutboundConfig struct {
	CAFile string `toml:"ca-file"`
}

// StorageConfig says which storage accounts backups may be sent to.
type StorageConfig struct {
	Suffixes    []string       `toml:"suffixes"`
	AllowRanges []netip.Prefix `toml:"allow-ranges"`
	// Addresses are those of storage accounts that the system's resolver does not know, by host name.
	Addresses map[string]netip.Addr `toml:"addresses"`
}

// LimitsConfig bounds what clients may take.
type LimitsConfig struct {
	Connections              int      `toml:"connections"`
	RequestsPerSecond        int      `toml:"requests-per-second"`
	Burst                    int      `toml:"burst"`
	UnauthenticatedPerSecond int      `toml:"unauthenticated-per-second"`
	Keys                     int      `toml:"keys"`
	Versions                 int      `toml:"versions"`
	RestorePointMaxAge       Duration `toml:"restore-point-max-age"`
	ReadyKeys                bool     `toml:"ready-keys"`
	Drain                    Duration `toml:"drain"`
}

// Duration is written as Go writes it: "30m", "1h30m".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%.40q is not a duration such as 30s, 30m or 1h30m", b)
	}
	*d = Duration(v)
	return nil
}

// String implements fmt.Stringer.
func (d Duration) String() string { return time.Duration(d).String() }

// defaults are the values of keys that a file leaves out.
func defaults() Config {
	return Config{
		Listen:  ListenConfig{Address: "0.0.0.0:443", Reload: Duration(10 * time.Second), Health: "127.0.0.1:9480"},
		Names:   NamesConfig{Cloud: "Redoubt"},
		Log:     LogConfig{Format: "text", Level: "warn", Access: accessOff},
		Storage: StorageConfig{Suffixes: []string{".blob.core.windows.net"}},
		Limits: LimitsConfig{Connections: 4096, UnauthenticatedPerSecond: 50, Keys: 5000, Versions: 100, RestorePointMaxAge: Duration(30 * time.Minute), ReadyKeys: true,
			Drain: Duration(30 * time.Second)},
		Audit: AuditConfig{RotateSize: 64 << 20},
	}
}

// maxConfig is the longest configuration file that is read.
const maxConfig = 1 << 20

// ReadConfig reads and checks a configuration file. It touches nothing that the file names.
func ReadConfig(path string) (Config, error) {
	b, err := readOwn(path, maxConfig)
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	cfg, err := parseConfig(b)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// parseConfig decodes and checks. Every mistake is named with its line, or its key where it is one of meaning.
func parseConfig(b []byte) (Config, error) {
	if len(b) > maxConfig {
		return Config{}, fmt.Errorf("longer than %d bytes", maxConfig)
	}
	cfg := defaults()
	dec := toml.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&cfg); err != nil {
		return Config{}, configError(err)
	}
	var raw map[string]any
	if err := toml.Unmarshal(b, &raw); err != nil {
		return Config{}, configError(err)
	}
	if err := smallLetters(raw); err != nil {
		return Config{}, err
	}
	if err := cfg.check(); err != nil {
		return Config{}, err
	}
	cfg.Tenant, cfg.Subscription = strings.ToLower(cfg.Tenant), strings.ToLower(cfg.Subscription)
	for i, o := range cfg.Owners {
		cfg.Owners[i] = strings.ToLower(o)
	}
	return cfg, nil
}

// configError says what is wrong on which line, without repeating the file.
func configError(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for i := range strict.Errors {
			line, _ := strict.Errors[i].Position()
			all = append(all, fmt.Errorf("line %d: there is no key %q; docs/configuration.md lists those there are", line, strings.Join(strict.Errors[i].Key(), ".")))
		}
		return errors.Join(all...)
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		text := strings.TrimPrefix(bad.Error(), "toml: ")
		if m := wrongKind.FindStringSubmatch(text); m != nil { // the library's words have names of our types
			text = fmt.Sprintf("%s: what is needed is %s, not a TOML %s", strings.Join(bad.Key(), "."), cmp.Or(kinds[m[2]], "something else"), m[1])
		}
		return fmt.Errorf("line %d: %s", line, text)
	}
	return err
}

var wrongKind = regexp.MustCompile(`^cannot decode TOML (\w+) into (?:struct field \S+ of type )?(\S+)$`)

// kinds are the types of keys in the words of the page.
var kinds = map[string]string{"string": "a text in quotes", "bool": "true or false", "int": "a whole number without quotes", "[]string": "a list of texts: [\"…\"]"}

// smallLetters refuses keys in other letter case: the decoder would take them, and the last of two spellings
// would count.
func smallLetters(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if key != strings.ToLower(key) {
				return fmt.Errorf("%q: keys are written in small letters", key)
			}
			if err := smallLetters(inner); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range v {
			if err := smallLetters(inner); err != nil {
				return err
			}
		}
	}
	return nil
}
