package securitydomain

import (
	"bytes"
	"strings"
	"testing"

	"redoubt/internal/secret"
)

// goldenData is the content of the golden files. They were made once, with the wrapping keys, quorum and exchange
// key of the vectors, and must open in every release to come.
func goldenData(t testing.TB) []Datum {
	t.Helper()
	seed := bytes.Repeat([]byte{0x5e}, 32)
	return []Datum{
		{TagRoot, secret.New(bytes.Repeat([]byte{0xa7}, 32))},
		{TagSigningSeed, secret.New(seed)},
		{TagInfo, EncodeInfo(Info{Epoch: 7, DomainID: testDomainID})},
	}
}

func TestGoldenFiles(t *testing.T) {
	t.Parallel()
	file := read(t, "golden", "security_domain.json")
	if id := ReadDomainID(file); id != testDomainID {
		t.Errorf("domain id %q", id)
	}
	for _, pair := range [][]int{{0, 1}, {0, 2}, {1, 2}} {
		data, err := Open(file, []WrappingKey{wrapKey(t, pair[0]), wrapKey(t, pair[1])})
		if err != nil {
			t.Fatalf("keys %v: %v", pair, err)
		}
		sameData(t, data, goldenData(t))
	}
	record := secret.New(unhex(t, strings.TrimSpace(string(read(t, "golden", "exchange_key.hex")))))
	xk, err := ImportExchangeKey(record)
	if err != nil {
		t.Fatal(err)
	}
	if !vectorExchange(t).Export().Equal(record) {
		t.Error("the exchange key is exported otherwise than it was")
	}
	data, err := Accept(read(t, "golden", "restore_blob.json"), xk, Tags())
	if err != nil {
		t.Fatal(err)
	}
	sameData(t, data, goldenData(t))
}
