package hsm

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"redoubt/internal/blob"
	"redoubt/internal/blob/dir"
	"redoubt/internal/key"
	"redoubt/internal/store/bolt"
)

// The benchmarks of backup and restore run on the real store and a real folder, with few and with many
// keys. A backup's peak levels off at the blocks under way; a restore also remembers every key name of the
// archive, about a kilobyte each. The peak is sampled, so it is a lower bound.

func BenchmarkBackup(b *testing.B) {
	for _, n := range []int{10000, 40000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			r := benchmarkSite(b, n)
			b.ResetTimer()
			peak := peakHeap(func() {
				for b.Loop() {
					r.succeed(r.StartBackup(b.Context(), backupOperator, sasTarget(backupURI)))
					r.clock.advance(time.Minute)
				}
			})
			b.ReportMetric(peak, "peak-MB")
		})
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, n := range []int{10000, 40000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			r := benchmarkSite(b, n)
			doc := r.succeed(r.StartBackup(b.Context(), backupOperator, sasTarget(backupURI)))
			var peak float64
			for b.Loop() {
				b.StopTimer() // the restore point that each restore needs
				r.clock.advance(time.Minute)
				r.succeed(r.StartBackup(b.Context(), backupOperator, sasTarget(otherURI)))
				b.StartTimer()
				peak = max(peak, peakHeap(func() { r.succeed(r.StartRestore(b.Context(), backupOperator, sasTarget(backupURI), doc.Folder)) }))
			}
			b.ReportMetric(peak, "peak-MB")
		})
	}
}

var backupOperator = caller(backupID)

// benchmarkSite is an active device on bbolt with n EC keys, whose containers are folders.
func benchmarkSite(b *testing.B, n int) *testHSM {
	b.Helper()
	s, err := bolt.Open(filepath.Join(b.TempDir(), "store.db"), bolt.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	r := newTestHSMOn(b, s)
	r.testOnlyActivate()
	r.stop()
	var mu sync.Mutex
	folders, root := map[string]blob.Container{}, b.TempDir()
	r.cfg.MaxKeys = n
	r.cfg.OpenContainer = func(_ context.Context, q ContainerRequest) (blob.Container, error) {
		mu.Lock()
		defer mu.Unlock()
		if folders[q.URI] == nil {
			c, err := dir.Create(filepath.Join(root, fmt.Sprint(len(folders))))
			if err != nil {
				return nil, err
			}
			folders[q.URI] = folder{c, q.URI}
		}
		return folders[q.URI], nil
	}
	r.open()
	var work sync.WaitGroup
	for w := range 32 {
		work.Go(func() {
			for i := w; i < n; i += 32 {
				if _, err := r.CreateKey(b.Context(), user, key.Name(fmt.Sprintf("key-%d", i)), key.CreateParams{Spec: ecSpec, Tags: map[string]string{"n": fmt.Sprint(i)}}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	return r
}

// folder is a folder under the address of a storage container.
type folder struct {
	blob.Container
	uri string
}

func (c folder) URL() string { return c.uri }

// peakHeap runs do and returns the highest heap in use that it saw, in MB above what was in use before.
func peakHeap(do func()) float64 {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	peak := make(chan uint64)
	go func() {
		var top uint64
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				runtime.ReadMemStats(&now)
				top = max(top, now.HeapInuse)
			case <-done:
				peak <- top
				return
			}
		}
	}()
	do()
	close(done)
	top := <-peak
	return float64(max(top, before.HeapInuse)-before.HeapInuse) / 1e6
}
