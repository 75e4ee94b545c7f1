package attestation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// MaxFile is far above any evidence as a file.
const MaxFile = 64 << 10

// File is evidence as a file: the JSON that "az keyvault key get-attestation --file" writes, with byte strings in plain base64.
func (e Evidence) File() []byte {
	text := func(b []byte) *string {
		if len(b) == 0 {
			return nil
		}
		s := base64.StdEncoding.EncodeToString(b)
		return &s
	}
	b, _ := json.Marshal(struct { // strings always encode
		Certificates *string `json:"certificatePemFile"`
		Private      *string `json:"privateKeyAttestation"`
		Public       *string `json:"publicKeyAttestation"`
		Version      string  `json:"version"`
	}{text(e.Certificates), text(e.Private), text(e.Public), e.Version})
	return append(b, '\n')
}

// ParseFile reads evidence from a file, with byte strings in either alphabet of base64. It does not verify it. What is no such file is not
// genuine evidence either.
func ParseFile(b []byte) (Evidence, error) {
	e, err := parseFile(b)
	if err != nil {
		return Evidence{}, notGenuine("%v", err)
	}
	return e, nil
}

func parseFile(b []byte) (e Evidence, err error) {
	if len(b) > MaxFile {
		return e, fmt.Errorf("the file is larger than %d bytes", MaxFile)
	}
	members, err := flatObject(b)
	if err != nil {
		return e, err
	}
	e.Version = members["version"]
	for name, to := range map[string]*[]byte{"certificatePemFile": &e.Certificates, "privateKeyAttestation": &e.Private, "publicKeyAttestation": &e.Public} {
		if *to, err = anyBase64(members[name]); err != nil {
			return e, fmt.Errorf("the member %s is not base64", name)
		}
		delete(members, name)
	}
	delete(members, "version")
	if len(members) > 0 {
		return e, errors.New("the file has members that evidence does not have")
	}
	return e, nil
}

// flatObject reads a JSON object of strings and nulls, in which no name comes twice. A null is as if it were not there.
func flatObject(b []byte) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("the file is not a JSON object")
	}
	out, seen := map[string]string{}, map[string]bool{}
	for d.More() {
		name, err1 := d.Token()
		value, err2 := d.Token()
		n, isName := name.(string)
		s, isText := value.(string)
		if errors.Join(err1, err2) != nil || !isName || seen[n] || value != nil && !isText {
			return nil, errors.New("the file is not a JSON object of strings, each once")
		}
		if seen[n] = true; isText {
			out[n] = s
		}
	}
	if _, err := d.Token(); err != nil || len(bytes.Trim(b[d.InputOffset():], " \t\r\n")) > 0 {
		return nil, errors.New("the file is not one whole JSON object")
	}
	return out, nil
}

func anyBase64(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	return base64.RawStdEncoding.Strict().DecodeString(s)
}
