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

// engine is all that carries out runs in this process: the queue (embedded, or a Redis that others share), the ledger in
// it, a worker, a sweeper and a coordinator.
type engine struct {
	*coordinator.Coordinator

	conn     *queue.Conn
	worker   *workers.Worker
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
func (a *app) startEngine(ctx context.Context, queueURL string) (_ *engine, err error) {
	e := &engine{}
	options := ledger.Options{}
	if queueURL == "" {
		options.Beat = embeddedBeat
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
	defer func() {
		if err != nil {
			err = errors.Join(err, e.conn.Close())
		}
	}()
	book := ledger.New(e.conn.Redis(), options)
	id, err := workerID(a.env.hostname)
	if err != nil {
		return nil, err
	}
	e.worker, err = workers.New(workers.Config{
		ID: id, Host: a.host, Scratch: a.scratch, Registry: a.registry, Ledger: book, Conn: e.conn, Log: a.log,
		Archive: func(ctx context.Context, place string) (*archive.Archive, error) {
			return a.archiveAt(ctx, place, archive.Open)
		},
		Source: func(_ context.Context, run, path, source string) (secret.Text, error) {
			return a.source(e, run, path, source)
		},
	})
	if err != nil {
		return nil, err
	}
	e.Coordinator = coordinator.New(coordinator.Config{
		Ledger: book, Conn: e.conn, Drivers: taskDrivers(a.registry), Version: programVersion().Version, Log: a.log,
		Exit: exitOfOutcome,
	})
	if err := e.worker.Start(); err != nil {
		return nil, err
	}
	// A run that is interrupted is still swept until it has ended, so the sweeper ends with the engine and not with ctx.
	sweeping, end := context.WithCancel(context.WithoutCancel(ctx))
	e.endSweep = end
	sweeper := queue.NewSweeper(e.conn, book, a.log)
	e.sweep.Go(func() { sweeper.Run(sweeping) })
	return e, nil
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

// drainFor bounds how long running tasks may take to end when the engine stops. A run has ended by then; only work of
// other runs on a shared queue can still be there, and it is handed back.
const drainFor = 10 * time.Second

// stop ends what startEngine started, in reverse, and waits for it.
func (e *engine) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	err := e.worker.Stop(ctx)
	e.endSweep()
	e.sweep.Wait()
	if err = errors.Join(err, e.conn.Close()); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// workerID names this process among all workers of a queue, so that a person recognises it.
func workerID(hostname func() (string, error)) (string, error) {
	host, err := hostname()
	if err != nil {
		return "", fmt.Errorf("read host name: %w", err)
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make worker id: %w", err)
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), hex.EncodeToString(random[:])), nil
}
