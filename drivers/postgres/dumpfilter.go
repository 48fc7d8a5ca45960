package postgres

import (
	"bytes"
	"io"
)

// commentFilter leaves out what pg_dumpall says about the time of its run, and the random key of \restrict: two dumps of
// one state are the same.
type commentFilter struct {
	out  io.Writer
	line []byte
}

// Write hands whole lines on.
func (f *commentFilter) Write(p []byte) (int, error) {
	f.line = append(f.line, p...)
	for {
		end := bytes.IndexByte(f.line, '\n')
		if end < 0 {
			return len(p), nil
		}
		line := f.line[:end+1]
		if !isNoise(line) {
			if _, err := f.out.Write(line); err != nil {
				return 0, err
			}
		}
		f.line = f.line[end+1:]
	}
}

func (f *commentFilter) flush() error {
	if len(f.line) == 0 || isNoise(f.line) {
		return nil
	}
	_, err := f.out.Write(f.line)
	return err
}

func isNoise(line []byte) bool {
	for _, prefix := range []string{"-- Started on ", "-- Completed on ", "\\restrict ", "\\unrestrict "} {
		if bytes.HasPrefix(line, []byte(prefix)) {
			return true
		}
	}
	return false
}
