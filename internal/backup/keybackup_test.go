package backup

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

var someKeyBackup = KeyBackup{DomainID: "sd-" + strings.Repeat("0f", 16), ID: strings.Repeat("a1", 16), Sealed: []byte("sealed")}

func TestKeyBackupFrame(t *testing.T) {
	t.Parallel()
	b, err := someKeyBackup.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := "RDKB\x01sd-" + strings.Repeat("0f", 16) + strings.Repeat("\xa1", 16) + "sealed"
	if string(b) != want {
		t.Errorf("%q", b)
	}
	if k, err := ParseKeyBackup(b); err != nil || !reflect.DeepEqual(k, someKeyBackup) {
		t.Errorf("%+v, %v", k, err)
	}
	for what, bad := range map[string][]byte{
		"nothing": nil, "magic": append([]byte("RDKC\x01"), b[5:]...), "version": append([]byte("RDKB\x02"), b[5:]...),
		"cut": b[:keyFrame], "capitals in the domain": bytes.Replace(b, []byte("0f0f"), []byte("0F0f"), 1),
		"no domain": bytes.Replace(b, []byte("sd-"), []byte("sd_"), 1), "too long": append(bytes.Clone(b), make([]byte, MaxKeyBackup)...),
	} {
		if _, err := ParseKeyBackup(bad); !errors.Is(err, ErrBadKeyBackup) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, k := range map[string]KeyBackup{
		"id": {someKeyBackup.DomainID, "a1", []byte("x")}, "id not hex": {someKeyBackup.DomainID, strings.Repeat("g", 32), []byte("x")},
		"domain": {"sd-1", someKeyBackup.ID, []byte("x")}, "size": {someKeyBackup.DomainID, someKeyBackup.ID, make([]byte, MaxKeyBackup)},
	} {
		if _, err := k.Encode(); err == nil {
			t.Errorf("%s: encoded", what)
		}
	}
}

func TestKeyBackupRecords(t *testing.T) {
	t.Parallel()
	rs := []Record{{"h/a", []byte("1")}, {"m/x/1", []byte("22")}, {"v/x/1", []byte("333")}}
	b, err := EncodeRecords(rs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRecords(b)
	if err != nil || !reflect.DeepEqual(got, rs) {
		t.Errorf("%v, %v", got, err)
	}
	for n := range len(b) { // a whole number of records, or nothing
		got, err := ParseRecords(b[:n])
		if again, _ := EncodeRecords(got); (err == nil) != bytes.Equal(again, b[:n]) {
			t.Errorf("cut at %d: %v, %v", n, got, err)
		}
	}
	for what, bad := range map[string][]Record{
		"order": {rs[1], rs[0]}, "twice": {rs[0], rs[0]}, "no name": {{"", []byte("1")}}, "empty": {{"h/a", nil}}, "control": {{"h/\n", []byte("1")}},
	} {
		if _, err := EncodeRecords(bad); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: %v", what, err)
		}
		var w blockWriter
		for _, r := range bad {
			w.add(r)
		}
		if _, err := ParseRecords(w.buf); !errors.Is(err, ErrBadKeyBackup) {
			t.Errorf("%s, parsed: %v", what, err)
		}
	}
}

// FuzzKeyBackup: what the parsers accept has one spelling.
func FuzzKeyBackup(f *testing.F) {
	content, err := EncodeRecords([]Record{{"h/a", []byte("1")}, {"m/x/1", []byte("22")}})
	if err != nil {
		f.Fatal(err)
	}
	k := someKeyBackup
	k.Sealed = content
	b, err := k.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeyBackup(b)
		if err != nil {
			return
		}
		if again, err := k.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("a second spelling is accepted: %v", err)
		}
		rs, err := ParseRecords(k.Sealed)
		if err != nil {
			return
		}
		if again, err := EncodeRecords(rs); err != nil || !bytes.Equal(again, k.Sealed) {
			t.Errorf("a second spelling of the records is accepted: %v", err)
		}
	})
}
