package relational

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"salvor/drivers"
)

// queue holds rows that are still to be looked at, first in, first out, in a file without a name: whatever happens, nothing of it is left.
// The file grows with every row that is captured, and is cut when nothing is left in it.
type queue struct {
	file *os.File
	out  *bufio.Writer
	end  int64 // of what is written
	at   int64 // of what is read
}

// queued is a row in a queue.
type queued struct {
	table  Name
	depth  int
	values []Value
}

func newQueue(dir string) (*queue, error) {
	file, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	return &queue{file: file, out: bufio.NewWriterSize(io.NewOffsetWriter(file, 0), 64<<10)}, nil
}

func (q *queue) close() error { return q.file.Close() }

// push adds a row.
func (q *queue) push(row *queued) error {
	var b []byte
	for _, name := range []string{row.table.Schema, row.table.Name} {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	b = binary.AppendUvarint(b, uint64(row.depth)) //nolint:gosec // a count
	b = binary.AppendUvarint(b, uint64(len(row.values)))
	b = AppendValues(b, row.values)
	head := binary.BigEndian.AppendUint64(nil, uint64(len(b)))
	for _, piece := range [][]byte{head, b} {
		n, err := q.out.Write(piece)
		q.end += int64(n)
		if err != nil {
			return fmt.Errorf("keep a row: %w", noSpace(err))
		}
	}
	return nil
}

// pop returns the next rows: at most so many, and no more when they are of so many bytes. None are left where it returns none.
func (q *queue) pop(rows int, size int64) ([]*queued, error) {
	if q.at == q.end {
		return nil, nil
	}
	if err := q.out.Flush(); err != nil {
		return nil, fmt.Errorf("keep rows: %w", noSpace(err))
	}
	in := bufio.NewReaderSize(io.NewSectionReader(q.file, q.at, q.end-q.at), 64<<10)
	var list []*queued
	for from := q.at; q.at < q.end && len(list) < rows && q.at-from < size; {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return nil, fmt.Errorf("read a row back: %w", err)
		}
		n := int64(binary.BigEndian.Uint64(head[:])) //nolint:gosec // what push wrote
		if n < 0 || n > q.end-q.at {
			return nil, errQueue
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, fmt.Errorf("read a row back: %w", err)
		}
		q.at += n + int64(len(head))
		row, err := parseQueued(b)
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	if q.at == q.end {
		if err := q.file.Truncate(0); err != nil {
			return nil, fmt.Errorf("cut the file of rows: %w", err)
		}
		q.at, q.end = 0, 0
		q.out.Reset(io.NewOffsetWriter(q.file, 0))
	}
	return list, nil
}

var errQueue = fmt.Errorf("read a row back: %w", drivers.ErrCorrupt)

func parseQueued(b []byte) (*queued, error) {
	d := decoder{rest: b}
	row := &queued{table: Name{string(d.text()), string(d.text())}, depth: d.count(), values: d.values()}
	if d.bad {
		return nil, errQueue
	}
	return row, nil
}
