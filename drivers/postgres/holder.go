package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"salvor/drivers"
)

// keeper is a session whose transaction keeps a snapshot, and the locks that go with it. mu serialises its use.
type keeper struct {
	mu   sync.Mutex
	conn *conn
	dead bool
}

// pingTimeout bounds how long a keeper's answer may take. A busy server is not a lost view.
const pingTimeout = 60 * time.Second

// ping tells whether the session still has its transaction. The caller's cancel must not cost the session.
func (k *keeper) ping(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errKeeperDead
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
	defer cancel()
	if err := k.conn.exec(ctx, "SELECT 1"); err != nil || k.conn.TxStatus() != 'T' {
		k.dead = true
		k.conn.close(ctx)
		return errors.Join(errKeeperDead, err)
	}
	return nil
}

// end ends the transaction and the session; nil proves that it lasted.
func (k *keeper) end(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errKeeperDead
	}
	k.dead = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
	defer cancel()
	defer k.conn.close(ctx)
	if k.conn.TxStatus() != 'T' {
		return errKeeperDead
	}
	return k.conn.exec(ctx, "SELECT 1; ROLLBACK")
}

var errKeeperDead = errors.New("session that held the view has ended")

// ticket is what another process needs to join a view. Any of the snapshots will do; they are of one moment.
type ticket struct {
	Snapshots []string `json:"snapshots"`
	// System and Started tell the server from others that the same name may lead to.
	System  string `json:"system,omitempty"`
	Started string `json:"started"`
	// Clock is the moment, for those who ask a joined view.
	Clock time.Time `json:"clock,omitzero"`
}

// startedQuery asks when the server was started: what tells apart a server, its standbys, and what it is after a restart.
const startedQuery = "SELECT pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())"

// export exports the lead's snapshot, and lets a second session join and export it again. That one's export outlives the
// first session, so that the view outlives the death of either. Where the server has no room for a second holder's
// locks, or somebody waits to change a table and stands before it, the view has one.
func (v *view) export(ctx context.Context) ([]string, error) {
	lead := v.keepers[0].conn
	first, err := lead.text(ctx, "SELECT pg_catalog.pg_export_snapshot()")
	if err != nil {
		return nil, fmt.Errorf("export snapshot: %w", classify(err))
	}
	second, err := v.source.connect(ctx, "freeze: hold too")
	if err != nil {
		if isCode(err, "53300") {
			return []string{first}, nil
		}
		return nil, v.source.explain(err)
	}
	again, err := v.hold(ctx, second, first)
	if err != nil {
		second.close(ctx)
		if isCode(err, codeMemory, codeLockTimeout) {
			return []string{first}, nil
		}
		return nil, err
	}
	v.keepers = append(v.keepers, &keeper{conn: second})
	return []string{first, again}, nil
}

// hold joins a snapshot, locks the tables, and exports it again.
func (v *view) hold(ctx context.Context, c *conn, snapshot string) (string, error) {
	if err := c.exec(ctx, joinSQL(snapshot)); err != nil {
		return "", fmt.Errorf("join snapshot: %w", joinError(err))
	}
	if err := v.sameServer(ctx, c); err != nil {
		return "", err
	}
	const tries = 8
	for try := 1; ; try++ {
		if err := c.exec(ctx, "SAVEPOINT hold"); err != nil {
			return "", classify(err)
		}
		err := v.source.lock(ctx, c, nil, v.tables, "NOWAIT")
		if err == nil {
			if err := c.exec(ctx, "RELEASE SAVEPOINT hold"); err != nil { // within one nothing can be exported
				return "", classify(err)
			}
			break
		}
		if !isCode(err, codeLockTimeout) || try == tries {
			return "", err
		}
		if err := c.exec(ctx, "ROLLBACK TO SAVEPOINT hold; RELEASE SAVEPOINT hold"); err != nil {
			return "", classify(err)
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
	again, err := c.text(ctx, "SELECT pg_catalog.pg_export_snapshot()")
	if err != nil {
		return "", fmt.Errorf("export snapshot again: %w", classify(err))
	}
	return again, nil
}

func joinSQL(snapshot string) string {
	return beginView + "; SET TRANSACTION SNAPSHOT " + literal(snapshot)
}

// Ticket describes the view for other processes.
func (v *view) Ticket() json.RawMessage {
	data, err := json.Marshal(v.ticket)
	if err != nil {
		return nil // texts cannot fail to be encoded
	}
	return data
}

// Join opens a view of the same moment.
func (s *Source) Join(ctx context.Context, raw json.RawMessage) (drivers.View, error) {
	v := &view{source: s, joined: true, done: make(chan struct{})}
	if err := json.Unmarshal(raw, &v.ticket); err != nil || len(v.ticket.Snapshots) == 0 {
		return nil, fmt.Errorf("join view: %w: the ticket makes no sense", drivers.ErrInvalid)
	}
	// The first session proves that the snapshot can be joined, and serves the first part.
	w, err := v.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("join view of %s: %w", s.config.Database, err)
	}
	v.give(w)
	return v, nil
}
