package securitydomain

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/secret"
	"redoubt/internal/securitydomain/shamir"
)

// TestCeremony goes all the way with every size of quorum: create, open with some holders, re-encrypt, accept.
func TestCeremony(t *testing.T) {
	t.Parallel()
	keys := pool()
	xk := vectorExchange(t)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(MinCertificates, MaxCertificates).Draw(t, "n")
		m := rapid.IntRange(MinQuorum, n).Draw(t, "m")
		data := ourData()
		file, err := Create(data, certsOf(keys[:n]), m, testDomainID)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Inspect(file)
		if err != nil || s.DomainID != testDomainID || s.Required != m || len(s.Thumbprints) != n || !slices.Equal(s.Tags, Tags()) {
			t.Fatalf("%+v, %v", s, err)
		}
		come := rapid.Permutation(keys[:n]).Draw(t, "order")[:rapid.IntRange(1, n).Draw(t, "come")]
		got, err := Open(file, come)
		if len(come) < m {
			wantError(t, err, ErrQuorum, fmt.Sprintf("%d of the %d keys needed", len(come), m))
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		sameData(t, got, data)
		blob, err := Reencrypt(got, xk.Certificate())
		if err != nil {
			t.Fatal(err)
		}
		arrived, err := Accept(blob, xk, Tags())
		if err != nil {
			t.Fatal(err)
		}
		sameData(t, arrived, data)
	})
}

func TestFilesDiffer(t *testing.T) {
	t.Parallel()
	data, certs := ourData(), wrapCerts(t)
	a, errA := Create(data, certs, 2, testDomainID)
	b, errB := Create(data, certs, 2, testDomainID)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	x, _ := parseDomain(a)
	y, _ := parseDomain(b)
	for i := range x.EncData.Data {
		if x.EncData.Data[i].CompactJWE == y.EncData.Data[i].CompactJWE {
			t.Error("two files share a datum")
		}
	}
	// Shares of two files of one domain must not mix: each file has a master key of its own.
	y.SharedKeys.EncShares[1] = x.SharedKeys.EncShares[1]
	mixed, err := marshal(y)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(mixed, []WrappingKey{wrapKey(t, 0), wrapKey(t, 1)})
	wantError(t, err, ErrBadSecurityDomain)
}

