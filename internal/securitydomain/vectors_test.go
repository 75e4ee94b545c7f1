package securitydomain

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"redoubt/internal/secret"
	"redoubt/internal/securitydomain/shamir"
)

func TestKDFVectors(t *testing.T) {
	t.Parallel()
	var v struct {
		Vectors []struct {
			Key     string `json:"key_hex"`
			Label   string
			Context string
			Bits    int    `json:"bit_length"`
			Output  string `json:"output_hex"`
		}
	}
	readJSON(t, &v, "vectors", "kdf.json")
	if len(v.Vectors) == 0 {
		t.Fatal("no vectors")
	}
	for _, c := range v.Vectors {
		if got := sp800108(unhex(t, c.Key), c.Label, c.Context, c.Bits/8); !bytes.Equal(got, unhex(t, c.Output)) {
			t.Errorf("label %q, context %q, %d bits: %x", c.Label, c.Context, c.Bits, got)
		}
	}
}

func TestJWEDirectVector(t *testing.T) {
	t.Parallel()
	var v struct {
		CEK     string `json:"cek_hex"`
		IV      string `json:"iv_hex"`
		Kid     string
		Plain   string `json:"plaintext_utf8"`
		Compact string `json:"compact_jwe"`
	}
	readJSON(t, &v, "vectors", "jwe_dir.json")
	cek := unhex(t, v.CEK)
	j, err := parseJWE(v.Compact, algDirect)
	if err != nil || j.kid != v.Kid {
		t.Fatal(j.kid, err)
	}
	if plain, err := j.openDirect(cek); err != nil || string(plain) != v.Plain {
		t.Errorf("decrypted %q, %v", plain, err)
	}
	if got, err := sealContent(algDirect, v.Kid, "", cek, unhex(t, v.IV), []byte(v.Plain)); err != nil || got != v.Compact {
		t.Errorf("made %s, %v", got, err)
	}
}

type domainSecrets struct {
	Master string     `json:"master_key_hex"`
	Shares [][]uint16 `json:"shares_uint16"`
	Data   []struct {
		Tag   string
		Plain string `json:"plaintext_hex"`
		Key   string `json:"key_hex"`
	}
}

func vectorData(t testing.TB) (domainSecrets, []Datum) {
	t.Helper()
	var s domainSecrets
	readJSON(t, &s, "vectors", "security_domain.secrets.json")
	var data []Datum
	for _, d := range s.Data {
		data = append(data, Datum{Tag: d.Tag, Value: secret.New(unhex(t, d.Plain))})
	}
	return s, data
}

