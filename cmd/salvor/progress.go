package main

import (
	"fmt"
	"strings"
	"time"

	"salvor/tasks/ledger"
)

// progress shows how a run stands: one line that is redrawn on a terminal, else a line now and then. It is used by one
// goroutine at a time.
type progress struct {
	app     *app
	title   string
	started time.Time
	drawn   time.Time // when it was shown last
	last    ledger.RunState
	rate    rate
}

const (
	redrawEvery = 100 * time.Millisecond // on a terminal
	printEvery  = 5 * time.Second        // elsewhere
)

// newProgress makes a progress that shows nothing before begin.
func (a *app) newProgress() *progress { return &progress{app: a} }

// begin is told what begins.
func (p *progress) begin(operation, dump string) {
	now := p.app.env.now()
	p.title, p.started, p.drawn = operation+" "+dump, now, now
	if !p.app.console.isTerminal() {
		p.app.console.line("%s: started", p.title)
	}
}

// update is told how the run stands.
func (p *progress) update(s ledger.RunState) {
	now := p.app.env.now()
	p.notable(s)
	p.last = s
	p.rate.add(now, s.Bytes)
	terminal := p.app.console.isTerminal()
	every := printEvery
	if terminal {
		every = redrawEvery
	}
	if now.Sub(p.drawn) < every {
		return
	}
	p.drawn = now
	text := p.title + ": " + describe(s, now.Sub(p.started), p.rate.perSecond())
	if terminal {
		p.app.console.setStatus(text)
	} else {
		p.app.console.line("%s", text)
	}
}

// end removes the line.
func (p *progress) end() { p.app.console.setStatus("") }

// notable says what a user should hear of at once.
func (p *progress) notable(s ledger.RunState) {
	if n := s.Retries - p.last.Retries; n > 0 {
		p.app.console.line("%s: trying again: %s", p.title, plural(int64(n), "task", "tasks"))
	}
	if n := s.Deaths - p.last.Deaths; n > 0 {
		p.app.console.line("%s: lost with a worker, and done again: %s", p.title, plural(int64(n), "task", "tasks"))
	}
	if n := s.Epochs - p.last.Epochs; n > 0 {
		p.app.console.line("%s: opening %s again", p.title, plural(int64(n), "lost view", "lost views"))
	}
	if s.State != p.last.State && s.State == ledger.StateCancelling {
		p.app.console.line("%s: cancelled; ending what runs", p.title)
	}
}

// describe writes a state in one line, what matters most first: the line may be cut.
func describe(s ledger.RunState, took time.Duration, perSecond float64) string {
	var parts []string
	if s.Weight > 0 {
		done := min(max(s.WeightDone, s.Bytes), s.Weight)
		parts = append(parts, fmt.Sprintf("%d %%", done*100/s.Weight))
		if left := s.Weight - done; perSecond > 0 && left > 0 {
			parts = append(parts, formatDuration(time.Duration(float64(left)/perSecond*float64(time.Second)))+" left")
		}
	}
	parts = append(parts, formatBytes(s.Bytes))
	if perSecond > 0 {
		parts = append(parts, formatBytes(int64(perSecond))+"/s")
	}
	if s.Entries > 0 {
		parts = append(parts, plural(s.Entries, "entry", "entries"))
	}
	parts = append(parts, fmt.Sprintf("%d of %d tasks", s.TasksDone, s.Tasks), formatDuration(took))
	return strings.Join(parts, ", ")
}

// rate is the speed over the last seconds, so that it follows a change and does not jump.
type rate struct {
	times [rateSamples]time.Time
	bytes [rateSamples]int64
	count int
}

const (
	rateSamples = 20
	rateEvery   = 500 * time.Millisecond
)

// add takes a count of bytes at a time.
func (r *rate) add(now time.Time, bytes int64) {
	if r.count > 0 {
		newest := (r.count - 1) % rateSamples
		if now.Sub(r.times[newest]) < rateEvery && r.count > 1 {
			r.times[newest], r.bytes[newest] = now, bytes
			return
		}
	}
	r.times[r.count%rateSamples], r.bytes[r.count%rateSamples] = now, bytes
	r.count++
}

// perSecond is the speed; 0 where it is not known.
func (r *rate) perSecond() float64 {
	if r.count < 2 {
		return 0
	}
	newest := (r.count - 1) % rateSamples
	oldest := 0
	if r.count > rateSamples {
		oldest = r.count % rateSamples
	}
	took := r.times[newest].Sub(r.times[oldest]).Seconds()
	if took <= 0 {
		return 0
	}
	return max(0, float64(r.bytes[newest]-r.bytes[oldest])/took)
}
