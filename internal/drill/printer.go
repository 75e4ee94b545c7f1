package drill

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// How often a step that takes long says how far it is.
const (
	tickEvery = 100 * time.Millisecond // on a terminal, over the same line; memory is sampled as often
	lineEvery = 10 * time.Second       // elsewhere, in lines
	barWidth  = 28
)

// printer writes what happens as it happens: on a terminal with a progress bar for the step under way,
// elsewhere in plain lines only.
type printer struct {
	start    time.Time
	terminal bool
	own      atomic.Int64 // most memory of its own that a look found, bytes

	mu  sync.Mutex
	out io.Writer
}

func newPrinter(out io.Writer) *printer {
	p := &printer{start: time.Now(), out: out}
	if f, ok := out.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

func (p *printer) since() time.Duration { return time.Since(p.start) }

// line prints one line. Errors of the output are not the drill's: the report tells the same.
func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

// clear removes a bar; the caller holds mu.
func (p *printer) clear() {
	if p.terminal {
		_, _ = io.WriteString(p.out, "\r\x1b[K")
	}
}

// step is a step under way. Its methods may be called from any goroutine.
type step struct {
	title string
	total atomic.Int64
	done  atomic.Int64

	mu     sync.Mutex
	detail string
}

// expect says how many units of work there are; add reports some as done.
func (s *step) expect(n int) { s.total.Store(int64(n)) }
func (s *step) add(n int)    { s.done.Add(int64(n)) }

// note says what the step did, for its line and for the report.
func (s *step) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detail = fmt.Sprintf(format, args...)
}

func (s *step) noted() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.detail
}

// watch shows the progress of s until stop is called.
func (p *printer) watch(s *step) (stop func()) {
	if p.terminal {
		p.bar(s)
	}
	end := make(chan struct{})
	var w sync.WaitGroup
	w.Go(func() {
		tick := time.NewTicker(tickEvery)
		defer tick.Stop()
		shown := time.Now()
		for {
			select {
			case <-tick.C:
				p.own.Store(max(p.own.Load(), ownMemory()))
			case <-end:
				return
			}
			switch {
			case p.terminal:
				p.bar(s)
			case time.Since(shown) >= lineEvery && s.total.Load() > 0:
				shown = time.Now()
				p.line("[%7.2fs]          ... %s: %d of %d", p.since().Seconds(), s.title, s.done.Load(), s.total.Load())
			}
		}
	})
	return func() { close(end); w.Wait() }
}

func (p *printer) bar(s *step) {
	text := fmt.Sprintf("[%7.2fs]          %s", p.since().Seconds(), s.title)
	if total := s.total.Load(); total > 0 {
		done := min(s.done.Load(), total)
		full := int(done * barWidth / total)
		text += fmt.Sprintf(" [%s%s] %d/%d", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done, total)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	_, _ = io.WriteString(p.out, text)
}

// ended prints the line of a step.
func (p *printer) ended(r *Step) {
	text := r.Title
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	if r.Error != "" {
		text += ": FAILED: " + r.Error
	}
	p.line("[%7.2fs] %7.2fs %s", p.since().Seconds(), r.Seconds, text)
}

// summary prints what was proved and what was measured.
func (p *printer) summary(r *Report) {
	p.line("\nProofs")
	for _, q := range r.Proofs {
		p.line("  %-11s %6d  %s", strings.ToUpper(q.Outcome), q.Checked, q.Title)
		for _, text := range q.Details {
			p.line("                        %s", text)
		}
	}
	p.line("")
	if m := r.Measured; m.RecoverySeconds > 0 {
		p.line("Recovery time:  %.2f s from the loss of the source to the last proof; %.2f s from the new HSM's creation to its restored state", m.RecoverySeconds, m.RebuildSeconds)
		p.line("Recovery point: the backup was %.2f s old at the disaster; the %d writes after it are gone, and nothing else", m.RecoveryPointSeconds, m.WritesAfterBackup)
	}
	memory := fmt.Sprintf("%.0f MiB", mib(r.PeakMemoryBytes))
	if r.PeakOwnBytes > 0 {
		memory += fmt.Sprintf(" with the mapped pages of the store, %.0f MiB without", mib(r.PeakOwnBytes))
	}
	p.line("Total:          %.2f s, peak memory %s", r.Seconds, memory)
	switch {
	case r.Outcome == outcomePassed:
		p.line("PASSED: all %d proofs held", len(r.Proofs))
	default:
		p.line("%s: %s", strings.ToUpper(r.Outcome), r.Error)
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// step runs one step of the procedure, prints it and enters it into the report.
func (d *drill) step(name, title string, do func(*step) error) error {
	s := &step{title: title}
	began := time.Now()
	stop := d.out.watch(s)
	err := do(s)
	stop()
	r := Step{Name: name, Title: title, StartSeconds: seconds(began.Sub(d.out.start)), Seconds: seconds(time.Since(began)), Detail: s.noted()}
	if err != nil {
		r.Error = err.Error()
		err = fmt.Errorf("%s: %w", title, err)
	}
	d.report.Steps = append(d.report.Steps, r)
	d.out.ended(&r)
	return err
}
