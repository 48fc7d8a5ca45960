package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// stager opens a session to stage by.
func (m *merger) stager(ctx context.Context) (*conn, error) {
	c, err := m.source.connect(ctx, "merge "+m.Spec.ID+" stage")
	if err != nil {
		return nil, m.source.explain(err)
	}
	return c, nil
}

// Stage copies a batch's changes into the staging table, by a session of its own.
func (m *merger) Stage(ctx context.Context, b *relational.Batch, changes relational.Changes) error {
	t := m.Model.Table(b.Table)
	if t == nil {
		return fmt.Errorf("table %s: %w", b.Table, relational.ErrTargetMoved)
	}
	err := m.stagers.With(ctx, func(c *conn) error { return m.stage(ctx, c, t, b, changes) })
	if err != nil {
		return fmt.Errorf("stage: %w", classify(err))
	}
	return nil
}

// stage copies a batch's changes in one transaction.
func (m *merger) stage(ctx context.Context, c *conn, t *relational.Table, b *relational.Batch, changes relational.Changes) error {
	stage := m.stageOf(t)
	if err := m.makeStage(ctx, c, t, stage); err != nil {
		return err
	}
	if err := c.exec(ctx, "BEGIN; DELETE FROM "+stage+" WHERE b = "+strconv.Itoa(b.Number)); err != nil {
		return err
	}
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writeStaged(out, t, b, changes)
		_ = out.CloseWithError(err) // which is always nil
		written <- err
	}()
	tag, err := c.CopyFrom(ctx, in, "COPY "+stage+" FROM STDIN")
	_ = in.CloseWithError(errStaged) // so that the writer ends, wherever it is
	if cause := <-written; cause != nil && !errors.Is(cause, errStaged) {
		return cause // the server's error is but its echo
	}
	if err != nil {
		return told(ctx, err)
	}
	if n := tag.RowsAffected(); n != int64(b.Rows) {
		return fmt.Errorf("%d changes were staged of %d: %w", n, b.Rows, drivers.ErrFailed)
	}
	return c.exec(ctx, "COMMIT")
}

var errStaged = errors.New("the server takes no more")

// makeStage makes a staging table, unless it is there.
func (m *merger) makeStage(ctx context.Context, c *conn, t *relational.Table, stage string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made[stage] {
		return nil
	}
	columns := []string{"b bigint", "n bigint"}
	for _, side := range []string{"n", "o"} {
		for i := range t.Columns {
			columns = append(columns, side+strconv.Itoa(i)+" text")
		}
	}
	// Another process may make it at the same time.
	err := c.exec(ctx, "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock("+mergeLock[:strings.Index(mergeLock, ",")]+"); CREATE UNLOGGED TABLE IF NOT EXISTS "+stage+" ("+
		strings.Join(columns, ", ")+", PRIMARY KEY (b, n)); COMMIT")
	if err != nil {
		return err
	}
	m.made[stage] = true
	return nil
}

// writeStaged writes changes as COPY takes them.
func writeStaged(to io.Writer, t *relational.Table, b *relational.Batch, changes relational.Changes) error {
	out := bufio.NewWriterSize(to, 64<<10)
	var line []byte
	n := 0
	err := changes(func(c *relational.Change) error {
		line = strconv.AppendInt(line[:0], int64(b.Number), 10)
		line = strconv.AppendInt(append(line, '\t'), int64(n), 10)
		n++
		for _, values := range [][]relational.Value{c.New, c.Old} {
			for i := range t.Columns {
				line = append(line, '\t')
				if values == nil || values[i].Kind == relational.Null {
					line = append(line, '\\', 'N')
					continue
				}
				line = appendCopy(line, values[i])
			}
		}
		_, err := out.Write(append(line, '\n'))
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// appendCopy appends a value of COPY text.
func appendCopy(to []byte, v relational.Value) []byte {
	text := v.Text
	if v.Kind == relational.Bytes {
		text = argument(v)
	}
	for _, c := range text {
		switch c {
		case '\\', '\t', '\n', '\r':
			to = append(to, '\\', map[byte]byte{'\\': '\\', '\t': 't', '\n': 'n', '\r': 'r'}[c])
		default:
			to = append(to, c)
		}
	}
	return to
}