func TestSecurityDomainVector(t *testing.T) {
	t.Parallel()
	file := read(t, "vectors", "security_domain.json")
	secrets, want := vectorData(t)
	master := unhex(t, secrets.Master)
	for _, d := range secrets.Data {
		if got := datumKey(master, d.Tag); !bytes.Equal(got, unhex(t, d.Key)) {
			t.Errorf("key of %s: %x", d.Tag, got)
		}
	}
	d, err := parseDomain(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range d.SharedKeys.EncShares {
		share, err := openShare(holder{key: wrapKey(t, i), share: e})
		if err != nil {
			t.Fatal(err)
		}
		for n, w := range secrets.Shares[i] {
			if uint16(share[2*n])|uint16(share[2*n+1])<<8 != w {
				t.Fatalf("share %d differs at %d", i, n)
			}
		}
	}
	for _, pick := range [][]int{{0, 1}, {1, 0}, {0, 2}, {2, 0}, {1, 2}, {2, 1}, {0, 1, 2}, {2, 1, 0}} {
		var keys []WrappingKey
		for _, i := range pick {
			keys = append(keys, wrapKey(t, i))
		}
		got, err := Open(file, keys)
		if err != nil {
			t.Fatalf("keys %v: %v", pick, err)
		}
		sameData(t, got, want)
	}
	if id := ReadDomainID(file); id != "" {
		t.Errorf("domain id %q in a file without one", id)
	}
}

func TestRestoreBlobVector(t *testing.T) {
	t.Parallel()
	blob := read(t, "vectors", "restore_blob.json")
	_, want := vectorData(t)
	xk := vectorExchange(t)
	got, err := Accept(blob, xk, []string{"sd-data-1", "sd-data-2"})
	if err != nil {
		t.Fatal(err)
	}
	sameData(t, got, want)

	var s struct {
		Master string `json:"restore_master_key_hex"`
	}
	readJSON(t, &s, "vectors", "restore_blob.secrets.json")
	b, err := parseBlob(blob)
	if err != nil {
		t.Fatal(err)
	}
	if master, err := openMaster(b.WrappedKey.EncKey, xk); err != nil || !bytes.Equal(master, unhex(t, s.Master)) {
		t.Errorf("master key %x, %v", master, err)
	}
}

func TestDownloadRequestVector(t *testing.T) {
	t.Parallel()
	body := read(t, "vectors", "download_request.json")
	certs, required, err := ParseDownloadRequest(body)
	if err != nil || required != 2 {
		t.Fatal(required, err)
	}
	want := wrapCerts(t)
	if !reflect.DeepEqual(certs, want) {
		t.Error("the certificates of the request are not those of the files")
	}
	ours, err := EncodeDownloadRequest(want, 2)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(ours, &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("our request differs from the genuine client's:\n%s", ours)
	}
}

// TestFileShape pins what Create writes to the shape of the vector: same members, same order, plus DomainId.
func TestFileShape(t *testing.T) {
	t.Parallel()
	_, data := vectorData(t)
	for file, domainID := range map[string]string{"": "", `,"DomainId":"` + testDomainID + `"`: testDomainID} {
		made, err := Create(data, wrapCerts(t), 2, domainID)
		if err != nil {
			t.Fatal(err)
		}
		got, want := skeleton(t, made), skeleton(t, read(t, "vectors", "security_domain.json"))
		if want = want[:len(want)-1] + file + "}"; got != want {
			t.Errorf("shape:\n%s\nwant\n%s", got, want)
		}
	}
	blob, err := Reencrypt(data, vectorExchange(t).Certificate())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := skeleton(t, blob), skeleton(t, read(t, "vectors", "restore_blob.json")); got != want {
		t.Errorf("shape:\n%s\nwant\n%s", got, want)
	}
}

// skeleton replaces what is random in a file by its length, keeping every other byte but white space.
func skeleton(t testing.TB, file []byte) string {
	t.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, file); err != nil {
		t.Fatal(err)
	}
	out := compact.Bytes()
	var d domainJSON
	var b blobJSON
	if err := json.Unmarshal(file, &d); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &b); err != nil {
		t.Fatal(err)
	}
	blank := func(s string) {
		if s == "" {
			return
		}
		parts := bytes.Split([]byte(s), []byte("."))
		for _, p := range parts[1:] {
			for i := range p {
				p[i] = '#'
			}
		}
		out = bytes.ReplaceAll(out, []byte(s), bytes.Join(parts, []byte(".")))
	}
	for _, x := range d.EncData.Data {
		blank(x.CompactJWE)
	}
	for _, x := range d.SharedKeys.EncShares {
		blank(x.EncKey)
	}
	blank(b.WrappedKey.EncKey)
	return string(out)
}

// TestSharesWeMake opens the shares of a file of ours one by one and combines every choice.
func TestSharesWeMake(t *testing.T) {
	t.Parallel()
	keys := pool()[:5]
	file, err := Create(ourData(), certsOf(keys), 3, testDomainID)
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseDomain(file)
	if err != nil {
		t.Fatal(err)
	}
	var shares [][]byte
	for i, e := range d.SharedKeys.EncShares {
		share, err := openShare(holder{key: keys[i], share: e})
		if err != nil {
			t.Fatal(err)
		}
		if x, err := shamir.Index(share); err != nil || x != i+1 || len(share) != 64 {
			t.Fatalf("share %d has index %d, %d bytes, %v", i, x, len(share), err)
		}
		shares = append(shares, share)
	}
	want, err := shamir.Combine(shares)
	if err != nil || len(want) != 32 {
		t.Fatal(len(want), err)
	}
	for i := range 3 {
		if got, err := shamir.Combine(shares[i : i+3]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("shares from %d: %v", i, err)
		}
	}
}
