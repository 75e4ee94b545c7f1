package audit

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden file anew")

// The golden files must verify for ever, and be read to the same entries; docs/formats/audit.md describes them.
func TestGoldenFile(t *testing.T) {
	t.Parallel()
	const golden = "testdata/golden-v2.log"
	file, heads := sample(t)
	if *update {
		noErr(t, os.WriteFile(golden, file, 0o644))
	}
	want, err := os.ReadFile(golden)
	noErr(t, err)
	if !bytes.Equal(file, want) {
		t.Errorf("what is written today is not %s", golden)
	}
	if _, _, err := verify(want, heads[12].String()); err != nil {
		t.Error(err)
	}
}

// Files that began with the first version of the entries are verified and read as before, and go on with the present.
func TestFirstVersion(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/golden-v1.log")
	noErr(t, err)
	first := func(n int) Entry {
		e := entry(n)
		return Entry{ID: e.ID, Time: e.Time, Operation: e.Operation, Result: e.Result, Principal: e.Principal, Target: e.Target, ClientInfo: e.ClientInfo, DurationMS: e.DurationMS, Details: e.Details}
	}
	_, got, err := verify(file, "")
	noErr(t, err)
	for i, e := range got {
		if !reflect.DeepEqual(e, first(i+1)) {
			t.Errorf("entry %d is read as %+v", i+1, e)
		}
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	noErr(t, os.WriteFile(path, file, 0o600))
	l := openLog(t, path)
	noErr(t, l.Append([]Entry{entry(10), entry(11)}, true)) // the tenth is there already
	noErr(t, l.Close())
	file, err = os.ReadFile(path)
	noErr(t, err)
	_, got, err = verify(file, "")
	if err != nil || len(got) != 11 || !reflect.DeepEqual(got[9], first(10)) || !reflect.DeepEqual(got[10], entry(11)) {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// The shape is that of the service's AuditEvent: names, types, the claims as a text.
func TestEntryIsAnAuditEvent(t *testing.T) {
	t.Parallel()
	e := entry(1)
	e.Result, e.Reason, e.Status = "Failed", "no <key>", 404
	const want = `{"TenantId":"44444444-4444-4444-8444-444444444444","time":"2026-01-02T03:04:05.000001Z",` +
		`"resourceId":"/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.KEYVAULT/MANAGEDHSMS/CONTOSOMHSM","operationName":"KeySign","operationVersion":"7.6","category":"AuditEvent",` +
		`"resultType":"Failed","resultSignature":"Not Found","resultDescription":"no \u003ckey\u003e","properties":{"PoolType":"M-HSM","sku_Family":"B","sku_Name":"Standard_B1"},"durationMs":1.25,` +
		`"callerIpAddress":"127.0.0.1","identity":"{\"claim\":{\"appid\":\"22222222-2222-4222-8222-222222222222\",\"http_schemas_microsoft_com_identity\":{\"claims\":{\"objectidentifier\":\"11111111-1111-4111-8111-111111111111\"}},` +
		`\"http_schemas_xmlsoap_org_ws_2005_05_identity\":{\"claims\":{\"upn\":\"o'né\\\"@contoso.com\"}}}}","clientInfo":"test/1.0","correlationId":"33333333-3333-4333-8333-333333333333","subnetId":"(unknown)",` +
		`"httpStatusCode":404,"PoolName":"ContosoMHSM","requestUri":"https://contosomhsm.managedhsm.azure.net/keys/a/sign?api-version=7.6\u0026maxresults=1","resourceGroup":"g","resourceProvider":"MICROSOFT.KEYVAULT",` +
		`"resource":"ContosoMHSM","resourceType":"managedHSMs","redoubt":{"id":"id-1","domainId":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","target":"/keys/a\u003cb\u003e\u0026\"c","details":{"n":"1","é":"ü"}}}`
	if got := string(e.Append(nil)); got != strings.Replace(want, `b\u003e\u0026"c`, `b\u003e\u0026\"c`, 1) {
		t.Errorf("%s", got)
	}
}

// Whatever is in an entry, its JSON is what encoding/json makes of it, and it is read back.
func FuzzEntry(f *testing.F) {
	f.Add("id", "KeySign", "a\"b", "é\u2028<&>", "\x00\xff", "k", 200, 12.5)
	f.Add("", "", "", "", "", "", 0, 0.0)
	f.Fuzz(func(t *testing.T, id, op, a, b, c, k string, status int, ms float64) {
		e := Entry{ID: id, Time: time.Unix(1e9, 5).UTC(), Operation: op, Version: a, Result: b, Reason: c, Status: status, DurationMS: ms, Principal: a, AppID: b, UPN: c, CallerIP: k,
			ClientInfo: id, RequestID: op, RequestURI: a, Target: b, DomainID: c, Details: map[string]string{k: a, a: b, b: c, "": k}, Resource: &Resource{ID: a, Name: b, SKUName: c}}
		if ms != ms || ms > 1e300 || ms < -1e300 {
			e.DurationMS = 1
		}
		raw := e.Append(nil)
		var compact bytes.Buffer
		noErr(t, json.Compact(&compact, raw))
		if canonical, err := json.Marshal(json.RawMessage(raw)); err != nil || !bytes.Equal(raw, compact.Bytes()) || !bytes.Equal(raw, canonical) {
			t.Fatalf("not written as encoding/json does: %s", raw)
		}
		var back Entry
		noErr(t, json.Unmarshal(raw, &back))
		if again := back.Append(nil); !bytes.Equal(again, raw) && validText(id, op, a, b, c, k) {
			t.Errorf("%s\nis read as\n%s", raw, again)
		}
	})
}

// validText tells of strings that JSON keeps as they are.
func validText(all ...string) bool {
	for _, s := range all {
		if strings.ToValidUTF8(s, "") != s {
			return false
		}
	}
	return true
}

func BenchmarkEntry(b *testing.B) {
	e, room := entry(1), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		room = e.Append(room[:0])
	}
}

// Whatever is put into an entry, its line can be read again: the log opens with it.
func TestLinesStayReadable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, path)
	long := strings.Repeat("&", 1<<20) // six bytes each in JSON
	for i := range 3 {
		e := entry(i)
		switch i {
		case 0:
			e.Resource = &Resource{ID: long, Name: long, Group: long, Tenant: long, SKUFamily: long, SKUName: long, Type: long}
		case 1:
			e.Operation, e.Version, e.Result, e.Reason, e.Principal, e.AppID, e.UPN, e.CallerIP = long, long, "Denied", long, long, long, long, long
			e.ClientInfo, e.RequestID, e.RequestURI, e.Target, e.Details = long, long, long, long, map[string]string{long: long}
		}
		noErr(t, l.Append([]Entry{e}, true))
	}
	noErr(t, l.Close())
	noErr(t, openLog(t, path).Close())
	b, err := os.ReadFile(path)
	noErr(t, err)
	for i, line := range bytes.Split(b, []byte("\n")) {
		if len(line) > maxLine/2 {
			t.Errorf("line %d has %d bytes", i+1, len(line))
		}
	}
}
