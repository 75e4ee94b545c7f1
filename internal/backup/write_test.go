package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a block size that makes an archive of many blocks out of few bytes.
const small = 2048

// writeSmall makes an archive with blocks of at most small bytes.
func writeSmall(ctx context.Context, c blob.Container, records []Record) (Manifest, error) {
	return write(ctx, c, testOrigin(), seq(records), newDomain("a"), small)
}

// hasManifest tells whether anything in the container could pass for a backup.
func hasManifest(m *blobtest.Mem) bool {
	for name := range m.Objects() {
		if strings.HasSuffix(name, ManifestName) {
			return true
		}
	}
	return false
}

// TestFaultPairs breaks every write of a backup in turn, lost and stored. Either the backup reports
// success and the archive is whole, or it reports the error and there is no manifest.
func TestFaultPairs(t *testing.T) {
	t.Parallel()
	records := testRecords(30, 400)
	clean := blobtest.NewMem()
	if _, err := writeSmall(t.Context(), clean, records); err != nil {
		t.Fatal(err)
	}
	n := clean.Writes()
	if n < 6 {
		t.Fatalf("only %d writes", n)
	}
	for i := 1; i <= n; i++ {
		for _, fault := range []blobtest.Fault{blobtest.Lost, blobtest.Stored} {
			c := blobtest.NewMem()
			c.FailAt(i, fault)
			m, err := writeSmall(t.Context(), c, records)
			settled := i == n && fault == blobtest.Stored // the manifest is there: found by reading it back
			if settled != (err == nil) || err != nil && !errors.Is(err, blobtest.ErrInjected) {
				t.Errorf("write %d of %d, fault %d: %v", i, n, fault, err)
			}
			if hasManifest(c) != settled {
				t.Errorf("write %d of %d, fault %d: manifest left: %t", i, n, fault, hasManifest(c))
			}
			if settled {
				if err := Verify(t.Context(), c, m, nil); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestManifestUnsettled: the manifest's Put fails, reading it back fails too; it is removed.
func TestManifestUnsettled(t *testing.T) {
	t.Parallel()
	c := blobtest.NewMem()
	if _, err := writeSmall(t.Context(), c, testRecords(3, 10)); err != nil {
		t.Fatal(err)
	}
	last := c.Writes()
	c = blobtest.NewMem()
	c.FailAt(last, blobtest.Stored)
	c.Deny(blobtest.OpGet, blob.ErrDenied)
	if _, err := writeSmall(t.Context(), c, testRecords(3, 10)); !errors.Is(err, blobtest.ErrInjected) || errors.Is(err, blob.ErrDenied) || hasManifest(c) {
		t.Errorf("%v, manifest left: %t", err, hasManifest(c))
	}
}

// squatter is a container in which another's manifest turns up just when ours is stored, and the answer is lost.
type squatter struct{ *blobtest.Mem }

func (s squatter) Put(ctx context.Context, name string, data []byte) error {
	if !strings.HasSuffix(name, ManifestName) {
		return s.Mem.Put(ctx, name, data)
	}
	return errors.Join(s.Mem.Put(ctx, name, []byte("another's")), blobtest.ErrInjected)
}

func TestManifestOfAnother(t *testing.T) {
	t.Parallel()
	c := squatter{blobtest.NewMem()}
	if _, err := writeSmall(t.Context(), c, testRecords(3, 10)); !errors.Is(err, blobtest.ErrInjected) {
		t.Error(err)
	}
	if b, err := blobtest.ReadAll(t.Context(), c, testOrigin().Folder+"/"+ManifestName); err != nil || string(b) != "another's" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestContainerDeleted: the container goes before each call in turn.
func TestContainerDeleted(t *testing.T) {
	t.Parallel()
	records := testRecords(20, 400)
	c := blobtest.NewMem()
	m, err := writeSmall(t.Context(), c, records)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= c.Calls(); i++ {
		gone := blobtest.NewMem()
		gone.DeleteContainerAt(i)
		if _, err := writeSmall(t.Context(), gone, records); !errors.Is(err, blob.ErrNoContainer) {
			t.Errorf("backup, container gone at call %d: %v", i, err)
		}
	}
	for i := 1; i <= len(m.Blocks); i++ {
		gone := c.Clone()
		gone.DeleteContainerAt(i)
		if err := Verify(t.Context(), gone, m, nil); !errors.Is(err, blob.ErrNoContainer) {
			t.Errorf("verify, container gone at call %d: %v", i, err)
		}
	}
	gone := c.Clone()
	gone.DeleteContainerAt(0)
	if _, err := ReadManifest(t.Context(), gone, m.Folder, anchorA); !errors.Is(err, blob.ErrNoContainer) || errors.Is(err, ErrNoManifest) {
		t.Errorf("manifest: %v", err)
	}
	if err := Preflight(t.Context(), gone, m); !errors.Is(err, blob.ErrNoContainer) {
		t.Errorf("preflight: %v", err)
	}
}

func TestFolderInUse(t *testing.T) {
	t.Parallel()
	c, m := write1(t)
	before := c.Objects()
	if _, err := writeSmall(t.Context(), c, testRecords(2, 2)); !errors.Is(err, ErrFolderInUse) {
		t.Errorf("second backup into the folder: %v", err)
	}
	c.Corrupt(m.Object(m.Blocks[0].Name), func([]byte) []byte { return nil })
	for _, b := range m.Blocks[1:] {
		c.Corrupt(m.Object(b.Name), func([]byte) []byte { return nil })
	}
	if _, err := writeSmall(t.Context(), c, testRecords(2, 2)); !errors.Is(err, ErrFolderInUse) {
		t.Errorf("second backup into a folder with a manifest only: %v", err)
	}
	if string(c.Objects()[m.Object(ManifestName)]) != string(before[m.Object(ManifestName)]) {
		t.Error("the old manifest was changed")
	}
}

func TestBadRecords(t *testing.T) {
	t.Parallel()
	x := []byte("x")
	for name, records := range map[string][]Record{
		"empty name": {{"", x}}, "control character": {{"a\nb", x}}, "not UTF-8": {{"a\xff", x}},
		"long name": {{strings.Repeat("n", MaxName+1), x}}, "nothing sealed": {{"a", nil}}, "large": {{"a", make([]byte, MaxSealed+1)}},
		"twice": {{"a", x}, {"a", x}}, "descending": {{"b", x}, {"a", x}}, "descending later": {{"a", x}, {"c", x}, {"b", x}},
	} {
		c := blobtest.NewMem()
		if _, err := Write(t.Context(), c, testOrigin(), seq(records), newDomain("a")); !errors.Is(err, ErrBadRecord) || hasManifest(c) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadOrigin(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Origin){
		"folder": func(o *Origin) { o.Folder = "../x" }, "no folder": func(o *Origin) { o.Folder = "" }, "hsm": func(o *Origin) { o.HSMID = "" },
		"name": func(o *Origin) { o.HSMName = "a\x00" }, "other domain": func(o *Origin) { o.DomainID = "sd-other" }, "lineage": func(o *Origin) { o.Lineage = "" },
		"revision": func(o *Origin) { o.Revision = -1 }, "time": func(o *Origin) { o.Time = time.Time{} }, "head": func(o *Origin) { o.AuditHead = strings.Repeat("h", 600) },
	} {
		o := testOrigin()
		change(&o)
		c := blobtest.NewMem()
		if _, err := Write(t.Context(), c, o, seq(nil), newDomain("a")); !errors.Is(err, ErrBadOrigin) || c.Calls() != 0 {
			t.Errorf("%s: %v after %d calls", name, err, c.Calls())
		}
	}
}

func TestRecordsFail(t *testing.T) {
	t.Parallel()
	broken := errors.New("store closed")
	c := blobtest.NewMem()
	records := func(yield func(Record, error) bool) {
		for _, r := range testRecords(20, 400) {
			if !yield(r, nil) {
				return
			}
		}
		yield(Record{}, broken)
	}
	if _, err := write(t.Context(), c, testOrigin(), records, newDomain("a"), small); !errors.Is(err, broken) || hasManifest(c) {
		t.Error(err)
	}
}

// gate is a container whose calls are counted and can be held.
type gate struct {
	blob.Container
	mu        sync.Mutex
	buffers   map[*byte]bool // distinct arrays seen by Put
	now, peak int            // calls under way
	hold      chan struct{}  // when set, Put waits for it or for its context
	arrived   chan struct{}
}

func (g *gate) enter(data []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now++; g.now > g.peak {
		g.peak = g.now
	}
	if data != nil {
		g.buffers[&data[0]] = true
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now--
}

func (g *gate) Put(ctx context.Context, name string, data []byte) error {
	g.enter(data)
	defer g.leave()
	if g.hold != nil {
		g.arrived <- struct{}{}
		select {
		case <-g.hold:
		case <-ctx.Done():
			return fmt.Errorf("put: %w", ctx.Err())
		}
	}
	return g.Container.Put(ctx, name, data)
}

func (g *gate) Get(ctx context.Context, name string) (io.ReadCloser, blob.Info, error) {
	g.enter(nil)
	r, info, err := g.Container.Get(ctx, name)
	if err != nil {
		g.leave()
		return nil, info, err
	}
	return &gated{r, g}, info, nil
}

type gated struct {
	io.ReadCloser
	g *gate
}

func (r *gated) Close() error {
	r.g.leave()
	return r.ReadCloser.Close()
}

// TestMemory: a long archive is written with InFlight Puts and InFlight+1 buffers at most, however slow
// the container is, and read with ReadAhead Gets.
func TestMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, blocks := range []int{InFlight + 1, 60} {
			g := &gate{Container: blobtest.NewMem(), buffers: map[*byte]bool{}, hold: make(chan struct{}), arrived: make(chan struct{}, blocks+10)}
			done := make(chan Manifest)
			go func() {
				m, err := writeSmall(t.Context(), g, testRecords(blocks, small-200))
				if err != nil {
					t.Error(err)
				}
				done <- m
			}()
			synctest.Wait() // nothing can move any more until the gate opens
			if g.now != InFlight {
				t.Errorf("%d blocks are on the way at once, want %d", g.now, InFlight)
			}
			close(g.hold)
			m := <-done
			if len(m.Blocks) != blocks || g.peak != InFlight {
				t.Errorf("%d blocks, %d at once; want %d, %d", len(m.Blocks), g.peak, blocks, InFlight)
			}
			if limit := InFlight + 2; len(g.buffers) > limit { // and the manifest's
				t.Errorf("%d buffers, want %d at most", len(g.buffers), limit)
			}
			g.peak = 0
			if err := Verify(t.Context(), g, m, nil); err != nil {
				t.Error(err)
			}
			if g.peak > ReadAhead || g.now != 0 {
				t.Errorf("%d blocks were being fetched at once, want %d at most; %d left open", g.peak, ReadAhead, g.now)
			}
		}
	})
}

// TestCancelled: a backup whose context ends while all its Puts hang returns, and leaves no manifest.
func TestCancelled(t *testing.T) {
	t.Parallel()
	mem := blobtest.NewMem()
	g := &gate{Container: mem, buffers: map[*byte]bool{}, hold: make(chan struct{}), arrived: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-g.arrived
		cancel()
	}()
	if _, err := writeSmall(ctx, g, testRecords(50, 1000)); !errors.Is(err, context.Canceled) || hasManifest(mem) {
		t.Error(err)
	}
}

// TestFirstErrorStops: after a failed block the records are not read to their end; these have none.
func TestFirstErrorStops(t *testing.T) {
	t.Parallel()
	c := blobtest.NewMem()
	c.FailAt(1, blobtest.Lost)
	endless := iter.Seq2[Record, error](func(yield func(Record, error) bool) {
		for i := 0; yield(Record{Name: fmt.Sprintf("%09d", i), Sealed: make([]byte, 1000)}, nil); i++ {
			continue
		}
	})
	if _, err := write(t.Context(), c, testOrigin(), endless, newDomain("a"), small); !errors.Is(err, blobtest.ErrInjected) {
		t.Error(err)
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	at := time.Date(2020, 8, 31, 18, 16, 18, 609_999_999, time.FixedZone("", 2*3600))
	if got := Folder("ContosoMHSM", at); got != "mhsm-ContosoMHSM-2020083116161860" {
		t.Error(got)
	}
	for folder, ok := range map[string]bool{
		"mhsm-ContosoMHSM-2020083120161860": true, "mhsm-myhsm-2021042821142583": true, "x": true, "": false, "a/b": false, "..": false, "a.b": false,
		"a b": false, "a\x00": false, "mhsm-x-1/": false, strings.Repeat("a", 129): false, "ü": false,
	} {
		if err := CheckFolder(folder); (err == nil) != ok || err != nil && !errors.Is(err, ErrBadFolder) {
			t.Errorf("%q: %v", folder, err)
		}
	}
}
