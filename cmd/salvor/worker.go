package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"salvor/tasks"
	"salvor/workers"
)

type workerOptions struct {
	concurrency int
	holders     int
	drain       time.Duration
	verbose     bool
}

func (a *app) workerCommand() *cobra.Command {
	var o workerOptions
	c := &cobra.Command{
		Use:   "worker",
		Short: "Do the work of the runs of a queue, until told to stop",
		Long: "Do the work of dumps and restores that any machine starts on a queue. A worker takes the tasks of nodes that are bound\n" +
			"to its host (--host), and those of nodes that are bound to none. It resolves ${NAME} and ${file:PATH} of the sources\n" +
			"and of the archive in its own environment.\n\n" +
			"SIGTERM or SIGINT stops it: it takes no more work, lets running tasks end for a while (--drain), and hands the others\n" +
			"back; a second signal ends it at once. While Redis is away the work goes on and is reported when it is back." +
			exitHelp(exitOK, exitFailed, exitUsage, exitAccess),
		Example: "  salvor worker --queue redis://redis:6379/0 --host web-1\n" +
			"  salvor worker --queue 'rediss://worker:${REDIS_PASSWORD}@redis:6379/0' --concurrency 8 --memory 1GiB",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.work(c.Context(), o) },
	}
	f := c.Flags()
	f.IntVar(&o.concurrency, "concurrency", workers.DefaultSlots, "how many tasks run at once")
	f.IntVar(&o.holders, "holders", workers.DefaultHoldSlots, "how many consistent views are held at once")
	f.DurationVar(&o.drain, "drain", 30*time.Second, "how long running tasks may take to end after the signal to stop")
	f.BoolVar(&o.verbose, "verbose", false, "write a line for each task")
	return c
}

// concludeAfter is how many leases after its end a run's coordinator is taken for dead.
const concludeAfter = 2

func (a *app) work(ctx context.Context, o workerOptions) error {
	switch {
	case o.concurrency < 1:
		return usagef("", "--concurrency must be at least 1")
	case o.holders < 1:
		return usagef("", "--holders must be at least 1")
	case o.drain < 0:
		return usagef("", "--drain must not be negative")
	case !tasks.ValidHost(a.host):
		return usagef("name it with --host", "the machine's name %s cannot be a host's", quoteName(a.host))
	}
	s, err := a.settings(needQueue)
	if err != nil {
		return err
	}
	if s.queue == "" {
		return errNoQueue()
	}
	e, err := a.connect(ctx, s.queue)
	if err != nil {
		return err
	}
	defer func() { a.stopEngine(ctx, e) }()
	log := slog.New(&logHandler{console: a.console, verbose: o.verbose})
	err = a.startWorker(e, workers.Config{Host: a.host, Slots: o.concurrency, HoldSlots: o.holders, Log: log})
	if err != nil {
		return err
	}
	var concluding sync.WaitGroup
	defer concluding.Wait()
	concluder := e.NewConcluder(a.existingArchive, concludeAfter*e.book.Options().Lease)
	concluding.Go(func() { concluder.Run(ctx) })

	a.awaitListed(ctx, e)
	a.console.line("worker %s: serving host %s on %s, %s, %s", e.worker.ID(), a.host, e.conn.Where(),
		plural(int64(o.concurrency), "task", "tasks")+" at once", plural(int64(o.holders), "view", "views"))
	<-ctx.Done()
	a.console.line("worker %s: stopping; running tasks have %s to end", e.worker.ID(), formatDuration(o.drain))
	draining, stop := context.WithTimeout(context.WithoutCancel(ctx), o.drain)
	defer stop()
	if err := e.worker.Stop(draining); err != nil {
		a.console.problem("warning", fmt.Sprintf("the worker did not stop cleanly: %v", err))
	}
	a.console.line("worker %s: stopped", e.worker.ID())
	return nil
}

// awaitListed waits until the queue lists the worker, so that who starts it can start a run when it says that it serves.
func (a *app) awaitListed(ctx context.Context, e *engine) {
	const patience, every = 5 * time.Second, 10 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		list, err := e.conn.Workers(ctx)
		for _, w := range list {
			if err == nil && w.ID == e.worker.ID() && w.HoldSlots > 0 {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}
