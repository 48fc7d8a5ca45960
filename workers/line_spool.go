package workers

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// lineSpool sorts lines by their tables, in one file without a name: each table's lines are gathered in memory until they are worth
// writing.
type lineSpool struct {
	file   *os.File
	end    int64
	place  map[*relational.Table]int
	open   [][]byte
	pieces [][]piece
	counts []map[string]int64
	held   int // bytes in open
}

// piece is a stretch of the file that holds lines of one table.
type piece struct{ at, size int64 }

// The greatest numbers of bytes of one table, and of all, that are gathered.
const (
	pieceBytes   = 64 << 10
	gatheredMost = 8 << 20
)

func newLineSpool(dir string, model *relational.Model) (*lineSpool, error) {
	file, err := os.CreateTemp(dir, "salvor-lines-*")
	if err != nil {
		return nil, fmt.Errorf("make a file for lines: %w", diskError(err))
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("make a file for lines: %w", err), file.Close())
	}
	n := len(model.Tables)
	s := &lineSpool{file: file, place: make(map[*relational.Table]int, n), open: make([][]byte, n), pieces: make([][]piece, n), counts: make([]map[string]int64, n)}
	for i, t := range model.Tables {
		s.place[t] = i
		s.counts[i] = make(map[string]int64)
	}
	return s, nil
}

func (s *lineSpool) close() error { return s.file.Close() }

// add keeps a line.
func (s *lineSpool) add(l *relational.Line) error {
	table := s.place[l.Table]
	before := len(s.open[table])
	s.open[table] = relational.AppendLine(s.open[table], l)
	s.counts[table][string(l.Op)]++
	s.held += len(s.open[table]) - before
	if len(s.open[table]) >= pieceBytes {
		return s.flush(table)
	}
	if s.held < gatheredMost {
		return nil
	}
	for i := range s.open {
		if err := s.flush(i); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what is gathered of a table.
func (s *lineSpool) flush(table int) error {
	data := s.open[table]
	if len(data) == 0 {
		return nil
	}
	if _, err := s.file.WriteAt(data, s.end); err != nil {
		return fmt.Errorf("keep lines: %w", diskError(err))
	}
	s.pieces[table] = append(s.pieces[table], piece{s.end, int64(len(data))})
	s.end += int64(len(data))
	s.held -= len(data)
	s.open[table] = data[:0]
	return nil
}

// each calls yield with stretches of a table's lines, in their order.
func (s *lineSpool) each(table int, yield func([]byte) error) error {
	var buf []byte
	for _, p := range s.pieces[table] {
		if int64(cap(buf)) < p.size {
			buf = make([]byte, p.size)
		}
		buf = buf[:p.size]
		if _, err := io.ReadFull(io.NewSectionReader(s.file, p.at, p.size), buf); err != nil {
			return fmt.Errorf("read lines back: %w", err)
		}
		if err := yield(buf); err != nil {
			return err
		}
	}
	if len(s.open[table]) == 0 {
		return nil
	}
	return yield(s.open[table])
}

// diskError says so where a disk is full: trying again does not help.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", drivers.ErrNoSpace, err)
	}
	return err
}
