package audit

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testSigner signs with a key that is the same in every run.
type testSigner struct{ key ed25519.PrivateKey }

func newSigner(n byte) testSigner {
	return testSigner{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))}
}

func (s testSigner) Sign(msg []byte) []byte { return ed25519.Sign(s.key, msg) }
func (s testSigner) Public() []byte         { return s.key.Public().(ed25519.PublicKey) }

func entry(n int) Entry {
	return Entry{ID: fmt.Sprintf("id-%d", n), Time: time.Date(2026, 1, 2, 3, 4, 5, n*1000, time.UTC), Operation: "KeySign", Version: "7.6", Result: "Success", Status: 200,
		Principal: "11111111-1111-4111-8111-111111111111", AppID: "22222222-2222-4222-8222-222222222222", UPN: "o'né\"@contoso.com", CallerIP: "127.0.0.1", RequestID: "33333333-3333-4333-8333-333333333333",
		RequestURI: "https://contosomhsm.managedhsm.azure.net/keys/a/sign?api-version=7.6&maxresults=1", Target: "/keys/a<b>&\"c", ClientInfo: "test/1.0", DurationMS: 1.25,
		DomainID: strings.Repeat("d", 64), Details: map[string]string{"n": fmt.Sprint(n), "é": "ü"},
		Resource: &Resource{ID: "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.KEYVAULT/MANAGEDHSMS/CONTOSOMHSM", Name: "ContosoMHSM", Group: "g",
			Tenant: "44444444-4444-4444-8444-444444444444", SKUFamily: "B", SKUName: "Standard_B1"}}
}

func openLog(t testing.TB, path string) *Log {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sample writes a chain of entries 1..10 with checkpoints after the fourth and the eighth, and returns the
// file and the heads after each line, the empty chain's first.
func sample(t testing.TB) (file []byte, heads []Head) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, path)
	heads = append(heads, l.Head())
	for i := 1; i <= 10; i++ {
		noErr(t, l.Append([]Entry{entry(i)}, i%2 == 0))
		heads = append(heads, l.Head())
		if i == 4 || i == 8 {
			noErr(t, l.Checkpoint(newSigner(1)))
			heads = append(heads, l.Head())
		}
	}
	noErr(t, l.Close())
	file, err := os.ReadFile(path)
	noErr(t, err)
	return file, heads
}

func verify(file []byte, expect string) (Report, []Entry, error) {
	var got []Entry
	rep, err := Verify(bytes.NewReader(file), expect, func(e Entry) error { got = append(got, e); return nil })
	return rep, got, err
}

func TestVerifyReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	file, heads := sample(t)
	rep, got, err := verify(file, "")
	noErr(t, err)
	if len(got) != 10 || !reflect.DeepEqual(got[6], entry(7)) {
		t.Errorf("%d entries, the seventh %+v", len(got), got[6])
	}
	if rep.Head != heads[12] || rep.Head.Seq != 12 || rep.Checkpoints != 2 || rep.SinceCheck != 2 || len(rep.Signers) != 1 || !bytes.Equal(rep.Signers[0], newSigner(1).Public()) {
		t.Errorf("%+v", rep)
	}
	if rep, got, err := verify(nil, ""); err != nil || rep.Head.Seq != 0 || len(got) != 0 {
		t.Errorf("an empty file: %+v, %v", rep, err)
	}
	stop := errors.New("stop")
	if _, err := Verify(bytes.NewReader(file), "", func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the callback's error got lost: %v", err)
	}
}

func TestEveryFlippedBitShows(t *testing.T) {
	t.Parallel()
	file, _ := sample(t)
	file = bytes.Join(bytes.SplitAfter(file, []byte("\n"))[:6], nil) // five entries and a checkpoint between them
	for i := range file {
		for _, bit := range []byte{0x01, 0x20, 0x80} {
			bad := bytes.Clone(file)
			bad[i] ^= bit
			if _, _, err := verify(bad, ""); !errors.Is(err, ErrBroken) {
				t.Fatalf("byte %d ^ %#x in %q: %v", i, bit, context(file, i), err)
			}
		}
	}
}

func context(b []byte, i int) []byte { return b[max(0, i-20):min(len(b), i+20)] }

