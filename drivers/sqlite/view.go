package sqlite

import (
	"bufio"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"salvor/drivers"
)

// busyTimeout is how long a freeze waits for a writer's lock.
const busyTimeout = 30 * time.Second

// facts is what the manifest keeps of a view.
type facts struct {
	Version       string `json:"sqlite_version"` // of the library that read the database
	PageSize      int64  `json:"page_size"`
	PageCount     int64  `json:"page_count"`
	JournalMode   string `json:"journal_mode"`
	Encoding      string `json:"encoding"`
	UserVersion   int64  `json:"user_version"`
	ApplicationID int64  `json:"application_id"`
	SchemaVersion int64  `json:"schema_version"`
	DataVersion   int64  `json:"data_version"`
	FileSize      int64  `json:"file_size"` // of the main file, without its log
}

// view is a read transaction. mu serialises the use of its connection.
type view struct {
	path  string
	facts json.RawMessage
	watch watch
	image ref

	mu    sync.Mutex
	conn  *conn // nil once the view has ended
	ended atomic.Bool
}

// Freeze begins a read transaction. It waits up to 30 seconds for a writer. It never creates the file; as any reader
// does, it rolls back what a crashed writer left half done.
func (s *Source) Freeze(ctx context.Context) (drivers.View, error) {
	info, err := s.lookAt()
	if err != nil {
		return nil, fmt.Errorf("freeze database: %w", err)
	}
	if info == nil {
		return nil, fmt.Errorf("freeze database %s: %w", s.path, drivers.ErrNotFound)
	}
	v, err := s.freeze(ctx, modeWrite)
	if hasCode(err, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) && quiescent(s.path) {
		// A database in WAL mode needs shared memory beside it. Where none can be made and there is no log, nobody has
		// the database open, and the file alone is all of it. The view ends as lost if that changes meanwhile.
		v, err = s.freeze(ctx, modeImmutable)
	}
	if err != nil {
		return nil, fmt.Errorf("freeze database %s: %w", s.path, s.explain(err))
	}
	return v, nil
}

func (s *Source) freeze(ctx context.Context, mode string) (_ *view, err error) {
	v := &view{path: s.path}
	if mode == modeImmutable {
		// Before anything is read: a change from here on shows.
		if v.watch.still, err = observe(s.path); err != nil {
			return nil, err
		}
	}
	if v.conn, err = connect(s.path, mode); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.conn.close())
		}
	}()
	err = v.conn.exec(ctx,
		fmt.Sprintf("PRAGMA busy_timeout=%d", s.busy.Milliseconds()),
		"PRAGMA query_only=1",
		"PRAGMA trusted_schema=0",
		"PRAGMA mmap_size=0", // a file that another process cuts must give an error, not a signal
		"PRAGMA cache_size=16",
		"BEGIN",
	)
	if err != nil {
		return nil, err
	}
	// BEGIN alone takes no snapshot, the first read does.
	if _, err := v.conn.int(ctx, "SELECT count(*) FROM sqlite_schema"); err != nil {
		return nil, err
	}
	if err := v.describe(ctx); err != nil {
		return nil, err
	}
	if mode != modeImmutable {
		v.watch.locks = watchLocks(s.path)
	}
	return v, nil
}

// describe fills in what is known of the view without reading it all.
func (v *view) describe(ctx context.Context) error {
	var f facts
	var err error
	number := func(query string) (n int64) {
		if err == nil {
			n, err = v.conn.int(ctx, query)
		}
		return n
	}
	text := func(query string) (s string) {
		if err == nil {
			s, err = v.conn.text(ctx, query)
		}
		return s
	}
	f.Version = text("SELECT sqlite_version()")
	f.PageSize = number("PRAGMA page_size")
	f.PageCount = number("PRAGMA page_count")
	f.JournalMode = text("PRAGMA journal_mode")
	f.Encoding = text("PRAGMA encoding")
	f.UserVersion = number("PRAGMA user_version")
	f.ApplicationID = number("PRAGMA application_id")
	f.SchemaVersion = number("PRAGMA schema_version")
	f.DataVersion = number("PRAGMA data_version")
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	info, err := os.Stat(v.path)
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	f.FileSize = info.Size()
	if err := v.checkWhole(ctx, f.PageSize, f.PageCount); err != nil {
		return err
	}
	v.image = ref{PageSize: f.PageSize, PageCount: f.PageCount, Mode: uint32(info.Mode().Perm())}
	v.image.UID, v.image.GID = ownerOf(info)
	if f.PageCount > 0 {
		page, err := v.conn.value(ctx, "SELECT data FROM sqlite_dbpage('main') WHERE pgno=1")
		if err != nil {
			return fmt.Errorf("read header: %w", err)
		}
		data, ok := page.([]byte)
		if !ok || len(data) < headerSize {
			return fmt.Errorf("read header: %w", drivers.ErrCorrupt)
		}
		v.image.Header = data[:headerSize:headerSize]
	}
	v.facts, err = json.Marshal(f)
	if err != nil {
		return fmt.Errorf("describe view: %w", err)
	}
	return nil
}

