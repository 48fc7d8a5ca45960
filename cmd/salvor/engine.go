package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
	"salvor/workers"
)

// engine is what carries out runs: the queue with the ledger in it, a sweeper and a coordinator. Where the queue is in this
// process, so is the worker; on a queue that processes share, `salvor worker` does the work.
type engine struct {
	*coordinator.Coordinator

	conn     *queue.Conn
	book     *ledger.Ledger
	worker   *workers.Worker // nil where others work
	sweep    sync.WaitGroup
	endSweep context.CancelFunc
	literals literals
}

// literals are the sources of this process's runs that hold a secret as text. They are nowhere else.
type literals struct {
	mu      sync.Mutex
	sources map[literalKey]secret.Text
}

type literalKey struct{ run, path string }

func (l *literals) put(run, path string, source secret.Text) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sources == nil {
		l.sources = make(map[literalKey]secret.Text)
	}
	l.sources[literalKey{run, path}] = source
}

// putAll keeps those of a set's nodes.
func (l *literals) putAll(run string, set *tasks.Node) {
	for path, n := range set.Walk() {
		if !n.Literal.IsEmpty() {
			l.put(run, path, n.Literal)
		}
	}
}

func (l *literals) get(run, path string) (secret.Text, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.sources[literalKey{run, path}]
	return s, ok
}

// embeddedBeat is how often attempts beat when the queue is in this process: an interrupt is noticed at a beat, and a beat
// costs no way over a network.
const embeddedBeat = time.Second

// startEngine starts what carries out runs. The caller stops it. queueURL may hold references; "" means embedded.
func (a *app) startEngine(ctx context.Context, queueURL string) (*engine, error) {
	e, err := a.connect(ctx, queueURL)
	if err != nil || queueURL != "" {
		return e, err
	}
	if err := a.startWorker(e, workers.Config{Host: a.host, Log: a.log}); err != nil {
		return nil, errors.Join(err, e.stop(ctx))
	}
	return e, nil
}

// connect starts all of an engine but a worker.
func (a *app) connect(ctx context.Context, queueURL string) (*engine, error) {
	e := &engine{}
	var err error
	if queueURL == "" {
		e.conn, err = queue.OpenEmbedded(ctx)
	} else {
		var url secret.Text
		if url, err = a.resolve(queueURL); err == nil {
			e.conn, err = queue.Open(ctx, url.Reveal())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	e.book = ledger.New(e.conn.Redis(), a.ledgerOptions(queueURL == ""))
	e.Coordinator = coordinator.New(coordinator.Config{
		Ledger: e.book, Conn: e.conn, Drivers: taskDrivers(a.registry), Version: programVersion().Version, Log: a.log,
		Exit: exitOfOutcome,
	})
	// A run that is interrupted is still swept until it has ended, so the sweeper ends with the engine and not with ctx.
	sweeping, end := context.WithCancel(context.WithoutCancel(ctx))
	e.endSweep = end
	sweeper := queue.NewSweeper(e.conn, e.book, a.log)
	e.sweep.Go(func() { sweeper.Run(sweeping) })
	return e, nil
}

// beatsPerLease is how many beats and sweeps there are within a lease.
const beatsPerLease = 6

func (a *app) ledgerOptions(embedded bool) ledger.Options {
	o := ledger.Options{Lease: a.lease, Beat: a.lease / beatsPerLease, ReEmit: a.lease / beatsPerLease}
	if embedded && a.lease == 0 {
		o.Beat = embeddedBeat
	}
	return o
}

// driversShare is the part of the memory that drivers may take for large buffers; half of all is the archive's.
const driversShare = 4

// startWorker completes a worker's configuration and starts it. The engine stops it.
func (a *app) startWorker(e *engine, c workers.Config) error {
	id, err := workerID(c.Host)
	if err != nil {
		return err
	}
	c.ID, c.Version, c.Scratch, c.Registry, c.Ledger, c.Conn = id, programVersion().Version, a.scratch, a.registry, e.book, e.conn
	c.Memory = a.memoryBytes / driversShare
	c.Archive = a.existingArchive
	c.Source = func(_ context.Context, run, path, source string) (secret.Text, error) {
		return a.source(e, run, path, source)
	}
	w, err := workers.New(c)
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	e.worker = w
	return nil
}

// existingArchive opens the archive of a plan.
func (a *app) existingArchive(ctx context.Context, place string) (*archive.Archive, error) {
	return a.archiveAt(ctx, place, archive.Open)
}

// stopEngine stops an engine after its run has ended: what goes wrong then is no failure of the run.
func (a *app) stopEngine(ctx context.Context, e *engine) {
	if err := e.stop(ctx); err != nil {
		a.console.problem("warning", fmt.Sprintf("the engine did not stop cleanly: %v", err))
	}
}

// source returns the source of a node as the worker opens it.
func (a *app) source(e *engine, run, path, source string) (secret.Text, error) {
	if source != tasks.RedactedSource {
		return a.resolve(source)
	}
	if text, ok := e.literals.get(run, path); ok {
		return a.resolve(text.Reveal()) // a literal secret may stand beside variables
	}
	return secret.Text{}, drivers.WithHint(
		fmt.Errorf("%w: the source of node %s held a secret, which is not stored", drivers.ErrInvalid, path),
		"name the target with --into, and write secrets as ${NAME}")
}

// drainFor bounds how long running tasks may take to end when the engine stops: a run has ended by then.
const drainFor = 10 * time.Second

// stop ends what startEngine started, in reverse, and waits for it.
func (e *engine) stop(ctx context.Context) error {
	var err error
	if e.worker != nil {
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
		defer cancel()
		err = e.worker.Stop(draining)
	}
	e.endSweep()
	e.sweep.Wait()
	if err = errors.Join(err, e.conn.Close()); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// workerID names this process among all workers of a queue, so that a person recognises it.
func workerID(host string) (string, error) {
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make worker id: %w", err)
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), hex.EncodeToString(random[:])), nil
}