func TestEveryChangeOfLinesShows(t *testing.T) {
	t.Parallel()
	file, _ := sample(t)
	lines := bytes.SplitAfter(file, []byte("\n"))
	lines = lines[:len(lines)-1]
	other, _ := sampleOf(t, 99)
	for name, change := range map[string]func([][]byte) [][]byte{
		"removed":            func(l [][]byte) [][]byte { return slices.Delete(l, 3, 4) },
		"first removed":      func(l [][]byte) [][]byte { return l[1:] },
		"checkpoint removed": func(l [][]byte) [][]byte { return slices.Delete(l, 4, 5) },
		"swapped":            func(l [][]byte) [][]byte { l[2], l[3] = l[3], l[2]; return l },
		"doubled":            func(l [][]byte) [][]byte { return slices.Insert(l, 3, l[3]) },
		"of another log":     func(l [][]byte) [][]byte { l[3] = other[3]; return l },
		"with an empty line": func(l [][]byte) [][]byte { return slices.Insert(l, 3, []byte("\n")) },
		"with a space":       func(l [][]byte) [][]byte { l[3] = append([]byte(" "), l[3]...); return l },
		"with a tail":        func(l [][]byte) [][]byte { l[3] = append(bytes.TrimSpace(l[3]), " {}\n"...); return l },
		"without line end":   func(l [][]byte) [][]byte { l[11] = bytes.TrimSpace(l[11]); return l },
		"ended by CRLF":      func(l [][]byte) [][]byte { l[11] = append(bytes.TrimSpace(l[11]), "\r\n"...); return l },
		"member twice": func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte(`{"seq":4`), []byte(`{"seq":9,"seq":4`), 1)
			return l
		},
		"member unknown": func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte(`{"seq":4`), []byte(`{"x":1,"seq":4`), 1)
			return l
		},
		"member respelled": func(l [][]byte) [][]byte { l[3] = bytes.Replace(l[3], []byte(`"seq"`), []byte(`"Seq"`), 1); return l },
		"number respelled": func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte(`"seq":4`), []byte(`"seq":4e0`), 1)
			return l
		},
	} {
		cp := make([][]byte, len(lines))
		for i := range lines {
			cp[i] = bytes.Clone(lines[i])
		}
		cp = change(cp)
		first := 0
		for first < len(cp) && bytes.Equal(cp[first], lines[first]) {
			first++
		}
		_, _, err := verify(bytes.Join(cp, nil), "")
		if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), fmt.Sprintf(": line %d", first+1)) {
			t.Errorf("a line %s: %v; want line %d named", name, err, first+1)
		}
	}
}

// sampleOf is a chain that begins with another entry.
func sampleOf(t testing.TB, first int) ([][]byte, []Head) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, path)
	var heads []Head
	for i := range 10 {
		noErr(t, l.Append([]Entry{entry(first + i)}, false))
		heads = append(heads, l.Head())
	}
	noErr(t, l.Close())
	file, err := os.ReadFile(path)
	noErr(t, err)
	return bytes.SplitAfter(file, []byte("\n")), heads
}

// Cutting whole lines off the end leaves a valid chain: only a head kept elsewhere shows it.
func TestTruncationShowsAgainstAKeptHead(t *testing.T) {
	t.Parallel()
	file, heads := sample(t)
	lines := bytes.SplitAfter(file, []byte("\n"))
	for keep := range 12 {
		cut := bytes.Join(lines[:keep], nil)
		if _, _, err := verify(cut, ""); err != nil {
			t.Errorf("%d lines are no chain: %v", keep, err)
		}
		for i, h := range heads {
			_, _, err := verify(cut, h.String())
			if i <= keep && err != nil {
				t.Errorf("%d lines against head %d: %v", keep, i, err)
			}
			if i > keep && !errors.Is(err, ErrBroken) {
				t.Errorf("%d lines against head %d: %v; want the truncation to show", keep, i, err)
			}
		}
	}
	for _, bad := range []string{"12", "12:" + zeroHash, "0:00", strings.ToUpper(heads[12].String()), " " + heads[12].String()} {
		if _, _, err := verify(file, bad); !errors.Is(err, ErrBroken) {
			t.Errorf("head %q: %v", bad, err)
		}
	}
}

