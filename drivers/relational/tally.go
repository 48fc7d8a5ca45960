package relational

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the file that keys are spilled to
)

// Tally counts keys. It is held in memory up to a budget, and in a file beyond it, so that a set of any size can be kept. It is
// used by one goroutine.
type Tally struct {
	dir    string
	budget int64
	counts map[string]int64
	size   int64
	file   *tallyFile
}

// tallyEntry is about what an entry of a map takes beside its key.
const tallyEntry = 64

// NewTally returns an empty one. dir is where a file may be made, "" for the system's; budget is how many bytes of memory are used
// before there is one.
func NewTally(dir string, budget int64) *Tally {
	return &Tally{dir: dir, budget: budget, counts: make(map[string]int64)}
}

// Add adds to the count of a key and returns what it is then. A count of 0 takes no memory.
func (t *Tally) Add(ctx context.Context, key []byte, delta int64) (int64, error) {
	if t.file != nil {
		return t.file.add(ctx, key, delta)
	}
	n, known := t.counts[string(key)]
	n += delta
	switch {
	case n == 0 && known:
		delete(t.counts, string(key))
		t.size -= int64(len(key)) + tallyEntry
	case n != 0:
		t.counts[string(key)] = n
		if !known {
			t.size += int64(len(key)) + tallyEntry
		}
	}
	if t.size > t.budget {
		return n, t.spill(ctx)
	}
	return n, nil
}

// Count returns that of a key.
func (t *Tally) Count(ctx context.Context, key []byte) (int64, error) { return t.Add(ctx, key, 0) }

// spill moves everything into a file.
func (t *Tally) spill(ctx context.Context) error {
	f, err := newTallyFile(ctx, t.dir)
	if err != nil {
		return err
	}
	t.file = f
	for key, n := range t.counts {
		if _, err := f.add(ctx, []byte(key), n); err != nil {
			return err
		}
	}
	t.counts, t.size = nil, 0
	return nil
}

// Spilled tells whether there is a file.
func (t *Tally) Spilled() bool { return t.file != nil }

// Close removes the file.
func (t *Tally) Close() error {
	if t.file == nil {
		return nil
	}
	f := t.file
	t.file, t.counts = nil, make(map[string]int64)
	return f.close()
}

// tallyFile is a table in a SQLite database: a tree on disk of which the parts in use are in memory.
type tallyFile struct {
	dir string
	db  *sql.DB
	tx  *sql.Tx
	set *sql.Stmt
	get *sql.Stmt
	del *sql.Stmt
}

func newTallyFile(ctx context.Context, dir string) (_ *tallyFile, err error) {
	f := &tallyFile{}
	if f.dir, err = os.MkdirTemp(dir, "salvor-keys-*"); err != nil {
		return nil, fmt.Errorf("make a file for keys: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("make a file for keys: %w", errors.Join(err, f.close()))
		}
	}()
	// Nobody needs the file after a crash, so nothing is done to keep it whole.
	pragmas := "?_pragma=journal_mode(off)&_pragma=synchronous(off)&_pragma=locking_mode(exclusive)&_pragma=cache_size(-16384)"
	if f.db, err = sql.Open("sqlite", "file:"+filepath.Join(f.dir, "keys")+pragmas); err != nil {
		return nil, err
	}
	f.db.SetMaxOpenConns(1)
	// The transaction outlives the call that makes it.
	if f.tx, err = f.db.BeginTx(context.WithoutCancel(ctx), nil); err != nil {
		return nil, err
	}
	if _, err = f.tx.ExecContext(ctx, "CREATE TABLE k (key BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID"); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&f.set, "INSERT INTO k VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET n = n + ?2 RETURNING n"},
		{&f.get, "SELECT n FROM k WHERE key = ?1"},
		{&f.del, "DELETE FROM k WHERE key = ?1"},
	} {
		if *s.to, err = f.tx.PrepareContext(context.WithoutCancel(ctx), s.sql); err != nil { //nolint:sqlclosecheck // close does
			return nil, err
		}
	}
	return f, nil
}

func (f *tallyFile) add(ctx context.Context, key []byte, delta int64) (n int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	if key == nil {
		key = []byte{}
	}
	ctx = context.WithoutCancel(ctx) // a statement that is cut short would end the transaction
	if delta == 0 {
		if err := f.get.QueryRowContext(ctx, key).Scan(&n); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, fmt.Errorf("look up a key: %w", err)
		}
		return n, nil
	}
	if err := f.set.QueryRowContext(ctx, key, delta).Scan(&n); err != nil {
		return 0, fmt.Errorf("keep a key: %w", err)
	}
	if n == 0 {
		if _, err := f.del.ExecContext(ctx, key); err != nil {
			return 0, fmt.Errorf("drop a key: %w", err)
		}
	}
	return n, nil
}

func (f *tallyFile) close() error {
	var errs []error
	for _, s := range []*sql.Stmt{f.set, f.get, f.del} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	if f.tx != nil {
		errs = append(errs, f.tx.Rollback())
	}
	if f.db != nil {
		errs = append(errs, f.db.Close())
	}
	if f.dir != "" {
		errs = append(errs, os.RemoveAll(f.dir))
	}
	return errors.Join(errs...)
}
