package relational

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"

	"salvor/drivers"
)

// Spool keeps rows that were found, in a file without a name, and reads them as often as is asked. It is used by one goroutine.
type Spool struct {
	file *os.File
	out  *bufio.Writer
	size int64
	rows int64
	buf  []byte
}

// NewSpool returns an empty one. dir is where its file is made, "" for the system's.
func NewSpool(dir string) (*Spool, error) {
	file, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	return &Spool{file: file, out: bufio.NewWriterSize(file, 64<<10)}, nil
}

// Close removes the file.
func (s *Spool) Close() error { return s.file.Close() }

// Rows is how many there are.
func (s *Spool) Rows() int64 { return s.rows }

// Add keeps a row.
func (s *Spool) Add(f *Found) error {
	s.buf = AppendFound(s.buf[:0], f)
	n, err := s.out.Write(s.buf)
	s.size += int64(n)
	if err != nil {
		return fmt.Errorf("keep a row: %w", noSpace(err))
	}
	s.rows++
	return nil
}

// Each calls yield for every row, in the order in which they were added, and stops at its first error.
func (s *Spool) Each(yield func(*Found) error) error {
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("keep rows: %w", noSpace(err))
	}
	return EachFound(io.NewSectionReader(s.file, 0, s.size), yield)
}

// EachFound calls yield for every row of a stream that AppendFound made, and stops at its first error.
func EachFound(r io.Reader, yield func(*Found) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		f, err := readFound(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := yield(f); err != nil {
			return err
		}
	}
}

// AppendFound appends a row to a stream of such.
func AppendFound(to []byte, f *Found) []byte {
	start := len(to)
	to = append(to, 0, 0, 0, 0, 0, 0, 0, 0)
	to = append(to, f.Op[0], byte(f.Why))
	to = appendText(to, f.Key)
	for _, side := range [][]Value{f.Live, f.Base} {
		if side == nil {
			to = append(to, 0)
			continue
		}
		to = append(to, 1)
		to = binary.AppendUvarint(to, uint64(len(side)))
		to = AppendValues(to, side)
	}
	if f.Changed == nil {
		to = append(to, 0)
	} else {
		to = append(to, 1)
		to = binary.AppendUvarint(to, uint64(len(f.Changed)))
		for _, place := range f.Changed {
			to = binary.AppendUvarint(to, uint64(place)) //nolint:gosec // the place of a column
		}
	}
	binary.BigEndian.PutUint64(to[start:], uint64(len(to)-start-8)) //nolint:gosec // a length
	return to
}

func appendText(to, text []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

var errFound = fmt.Errorf("read a row that was found: %w", drivers.ErrCorrupt)

// longestFound bounds what one row may take, so that a damaged length asks for no memory.
const longestFound = 2 << 30

// readFound reads one row; io.EOF at the end.
func readFound(in *bufio.Reader) (*Found, error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errFound
		}
		return nil, err
	}
	n := binary.BigEndian.Uint64(head[:])
	if n > longestFound {
		return nil, errFound
	}
	// Read as it comes: a length that is not true costs no more than what is there.
	b, err := io.ReadAll(io.LimitReader(in, int64(n)))
	if err != nil {
		return nil, fmt.Errorf("read a row that was found: %w", err)
	}
	if uint64(len(b)) != n {
		return nil, errFound
	}
	return parseFound(b)
}

func parseFound(b []byte) (*Found, error) {
	d := decoder{rest: b}
	f := &Found{Op: Op(d.bytes(1)), Why: Why(d.flag())}
	f.Key = d.text()
	for _, side := range []*[]Value{&f.Live, &f.Base} {
		if d.flag() != 0 {
			*side = d.values()
		}
	}
	if d.flag() != 0 {
		n := d.count()
		f.Changed = []int{}
		for range n {
			if d.bad {
				break
			}
			place := d.count()
			if place >= len(f.Live) {
				d.bad = true
			}
			f.Changed = append(f.Changed, place)
		}
	}
	switch f.Op {
	case OpCreated, OpModified, OpDeleted, OpSupport, OpChild:
	default:
		d.bad = true
	}
	if d.bad || len(d.rest) > 0 {
		return nil, errFound
	}
	return f, nil
}

// decoder reads what rows were written as. Once something is bad, all is.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) bytes(n int) []byte {
	if d.bad || n > len(d.rest) {
		d.bad = true
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) flag() byte {
	b := d.bytes(1)
	if d.bad {
		return 0
	}
	return b[0]
}

func (d *decoder) count() int {
	n, size := binary.Uvarint(d.rest)
	if d.bad || size <= 0 || n > math.MaxInt32 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[size:]
	return int(n)
}

func (d *decoder) text() []byte { return d.bytes(d.count()) }

func (d *decoder) values() []Value {
	n := d.count()
	if n > len(d.rest) {
		d.bad = true
	}
	if d.bad {
		return nil
	}
	values := make([]Value, n)
	for i := range values {
		values[i].Kind = Kind(d.flag())
		if d.bad || values[i].Kind > Bytes {
			d.bad = true
			return nil
		}
		if values[i].Kind != Null {
			values[i].Text = d.text()
		}
	}
	return values
}

// noSpace says so where a disk is full: trying again does not help.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", drivers.ErrNoSpace, err)
	}
	return err
}

// unnamed makes a file without a name: whatever happens, nothing of it is left.
func unnamed(dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	if file, ok := neverNamed(dir); ok {
		return file, nil
	}
	file, err := os.CreateTemp(dir, "salvor-rows-*")
	if err != nil {
		return nil, fmt.Errorf("make a file for rows: %w", noSpace(err))
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("make a file for rows: %w", err), file.Close())
	}
	return file, nil
}
