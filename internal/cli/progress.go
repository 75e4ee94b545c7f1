package cli

import (
	"fmt"
	"strings"
	"time"
)

// note prints a line for the person at the keyboard.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

const (
	barWidth   = 30
	barRefresh = 100 * time.Millisecond
	lineEvery  = 10 * time.Second // between plain lines, when nothing else changes
)

// progress shows how long work goes on: one line redrawn in place on a terminal, a plain line now and then
// elsewhere.
type progress struct {
	a       *app
	what    string
	started time.Time
	drawn   time.Time
	last    string
}

func (a *app) progress(what string) *progress {
	return &progress{a: a, what: what, started: a.now()}
}

// say shows a state in words.
func (p *progress) say(state string) { p.draw(p.what+": "+oneLine(state), state != p.last, state) }

// count shows done of total as a bar; the total may be 0. Without a terminal, work that takes less than
// lineEvery shows nothing.
func (p *progress) count(done, total int64) {
	if p.drawn.IsZero() && !p.a.terminal {
		p.drawn = p.started
	}
	filled := barWidth
	if total > 0 {
		filled = int(min(done, total) * barWidth / total)
	}
	bar := "[" + strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled) + "]"
	p.draw(fmt.Sprintf("%s: %s %d of %d", p.what, bar, done, total), false, "")
}

func (p *progress) draw(text string, news bool, state string) {
	now := p.a.now()
	wait := lineEvery
	if p.a.terminal {
		wait = barRefresh
	}
	if p.a.quiet || !news && now.Sub(p.drawn) < wait {
		return
	}
	p.drawn, p.last = now, state
	if elapsed := now.Sub(p.started).Round(time.Second); elapsed > 0 {
		text += " (" + elapsed.String() + ")"
	}
	if p.a.terminal {
		fmt.Fprint(p.a.err, "\r\x1b[K"+text)
		return
	}
	fmt.Fprintln(p.a.err, text)
}

// end clears the line on a terminal, so that what follows starts on a fresh one.
func (p *progress) end() {
	if p.a.terminal && !p.a.quiet && !p.drawn.IsZero() {
		fmt.Fprint(p.a.err, "\r\x1b[K")
	}
}