// Whoever rewrites the chain from some line on cannot make the checkpoints behind it: with their own key
// the signer changes, and with none a checkpoint does not hold.
func TestRewrittenChainHasAnotherSigner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, path)
	noErr(t, l.Append([]Entry{entry(1), entry(2)}, false))
	noErr(t, l.Checkpoint(newSigner(1)))
	noErr(t, l.Checkpoint(newSigner(2)))
	noErr(t, l.Checkpoint(newSigner(1)))
	noErr(t, l.Close())
	file, err := os.ReadFile(path)
	noErr(t, err)
	rep, _, err := verify(file, "")
	if err != nil || rep.Checkpoints != 3 || len(rep.Signers) != 2 || !bytes.Equal(rep.Signers[1], newSigner(2).Public()) {
		t.Errorf("%+v, %v", rep, err)
	}
	var forged bytes.Buffer
	head := chain(&forged, Head{Hash: zeroHash}, 'e', []byte(`{"id":"forged"}`))
	body := fmt.Sprintf(`{"head":%q,"publicKey":"%s","signature":"%s"}`, head, strings.Repeat("A", 43)+"=", strings.Repeat("A", 86)+"==")
	chain(&forged, head, 'c', []byte(body))
	if _, _, err := verify(forged.Bytes(), ""); !errors.Is(err, ErrBroken) {
		t.Errorf("a checkpoint without a signature: %v", err)
	}
	moved := bytes.Buffer{} // a real checkpoint, but of another head
	head = chain(&moved, Head{Hash: zeroHash}, 'e', []byte(`{"id":"forged"}`))
	ln, err := parseLine(bytes.SplitAfter(file, []byte("\n"))[2], headAfter(t, file, 2))
	noErr(t, err)
	chain(&moved, head, 'c', ln.Checkpoint)
	if _, _, err := verify(moved.Bytes(), ""); !errors.Is(err, ErrBroken) {
		t.Errorf("a checkpoint of another head: %v", err)
	}
}

func headAfter(t *testing.T, file []byte, n int) Head {
	t.Helper()
	rep, _, err := verify(bytes.Join(bytes.SplitAfter(file, []byte("\n"))[:n], nil), "")
	noErr(t, err)
	return rep.Head
}

// A crash while writing leaves part of the last line: it is cut off, and the chain goes on.
func TestTornTailIsCutOff(t *testing.T) {
	t.Parallel()
	file, heads := sample(t)
	lines := bytes.SplitAfter(file, []byte("\n"))
	whole := bytes.Join(lines[:11], nil)
	path := filepath.Join(t.TempDir(), "audit.log")
	for n := range len(lines[11]) {
		noErr(t, os.WriteFile(path, append(bytes.Clone(whole), lines[11][:n]...), 0o600))
		l := openLog(t, path)
		if l.Head() != heads[11] {
			t.Fatalf("with %d bytes of the last line the head is %s", n, l.Head())
		}
		noErr(t, l.Append([]Entry{entry(10)}, true))
		if l.Head() != heads[12] {
			t.Fatalf("after %d bytes of a torn line the chain does not go on", n)
		}
		noErr(t, l.Close())
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, file) {
			t.Fatalf("after %d bytes of a torn line the file differs: %v", n, err)
		}
	}
	for name, bad := range map[string][]byte{"middle": append(bytes.Clone(lines[0]), lines[2]...), "garbage line": []byte("garbage\n"), "zeros and a line end": []byte("\x00\x00\n")} {
		noErr(t, os.WriteFile(path, bad, 0o600))
		if _, err := Open(path); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, bad) {
			t.Errorf("%s: opening changed the damaged file: %v", name, err)
		}
	}
}

// The sequencer repeats a batch when it does not know whether it was written.
func TestRepeatedEntriesAreDropped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, path)
	noErr(t, l.Append([]Entry{entry(1), entry(2)}, true))
	noErr(t, l.Append([]Entry{entry(1), entry(2), entry(3), entry(3)}, true))
	noErr(t, l.Append([]Entry{entry(2)}, true))
	noErr(t, l.Close())
	l = openLog(t, path) // ids are known after a restart, too
	noErr(t, l.Append([]Entry{entry(3), entry(4)}, true))
	noErr(t, l.Append(nil, true))
	noErr(t, l.Close())
	file, err := os.ReadFile(path)
	noErr(t, err)
	_, got, err := verify(file, "")
	noErr(t, err)
	var ids []string
	for _, e := range got {
		ids = append(ids, e.ID)
	}
	if want := []string{"id-1", "id-2", "id-3", "id-4"}; !slices.Equal(ids, want) {
		t.Errorf("%v; want %v", ids, want)
	}
}

