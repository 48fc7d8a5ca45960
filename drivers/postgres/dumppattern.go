package postgres

import (
	"bytes"
	"io"
	"strings"
)

// dumpPattern turns a pattern into one of psql's, which pg_dump takes: letters keep their case in double quotes, within
// which nothing is special; * and ? stand outside of them.
func dumpPattern(p string) string {
	var b strings.Builder
	open := false
	quote := func(want bool) {
		if open != want {
			b.WriteByte('"')
			open = want
		}
	}
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '*', '?', '[', ']':
			quote(false)
			b.WriteByte(c)
		case '"':
			quote(true)
			b.WriteString(`""`)
		default:
			quote(true)
			b.WriteByte(c)
		}
	}
	quote(false)
	return b.String()
}

// tablePattern is dumpPattern for a table, whose schema may stand before a dot.
func tablePattern(p string) string {
	schema, table, ok := strings.Cut(p, ".")
	if !ok {
		return "*." + dumpPattern(p)
	}
	return dumpPattern(schema) + "." + dumpPattern(table)
}

// commentFilter leaves out what pg_dumpall says about the time of its run, and the random key of \restrict: two dumps of
// one state are the same.
type commentFilter struct {
	out   io.Writer
	line  []byte
	wrote bool
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
			f.wrote = true
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
