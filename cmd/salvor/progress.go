package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"salvor/coordinator"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// progress shows how a run stands: one line that is redrawn on a terminal, else a line now and then. It is used by one
// goroutine at a time.
type progress struct {
	app     *app
	where   string                      // the queue, where others do the work
	absent  func(hosts []string) string // says who of those that are needed is not there; nil where the work is done in this process
	title   string
	hosts   []string // that the run's tasks are bound to
	started time.Time
	drawn   time.Time // when it was shown last
	last    ledger.RunState
	rate    rate
	busy    time.Time // when a task ran last, or somebody was missed
	missed  string    // who was missed last
}

const (
	redrawEvery = 100 * time.Millisecond // on a terminal
	printEvery  = 5 * time.Second        // elsewhere
	missAfter   = 10 * time.Second       // how long nothing may run before it is asked whether anybody serves the queue
)

// newProgress makes a progress that shows nothing before begin.
func (a *app) newProgress(ctx context.Context, e *engine) *progress {
	p := &progress{app: a}
	if e.worker == nil {
		p.where = e.conn.Where()
		p.absent = func(hosts []string) string { return e.absent(ctx, hosts) }
	}
	return p
}

// begin is told what begins.
func (p *progress) begin(plan tasks.Plan) {
	now := p.app.env.now()
	p.title, p.started, p.drawn, p.busy = string(plan.Operation)+" "+cmp.Or(plan.Dump, plan.Set), now, now, now
	if plan.Capture != nil {
		p.title = string(plan.Operation) + " " + plan.Capture.Capture
	}
	for _, s := range plan.Steps {
		for _, t := range s.Tasks {
			if host := t.Route.Host; host != "" && !slices.Contains(p.hosts, host) {
				p.hosts = append(p.hosts, host)
			}
		}
	}
	if p.absent != nil {
		p.app.console.line("%s: run %s on %s; salvor watch follows it from anywhere", p.title, plan.Run, p.where)
	} else if !p.app.console.isTerminal() {
		p.app.console.line("%s: started", p.title)
	}
}

// update is told how the run stands.
func (p *progress) update(s coordinator.Progress) {
	now := p.app.env.now()
	p.notable(s)
	p.last = s.RunState
	p.missing(now)
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
	text := p.title + ": " + describe(s.RunState, now.Sub(p.started), p.rate.perSecond())
	if terminal {
		p.app.console.setStatus(text)
	} else {
		p.app.console.line("%s", text)
	}
}

// end removes the line.
func (p *progress) end() { p.app.console.setStatus("") }

// maxNews bounds the events that are told one by one at a time.
const maxNews = 5

// notable says what a user should hear of at once.
func (p *progress) notable(s coordinator.Progress) {
	for i, e := range s.News {
		if i == maxNews {
			p.app.console.line("%s: and %s more like these", p.title, plural(int64(len(s.News)-i), "event", "events"))
			break
		}
		node := cmp.Or(e.Node, e.Task)
		switch e.Kind {
		case "retry":
			p.app.console.line("%s: trying %s again: %s", p.title, node, strings.ReplaceAll(e.Message, "\n", "; "))
		case "death":
			p.app.console.line("%s: doing a part of %s again: worker %s was lost", p.title, node, e.Worker)
		case "epoch":
			p.app.console.line("%s: opening the view of %s again", p.title, node)
		}
	}
	if s.State != p.last.State && s.State == ledger.StateCancelling {
		p.app.console.line("%s: cancelled; ending what runs", p.title)
	}
}

// missing says so where a run stands still because nobody serves the queue, or one of the hosts that it needs.
func (p *progress) missing(now time.Time) {
	if p.last.Live > 0 || p.last.State.Terminal() {
		p.busy, p.missed = now, ""
	}
	if p.absent == nil || now.Sub(p.busy) < missAfter {
		return
	}
	p.busy = now
	missed := p.absent(p.hosts)
	if missed != "" && missed != p.missed {
		p.app.console.problem("warning", p.title+": waiting: "+missed)
	}
	p.missed = missed
}

// mostLeft is the longest time to go that is told.
const mostLeft = 30 * 24 * time.Hour

// describe writes a state in one line, what matters most first: the line may be cut.
func describe(s ledger.RunState, took time.Duration, perSecond float64) string {
	var parts []string
	if s.Weight > 0 {
		parts = append(parts, fmt.Sprintf("%d %%", percentOf(s)))
		// Where next to nothing moves, nobody knows.
		if left := float64(s.Weight - weightDone(s)); left > 0 && perSecond*mostLeft.Seconds() > left {
			parts = append(parts, formatDuration(time.Duration(left/perSecond*float64(time.Second)))+" left")
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

func weightDone(s ledger.RunState) int64 { return min(max(s.WeightDone, s.Bytes), s.Weight) }

// percentOf is how much of what is known so far is done.
func percentOf(s ledger.RunState) int {
	if s.Weight <= 0 {
		return 0
	}
	return int(weightDone(s) * 100 / s.Weight)
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