func TestCreateRefusesData(t *testing.T) {
	t.Parallel()
	certs := wrapCerts(t)
	for name, data := range map[string][]Datum{
		"none":         nil,
		"repeated tag": {{"a", text("x")}, {"a", text("y")}},
		"no tag":       {{"", text("x")}},
		"quote":        {{`a"b`, text("x")}},
		"backslash":    {{`a\b`, text("x")}},
		"not ASCII":    {{"tägg", text("x")}},
		"control":      {{"a\nb", text("x")}},
		"long tag":     {{strings.Repeat("a", 65), text("x")}},
		"empty value":  {{"a", secret.Bytes{}}},
	} {
		_, err := Create(data, certs, 2, "")
		t.Run(name, func(t *testing.T) { wantError(t, err, ErrBadData) })
		_, err = Reencrypt(data, certs[0])
		wantError(t, err, ErrBadData)
	}
	for _, id := range []string{"x", "sd-", "sd-00112233445566778899AABBCCDDEEFF", testDomainID + "0", "\x1b[2J"} {
		_, err := Create(ourData(), certs, 2, id)
		wantError(t, err, ErrBadData)
	}
	_, err := Reencrypt(ourData(), Certificate{})
	wantError(t, err, ErrBadCertificate)
	special := []Datum{{"<a> & {b}: it's 100% ok~", text("x")}}
	file, err := Create(special, certs, 2, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Open(file, []WrappingKey{wrapKey(t, 0), wrapKey(t, 1)})
	if err != nil || bytes.Contains(file, []byte(`\u`)) {
		t.Fatal(err)
	}
	sameData(t, got, special)
}

// TestQuorumErrors tells the holder what is wrong with what they brought.
func TestQuorumErrors(t *testing.T) {
	t.Parallel()
	file := read(t, "vectors", "security_domain.json")
	k0, k1, k2, stranger := wrapKey(t, 0), wrapKey(t, 1), wrapKey(t, 2), pool()[0]
	again := k0
	again.Name = "copy-of-0.key"
	for name, c := range map[string]struct {
		keys  []WrappingKey
		parts []string
	}{
		"none":      {nil, []string{"0 of the 2 keys needed", "bring 2 more", k0.X5TS256, k1.X5TS256, k2.X5TS256}},
		"one":       {[]WrappingKey{k0}, []string{"1 of the 2 keys needed", "bring 1 more", k1.X5TS256, k2.X5TS256}},
		"wrong":     {[]WrappingKey{k0, stranger}, []string{"1 of the 2 keys needed", "holder-1.key is not a key of this security domain"}},
		"duplicate": {[]WrappingKey{k0, again}, []string{"1 of the 2 keys needed", "copy-of-0.key is the same key as wrap_0.key"}},
		"zero":      {[]WrappingKey{k0, {Name: "empty.key"}}, []string{"1 of the 2 keys needed", "empty.key"}},
		"both":      {[]WrappingKey{stranger, k1, k1, stranger}, []string{"1 of the 2 keys needed", "not a key", "same key"}},
	} {
		_, err := Open(file, c.keys)
		t.Run(name, func(t *testing.T) {
			wantError(t, err, ErrQuorum, c.parts...)
			if strings.Contains(err.Error(), k0.X5TS256) && len(c.keys) > 0 && c.keys[0].Name == k0.Name {
				t.Error("a key that is here is called missing")
			}
		})
	}
	// With enough good keys the others do no harm, as with the genuine client.
	_, want := vectorData(t)
	got, err := Open(file, []WrappingKey{stranger, k2, again, k0})
	if err != nil {
		t.Fatal(err)
	}
	sameData(t, got, want)
}

func TestQuorumBeforePrivateKeys(t *testing.T) {
	t.Parallel()
	k := wrapKey(t, 0)
	k.private.f = func() *rsa.PrivateKey { t.Error("a private key was used below the quorum"); return nil }
	_, err := Open(read(t, "vectors", "security_domain.json"), []WrappingKey{k})
	wantError(t, err, ErrQuorum)
}

// TestDamagedFile flips one bit of every byte (inside the shares of every fifth: TestEveryCharacterCounts does the rest)
// and cuts the file everywhere: none opens.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	keys := []WrappingKey{wrapKey(t, 0), wrapKey(t, 1)}
	data := ourData()
	file, err := Create(data, wrapCerts(t), 2, testDomainID)
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseDomain(file)
	if err != nil {
		t.Fatal(err)
	}
	unused := d.SharedKeys.EncShares[2]
	quiet := span(file, unused.EncKey) // the share of a holder who is not here cannot be judged; its thumbprint neither
	quiet2 := span(file, unused.X5T256)
	share0, share1 := span(file, d.SharedKeys.EncShares[0].EncKey), span(file, d.SharedKeys.EncShares[1].EncKey)
	for i := range file {
		if i%5 != 0 && (i >= share0[0] && i < share0[1] || i >= share1[0] && i < share1[1]) {
			continue
		}
		if i >= quiet[0] && i < quiet[1] || i >= quiet2[0] && i < quiet2[1] {
			continue
		}
		bad := bytes.Clone(file)
		bad[i] ^= 1 << (i % 7)
		if _, err := Open(bad, keys); err == nil {
			t.Errorf("opened with byte %d changed from %q to %q", i, file[i], bad[i])
		}
	}
	for n := range file {
		_, err := Open(file[:n], keys)
		wantError(t, err, ErrBadSecurityDomain)
		if ReadDomainID(file[:n]) != "" {
			t.Errorf("domain id read from the first %d bytes", n)
		}
	}
	_, err = Open(append(bytes.Clone(file), file...), keys)
	wantError(t, err, ErrBadSecurityDomain)
	_, err = Open(bytes.Repeat([]byte{' '}, maxFile+1), keys)
	wantError(t, err, ErrBadSecurityDomain, "1 MiB")
	_, err = Open(append([]byte("\xef\xbb\xbf\n"), file...), keys)
	wantError(t, err, ErrBadSecurityDomain)
	if got, err := Open(append(bytes.Clone(file), "\r\n"...), keys); err != nil || len(got) != 3 {
		t.Errorf("a final line break is refused: %v", err)
	}
}

func span(file []byte, s string) [2]int {
	i := bytes.Index(file, []byte(s))
	return [2]int{i, i + len(s)}
}

