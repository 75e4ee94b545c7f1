package byok

import (
	"fmt"
	"net/url"
	"strings"
)

// KID is the identifier of a key version, as a blob names the key exchange key: https://HOST/keys/NAME/VERSION.
type KID struct{ Host, Name, Version string }

// ParseKID reads a KID. Name and version are not empty and are otherwise for the HSM to judge; a missing version is
// refused, because only one version of the key can open the blob.
func ParseKID(s string) (KID, error) {
	bad := fmt.Errorf("%w: %.200q is not the identifier of a key exchange key with its version: https://HSM/keys/NAME/VERSION (key.kid of az keyvault key show)", ErrBadBlob, s)
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return KID{}, bad
	}
	parts := strings.Split(u.Path, "/")
	if len(parts) != 4 || parts[0] != "" || !strings.EqualFold(parts[1], "keys") || parts[2] == "" || parts[3] == "" {
		return KID{}, bad
	}
	return KID{Host: u.Host, Name: parts[2], Version: parts[3]}, nil
}