// checkWhole refuses a file that ends in the middle of one of its pages: SQLite would fill the rest with zeros. In WAL mode
// the file may end before the last page, which is then in the log, and a checkpoint may be extending it at this moment.
// What lies after the last page (space that was allocated in larger steps) is no part of the database.
func (v *view) checkWhole(ctx context.Context, pageSize, pageCount int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for last, same := int64(-1), 0; ; {
		info, err := os.Stat(v.path)
		if err != nil {
			return fmt.Errorf("read facts: %w", err)
		}
		size := info.Size()
		if size%pageSize == 0 || size/pageSize >= pageCount {
			return nil
		}
		if same++; size != last {
			last, same = size, 0
		}
		if same == tornChecks {
			return drivers.WithHint(
				fmt.Errorf("file of %d bytes ends %d bytes into page %d of %d: it was truncated: %w",
					size, size%pageSize, size/pageSize+1, pageCount, drivers.ErrCorrupt),
				"restore it from an earlier dump; sqlite3's .recover command may save what can be read. If a log (-wal) is beside it, "+
					"open it with its application first, which may complete the file from the log")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// tornChecks is how often a file must be seen to end in the same place: a writer that extends it goes on meanwhile.
const tornChecks = 10

// explain gives an error of freeze its class and, where there is one, a hint.
func (s *Source) explain(err error) error {
	switch {
	case hasCode(err, sqlite3.SQLITE_NOTADB):
		return drivers.WithHint(classify(err),
			"the file is not a SQLite database, or it is encrypted; back up an encrypted one with the filesystem driver while its application is stopped")
	case hasCode(err, sqlite3.SQLITE_CORRUPT):
		return drivers.WithHint(classify(err),
			"the database is damaged; sqlite3's .recover command may save what can be read")
	case hasCode(err, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
		return drivers.WithHint(fmt.Errorf("locked by another process: %w", err),
			"a long write transaction holds the database; try again when it is over")
	case hasCode(err, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
		if _, statErr := os.Stat(s.path); errors.Is(statErr, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", drivers.ErrNotFound, err)
		}
		if len(s.path) > 500 {
			return fmt.Errorf("path of %d bytes is longer than SQLite takes: %w: %w", len(s.path), drivers.ErrInvalid, err)
		}
		return drivers.WithHint(classify(err),
			"the file must be readable, and where a -wal or -journal file is beside it, the directory writable by this user")
	}
	return classify(err)
}

// Facts describes the view.
func (v *view) Facts() json.RawMessage { return v.facts }

// Parts yields the only part.
func (v *view) Parts(ctx context.Context, yield func(drivers.Part) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	part, err := v.image.part()
	if err != nil {
		return err
	}
	return yield(part)
}

// Dump writes the image. Concurrent calls take turns.
func (v *view) Dump(ctx context.Context, part drivers.Part, w io.Writer) (drivers.Counts, error) {
	if part.Name != partName {
		return drivers.Counts{}, fmt.Errorf("dump part %q: no such part: %w", part.Name, drivers.ErrInvalid)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.Alive(ctx); err != nil {
		return drivers.Counts{}, err
	}
	return drivers.Counts{}, v.pages(ctx, w)
}

// pages writes all pages in their order. Errors of w are returned as they are.
func (v *view) pages(ctx context.Context, w io.Writer) (err error) {
	// The statement does not get ctx: an interrupted one could cost the transaction, which other readers share.
	rows, err := v.conn.raw.QueryContext(context.WithoutCancel(ctx), "SELECT data FROM sqlite_dbpage('main')", nil)
	if err != nil {
		return fmt.Errorf("read pages of %s: %w", v.path, classify(err))
	}
	defer func() {
		if closeErr := rows.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("read pages of %s: %w", v.path, classify(closeErr))
		}
	}()
	out := bufio.NewWriterSize(w, 256<<10)
	dest := make([]driver.Value, 1)
	for n := int64(0); ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := rows.Next(dest); {
		case errors.Is(err, io.EOF) && n == v.image.PageCount:
			return out.Flush()
		case errors.Is(err, io.EOF):
			return fmt.Errorf("read pages of %s: %d of %d: %w", v.path, n, v.image.PageCount, drivers.ErrViewLost)
		case err != nil:
			return fmt.Errorf("read page %d of %s: %w", n+1, v.path, classify(err))
		}
		page, ok := dest[0].([]byte)
		if !ok || int64(len(page)) != v.image.PageSize {
			return fmt.Errorf("read page %d of %s: not a page: %w", n+1, v.path, drivers.ErrCorrupt)
		}
		if _, err := out.Write(page); err != nil {
			return err
		}
	}
}

// Alive looks whether what protects the transaction is still there.
func (v *view) Alive(context.Context) error {
	if v.ended.Load() {
		return fmt.Errorf("view of %s has ended: %w", v.path, drivers.ErrViewLost)
	}
	return v.watch.check(v.path)
}

// End ends the transaction. That it was open until now is what SQLite says at its commit, and that nobody could write
// beside it is what the watch says.
func (v *view) End(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conn == nil {
		return nil
	}
	v.ended.Store(true)
	err := v.watch.check(v.path)
	if commitErr := v.conn.exec(context.WithoutCancel(ctx), "COMMIT"); commitErr != nil {
		err = errors.Join(err, fmt.Errorf("end view of %s: %w: %w", v.path, drivers.ErrViewLost, commitErr))
	}
	if closeErr := v.conn.close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("end view of %s: %w", v.path, closeErr))
	}
	v.conn = nil
	return err
}