// TestStandIn damages one holder's share: a third holder makes up for it, and without one the error names it.
func TestStandIn(t *testing.T) {
	t.Parallel()
	file := remarshal(t, read(t, "vectors", "security_domain.json"), func(tree map[string]any) {
		share := at(tree, "SharedKeys", "enc_shares", 1).(map[string]any)
		s := share["enc_key"].(string)
		share["enc_key"] = flipChar(s, len(s)-50)
	})
	k0, k1, k2 := wrapKey(t, 0), wrapKey(t, 1), wrapKey(t, 2)
	_, err := Open(file, []WrappingKey{k0, k1})
	wantError(t, err, ErrBadSecurityDomain, "the share of wrap_1.key", "another copy of the file")
	_, want := vectorData(t)
	got, err := Open(file, []WrappingKey{k1, k0, k2})
	if err != nil {
		t.Fatal(err)
	}
	sameData(t, got, want)
}

func TestDomainFileRefused(t *testing.T) {
	t.Parallel()
	keys := []WrappingKey{wrapKey(t, 0), wrapKey(t, 1)}
	file, err := Create(ourData(), wrapCerts(t), 2, testDomainID)
	if err != nil {
		t.Fatal(err)
	}
	reseal := func(plain []byte) func(map[string]any) { // a share with this content
		return func(tree map[string]any) {
			s, err := sealRSA(keys[1].Public, plain)
			if err != nil {
				t.Fatal(err)
			}
			at(tree, "SharedKeys", "enc_shares", 1).(map[string]any)["enc_key"] = s
		}
	}
	d, err := parseDomain(file)
	if err != nil {
		t.Fatal(err)
	}
	share0, err := openShare(holder{key: keys[0], share: d.SharedKeys.EncShares[0]})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := shamir.Split(make([]byte, 32), 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	object := func(path ...any) func(func(map[string]any)) func(map[string]any) {
		return func(edit func(map[string]any)) func(map[string]any) {
			return func(tree map[string]any) { edit(at(tree, path...).(map[string]any)) }
		}
	}
	top, shared, enc, datum0 := object(), object("SharedKeys"), object("EncData"), object("EncData", "data", 0)
	put := func(k string, v any) func(map[string]any) { return func(m map[string]any) { m[k] = v } }
	drop := func(k string) func(map[string]any) { return func(m map[string]any) { delete(m, k) } }
	for name, edit := range map[string]func(map[string]any){
		"version 3":           top(put("version", 3)),
		"no version":          top(drop("version")),
		"unknown member":      top(put("x", 1)),
		"no EncData":          top(drop("EncData")),
		"no SharedKeys":       top(drop("SharedKeys")),
		"other DomainId":      top(put("DomainId", "sd-ffffffffffffffffffffffffffffffff")),
		"no DomainId":         top(drop("DomainId")),
		"bad DomainId":        top(put("DomainId", "sd-\x1b[2J")),
		"quorum 1":            shared(put("required", 1)),
		"quorum 4":            shared(put("required", 4)),
		"quorum null":         shared(put("required", nil)),
		"other sharing":       shared(put("key_algorithm", "xor")),
		"unknown in shared":   shared(put("x", 1)),
		"shares null":         shared(put("enc_shares", nil)),
		"share not an object": shared(put("enc_shares", []any{1, 2, 3})),
		"two shares only": shared(func(m map[string]any) {
			m["enc_shares"] = m["enc_shares"].([]any)[:2]
		}),
		"share repeated": shared(func(m map[string]any) {
			l := m["enc_shares"].([]any)
			l[2] = l[0]
		}),
		"bad thumbprint":     object("SharedKeys", "enc_shares", 2)(put("x5t_256", "AAAA")),
		"unknown in share":   object("SharedKeys", "enc_shares", 2)(put("x", "y")),
		"other KDF":          enc(put("kdf", "hkdf")),
		"no data":            enc(put("data", []any{})),
		"data null":          enc(put("data", nil)),
		"unknown in EncData": enc(put("x", 1)),
		"tag renamed":        datum0(put("tag", "redoubt-toor")),
		"tag with an escape": datum0(put("tag", "\x1b[2J")),
		"no tag":             datum0(drop("tag")),
		"no compact_jwe":     datum0(drop("compact_jwe")),
		"unknown in datum":   datum0(put("x", 1)),
		"data swapped": enc(func(m map[string]any) {
			a, b := at(m, "data", 0).(map[string]any), at(m, "data", 1).(map[string]any)
			a["compact_jwe"], b["compact_jwe"] = b["compact_jwe"], a["compact_jwe"]
		}),
		"datum repeated": enc(func(m map[string]any) {
			m["data"] = append(m["data"].([]any), at(m, "data", 0))
		}),
		"share of another holder": reseal(share0),
		"share of another secret": reseal(foreign[1]),
		"share too short":         reseal(foreign[1][:62]),
		"share odd":               reseal(foreign[1][:63]),
		"share empty":             reseal(nil),
		"master key of 31 bytes": func(tree map[string]any) {
			short, err := shamir.Split(make([]byte, 31), 3, 2)
			if err != nil {
				t.Fatal(err)
			}
			for i, k := range keys {
				s, err := sealRSA(k.Public, short[i])
				if err != nil {
					t.Fatal(err)
				}
				at(tree, "SharedKeys", "enc_shares", i).(map[string]any)["enc_key"] = s
			}
		},
	} {
		_, err := Open(remarshal(t, file, edit), keys)
		t.Run(name, func(t *testing.T) {
			wantError(t, err, ErrBadSecurityDomain, "use another copy")
			if strings.HasPrefix(name, "master key of") {
				wantError(t, err, ErrBadSecurityDomain, "wrong length")
			}
		})
	}
	_, err = Open([]byte(strings.Replace(string(file), `"version":2`, `"version":2,"version":2`, 1)), keys)
	wantError(t, err, ErrBadSecurityDomain, `"version" twice`)
	_, err = Open([]byte(strings.Replace(string(file), `"EncData"`, `"encdata"`, 1)), keys)
	wantError(t, err, ErrBadSecurityDomain)
}

func TestInfo(t *testing.T) {
	t.Parallel()
	info := Info{Epoch: 4294967295, DomainID: testDomainID}
	record := EncodeInfo(info)
	const want = `{"version":1,"epoch":4294967295,"domain_id":"` + testDomainID + `"}`
	if string(record.Expose()) != want {
		t.Errorf("encoded %s", record.Expose())
	}
	if got, err := ParseInfo(record); err != nil || got != info {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{
		"", "{}", "null", want + " ", " " + want, want[:len(want)-1], strings.Replace(want, "1", "01", 1),
		strings.Replace(want, "}", `,"x":1}`, 1), strings.Replace(want, "4294967295", "4294967296", 1), strings.Replace(want, "4294967295", "-1", 1),
		strings.Replace(want, "sd-", "sd_", 1), strings.Replace(want, "ff", "FF", 1), strings.Replace(want, `"epoch":4294967295,`, "", 1),
		`{"epoch":1,"version":1,"domain_id":"` + testDomainID + `"}`,
	} {
		_, err := ParseInfo(text(bad))
		wantError(t, err, ErrBadInfo)
	}
	_, err := ParseInfo(text(strings.Replace(want, `"version":1`, `"version":2`, 1)))
	wantError(t, err, ErrBadInfo, "version 2", "later one")
	if v, ok := Lookup(ourData(), TagRoot); !ok || v.Len() != 32 {
		t.Error("Lookup")
	}
	if _, ok := Lookup(ourData(), "x"); ok {
		t.Error("Lookup of nothing")
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(read(f, "vectors", "security_domain.json"))
	f.Add([]byte(`{"EncData":{"data":[],"kdf":"sp108_kdf"},"SharedKeys":{"enc_shares":[],"key_algorithm":"shamir_share","required":2},"version":2}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		d, err := parseDomain(file)
		s, err2 := Inspect(file)
		if (err == nil) != (err2 == nil) || ReadDomainID(file) != s.DomainID {
			t.Fatal(err, err2)
		}
		if err != nil {
			return
		}
		again, err := marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		d2, err := parseDomain(again)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := marshal(d2); err != nil || !bytes.Equal(b, again) {
			t.Fatal("not the same after encoding")
		}
	})
}

func FuzzParseInfo(f *testing.F) {
	f.Add(EncodeInfo(Info{Epoch: 1, DomainID: testDomainID}).Expose())
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ParseInfo(secret.New(b))
		if err == nil && !bytes.Equal(EncodeInfo(info).Expose(), b) {
			t.Fatalf("two spellings of one record: %s", b)
		}
	})
}