func TestRememberedIDsAreBounded(t *testing.T) {
	t.Parallel()
	l := &Log{recent: make(map[string]struct{})}
	for i := range 3 * remembered {
		l.remember(fmt.Sprint(i))
	}
	l.remember("")
	if _, ok := l.recent[fmt.Sprint(2*remembered)]; !ok || len(l.recent) != remembered || len(l.order) != remembered {
		t.Errorf("%d ids in the map, %d in order", len(l.recent), len(l.order))
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, path)
	noErr(t, l.Append([]Entry{entry(1)}, true))
	before := l.Head()
	noErr(t, l.f.Close()) // the medium is gone
	if err := l.Append([]Entry{entry(2)}, true); err == nil || l.Head() != before {
		t.Errorf("%v, head %s", err, l.Head())
	}
	if err := l.Checkpoint(newSigner(1)); err == nil || l.Head() != before {
		t.Errorf("%v, head %s", err, l.Head())
	}
	again := openLog(t, path)
	noErr(t, again.Append([]Entry{entry(2)}, true)) // it was not taken for written
	if again.Head().Seq != 2 {
		t.Errorf("head %s", again.Head())
	}
}

func TestClosedLog(t *testing.T) {
	t.Parallel()
	l := openLog(t, filepath.Join(t.TempDir(), "new", "audit.log"))
	noErr(t, l.Close())
	noErr(t, l.Close())
	if err := l.Append([]Entry{entry(1)}, false); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := l.Checkpoint(newSigner(1)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if l.Head().String() != "0:"+zeroHash {
		t.Error(l.Head())
	}
}

func TestConcurrentAppends(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, path)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				if err := l.Append([]Entry{entry(100*g + i), entry(100*g + i + 50)}, false); err != nil {
					t.Error(err)
				}
				if i%10 == 0 {
					if err := l.Checkpoint(newSigner(1)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	noErr(t, l.Close())
	file, err := os.ReadFile(path)
	noErr(t, err)
	rep, got, err := verify(file, l.Head().String())
	if err != nil || len(got) != 400 || rep.Checkpoints != 24 {
		t.Errorf("%d entries, %+v, %v", len(got), rep, err)
	}
}

// Whatever is in the file: no panic, and what Verify accepts is a chain that Open takes as it is and that
// no single changed byte leaves valid.
func FuzzVerify(f *testing.F) {
	file, _ := sample(f)
	lines := bytes.SplitAfter(file, []byte("\n"))
	for _, n := range []int{0, 1, 5, 12} {
		f.Add(bytes.Join(lines[:n], nil), uint(7), byte(0x20))
	}
	f.Add([]byte("{}\n"), uint(0), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at uint, bits byte) {
		rep, _, err := verify(data, "")
		if err != nil {
			if !errors.Is(err, ErrBroken) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		path := filepath.Join(t.TempDir(), "audit.log")
		noErr(t, os.WriteFile(path, data, 0o600))
		l, err := Open(path)
		noErr(t, err)
		if l.Head() != rep.Head || l.size != int64(len(data)) {
			t.Errorf("Verify says %s, Open %s of %d bytes", rep.Head, l.Head(), l.size)
		}
		noErr(t, l.Close())
		if len(data) == 0 || bits == 0 {
			return
		}
		bad := bytes.Clone(data)
		bad[at%uint(len(bad))] ^= bits
		if _, _, err := verify(bad, rep.Head.String()); err == nil {
			t.Errorf("byte %d ^ %#x does not show", at%uint(len(bad)), bits)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l := openLog(b, filepath.Join(b.TempDir(), "audit.log"))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := entry(i)
		noErr(b, l.Append([]Entry{e}, false))
	}
}

func BenchmarkVerify(b *testing.B) {
	file, _ := sample(b)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(bytes.NewReader(file), "", nil); err != nil {
			b.Fatal(err)
		}
	}
}
