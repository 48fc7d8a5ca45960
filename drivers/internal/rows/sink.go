package rows

import (
	"bytes"
	"io"

	"salvor/drivers"
)

// Sink takes rows, counts and hashes them, and writes them in large pieces. Where its writer is a [drivers.Splitter] it begins
// a new object once one has its size, between two rows.
type Sink struct {
	out      io.Writer
	splitter drivers.Splitter
	split    int64
	digest   Digest
	size     int64 // of the object so far
	full     bool  // the object has its size and ends with a row
	buf      []byte
	err      error
}

// NewSink returns a sink for the rows of one part, whose objects are to have that size.
func NewSink(out io.Writer, size int64) *Sink {
	s := &Sink{out: out, split: size}
	s.splitter, _ = out.(drivers.Splitter)
	return s
}

// Counts returns what the current object holds.
func (s *Sink) Counts() drivers.Counts { return s.digest.Counts() }

// Whole tells whether the last row has its end.
func (s *Sink) Whole() bool { return s.digest.Whole() }

// Err returns the writer's error, as it is.
func (s *Sink) Err() error { return s.err }

const sinkBuffer = 128 << 10

// Write adds bytes, of which rows may begin and end anywhere.
func (s *Sink) Write(p []byte) error {
	for len(p) > 0 {
		if s.full {
			if err := s.cut(); err != nil {
				return err
			}
		}
		n := len(p)
		// Beyond the size the object ends with the row; what follows, if anything does, begins another.
		if s.splitter != nil && s.size+int64(n) >= s.split {
			from := int(max(0, min(s.split-s.size, int64(n))-1))
			if end := bytes.IndexByte(p[from:], '\n'); end >= 0 {
				n, s.full = from+end+1, true
			}
		}
		if err := s.put(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (s *Sink) put(p []byte) error {
	s.digest.Write(p)
	s.size += int64(len(p))
	if len(s.buf)+len(p) > sinkBuffer || len(p) >= sinkBuffer/2 {
		if err := s.Flush(); err != nil {
			return err
		}
	}
	if len(p) >= sinkBuffer/2 {
		return s.emit(p)
	}
	s.buf = append(s.buf, p...)
	return nil
}

// Flush writes what is held back.
func (s *Sink) Flush() error {
	if len(s.buf) == 0 {
		return s.err
	}
	err := s.emit(s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *Sink) emit(p []byte) error {
	if s.err == nil {
		_, s.err = s.out.Write(p)
	}
	return s.err
}

// cut ends the object.
func (s *Sink) cut() error {
	if err := s.Flush(); err != nil {
		return err
	}
	if s.err = s.splitter.Split(s.digest.Counts()); s.err != nil {
		return s.err
	}
	s.digest, s.size, s.full = Digest{}, 0, false
	return nil
}
