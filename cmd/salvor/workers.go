package main

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

// workerLine is a worker as `workers --json` prints it.
type workerLine struct {
	Type     string     `json:"type"`
	Worker   string     `json:"worker"`
	Host     string     `json:"host,omitempty"`
	Hostname string     `json:"hostname"`
	PID      int        `json:"pid"`
	Version  string     `json:"version,omitempty"`
	State    string     `json:"state"`
	Slots    int        `json:"slots"`
	Holders  int        `json:"holders"`
	Started  time.Time  `json:"started"`
	Tasks    []workLine `json:"tasks"`
}

// workLine is what a worker is doing.
type workLine struct {
	Run   string     `json:"run"`
	Task  string     `json:"task"`
	Kind  tasks.Kind `json:"kind"`
	Node  string     `json:"node,omitempty"`
	Since time.Time  `json:"since"`
	Bytes int64      `json:"bytes"`
}

func (a *app) workersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "workers",
		Short: "List the live workers of a queue, and what each is doing",
		Long: "List the live workers of a queue: host, machine, slots, version, and what each is doing since when. A worker that\n" +
			"died is listed for ten seconds more." + exitHelp(exitOK, exitFailed, exitUsage, exitAccess),
		Example: "  salvor workers --queue redis://redis:6379/0\n  salvor workers --json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.workers(c.Context()) },
	}
}

func (a *app) workers(ctx context.Context) error {
	e, _, err := a.reachQueue(ctx)
	if err != nil {
		return err
	}
	defer func() { a.stopEngine(ctx, e) }()
	lines, err := workerLines(ctx, e)
	if err != nil {
		return err
	}
	if a.json {
		for _, l := range lines {
			if err := a.printJSON(l); err != nil {
				return err
			}
		}
		return nil
	}
	if len(lines) == 0 {
		a.console.line("no worker serves %s", e.conn.Where())
		return nil
	}
	now := a.env.now()
	rows := newTable("WORKER", "HOST", "MACHINE", "PID>", "TASKS>", "VIEWS>", "UP>", "STATE", "VERSION")
	work := newTable("WORKER", "RUN", "TASK", "BYTES>", "FOR>")
	for _, l := range lines {
		rows.add(l.Worker, cmp.Or(l.Host, "-"), l.Hostname, strconv.Itoa(l.PID), formatCount(int64(l.Slots)), formatCount(int64(l.Holders)),
			formatDuration(now.Sub(l.Started)), l.State, cmp.Or(l.Version, "-"))
		for _, t := range l.Tasks {
			work.add(l.Worker, t.Run, t.Task, formatBytes(t.Bytes), formatDuration(max(0, now.Sub(t.Since))))
		}
	}
	if err := rows.write(a.out, ""); err != nil {
		return err
	}
	if len(work.rows) == 1 {
		return nil
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	return work.write(a.out, "")
}

// workerLines joins who the queue says is there, and what the ledger says they do.
func workerLines(ctx context.Context, e *engine) ([]workerLine, error) {
	list, err := e.conn.Workers(ctx)
	if err != nil {
		return nil, err
	}
	doing, err := liveTasks(ctx, e)
	if err != nil {
		return nil, err
	}
	lines := make([]workerLine, 0, len(list))
	for _, w := range list {
		l := workerLine{
			Type: "worker", Worker: w.ID, Host: w.Host, Hostname: w.Hostname, PID: w.PID, Version: w.Version, State: "idle",
			Slots: w.WorkSlots, Holders: w.HoldSlots, Started: w.Started, Tasks: []workLine{},
		}
		for _, t := range doing[w.ID] {
			l.Tasks = append(l.Tasks, workLine{Run: t.Run, Task: t.Task, Kind: t.Kind, Node: t.Node, Since: t.Since, Bytes: t.Bytes})
		}
		switch {
		case w.Stopping:
			l.State = "stopping"
		case len(l.Tasks) > 0:
			l.State = "busy"
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// liveTasks returns what is being done, by worker.
func liveTasks(ctx context.Context, e *engine) (map[string][]ledger.LiveTask, error) {
	runs, _, err := e.Active(ctx)
	if err != nil {
		return nil, err
	}
	doing := make(map[string][]ledger.LiveTask)
	for _, run := range runs {
		live, err := e.book.Live(ctx, run)
		if err != nil {
			return nil, err
		}
		for _, t := range live {
			doing[t.Worker] = append(doing[t.Worker], t)
		}
	}
	return doing, nil
}

// reachQueue connects to the queue that the settings name.
func (a *app) reachQueue(ctx context.Context) (*engine, settings, error) {
	s, err := a.settings(needQueue)
	if err != nil {
		return nil, s, err
	}
	if s.queue == "" {
		return nil, s, errNoQueue()
	}
	e, err := a.connect(ctx, s.queue)
	return e, s, err
}
