package merge

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// records is a file of records without a name: whatever happens, nothing of it is left. It is written at its end and read anywhere.
type records struct {
	file *os.File
	out  *bufio.Writer
	end  int64
	dirt bool // out holds what the file lacks
}

func newRecords(dir string) (*records, error) {
	file, err := os.CreateTemp(dir, "salvor-merge-*")
	if err != nil {
		return nil, fmt.Errorf("make a file for a plan: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("make a file for a plan: %w", err), file.Close())
	}
	return &records{file: file, out: bufio.NewWriterSize(io.NewOffsetWriter(file, 0), 64<<10)}, nil
}

func (r *records) close() error { return r.file.Close() }

// add appends a record and returns where it is.
func (r *records) add(b []byte) (at int64, err error) {
	at = r.end
	head := binary.AppendUvarint(nil, uint64(len(b)))
	r.dirt = true
	for _, piece := range [][]byte{head, b} {
		n, err := r.out.Write(piece)
		r.end += int64(n)
		if err != nil {
			return at, fmt.Errorf("keep a part of a plan: %w", err)
		}
	}
	return at, nil
}

// raw appends records that are framed already.
func (r *records) raw(b []byte) (at int64, err error) {
	at = r.end
	r.dirt = true
	n, err := r.out.Write(b)
	r.end += int64(n)
	if err != nil {
		return at, fmt.Errorf("keep a part of a plan: %w", err)
	}
	return at, nil
}

// cut forgets what stands behind a place.
func (r *records) cut(at int64) error {
	if err := r.flush(); err != nil {
		return err
	}
	if err := r.file.Truncate(at); err != nil {
		return fmt.Errorf("cut a plan: %w", err)
	}
	r.end = at
	r.out.Reset(io.NewOffsetWriter(r.file, at))
	return nil
}

func (r *records) flush() error {
	if !r.dirt {
		return nil
	}
	r.dirt = false
	if err := r.out.Flush(); err != nil {
		return fmt.Errorf("keep a part of a plan: %w", err)
	}
	return nil
}

// section is the bytes between two places. It may be read while others are, but not while the file is written.
func (r *records) section(from, to int64) (io.Reader, error) {
	if err := r.flush(); err != nil {
		return nil, err
	}
	return io.NewSectionReader(r.file, from, to-from), nil
}

// each reads the records between two places. The bytes are good until the next one.
func (r *records) each(from, to int64, yield func(b []byte) error) error {
	section, err := r.section(from, to)
	if err != nil {
		return err
	}
	return eachRecord(section, yield)
}

// eachRecord reads records.
func eachRecord(from io.Reader, yield func(b []byte) error) error {
	in := bufio.NewReaderSize(from, 64<<10)
	var b []byte
	for {
		size, err := binary.ReadUvarint(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil || size > 1<<31 {
			return fmt.Errorf("read a plan: %w", errors.Join(errRecord, err))
		}
		if uint64(cap(b)) < size {
			b = make([]byte, size)
		}
		b = b[:size]
		if _, err := io.ReadFull(in, b); err != nil {
			return fmt.Errorf("read a plan: %w: %w", errRecord, err)
		}
		if err := yield(b); err != nil {
			return err
		}
	}
}

var errRecord = fmt.Errorf("a record is cut: %w", drivers.ErrCorrupt)

// index keeps a short text for each key, in memory up to a budget and in files beyond it.
type index struct {
	at   *relational.Tally
	text *records
}

func newIndex(dir string, budget int64) (*index, error) {
	text, err := newRecords(dir)
	if err != nil {
		return nil, err
	}
	return &index{at: relational.NewTally(dir, budget), text: text}, nil
}

func (x *index) close() error { return errors.Join(x.at.Close(), x.text.close()) }

// put sets the text of a key. An empty one takes no room in the file.
func (x *index) put(ctx context.Context, key, text []byte) error {
	at := int64(1)
	if len(text) > 0 {
		place, err := x.text.add(text)
		if err != nil {
			return err
		}
		at = place + 2
	}
	old, err := x.at.Count(ctx, key)
	if err != nil || old == at {
		return err
	}
	_, err = x.at.Add(ctx, key, at-old)
	return err
}

// get returns the text of a key.
func (x *index) get(ctx context.Context, key []byte) (text []byte, ok bool, err error) {
	at, err := x.at.Count(ctx, key)
	if err != nil || at == 0 {
		return nil, false, err
	}
	if at == 1 {
		return nil, true, nil
	}
	section, err := x.text.section(at-2, x.text.end)
	if err != nil {
		return nil, false, err
	}
	in := bufio.NewReaderSize(section, 512)
	size, err := binary.ReadUvarint(in)
	if err != nil || size > uint64(x.text.end) { //nolint:gosec // a size
		return nil, false, fmt.Errorf("read what is kept of a row: %w", errors.Join(errRecord, err))
	}
	text = make([]byte, size)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, false, fmt.Errorf("read what is kept of a row: %w", err)
	}
	return text, true, nil
}
