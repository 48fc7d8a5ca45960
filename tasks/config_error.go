package tasks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds how many problems one ConfigError lists: nobody reads more, and a file of a megabyte can have a
// hundred thousand.
const maxProblems = 200

// ConfigProblem is one thing that is wrong with a set.
type ConfigProblem struct {
	// Line and Column, from 1, tell where it stands in the file; 0 where there is no place.
	Line, Column int
	// Path tells where it stands in the structure: "set.children[2].driver", or "source 2" for a command line.
	Path    string
	Message string
	// Hint tells what to do; "" where the message does.
	Hint string
}

// ConfigError is returned by Parse and FromSources with everything that is wrong, in the order of the text. A retry does
// not help. It holds no source's text, as that may be a secret.
type ConfigError struct {
	// File is the file's name as it was given.
	File     string
	Problems []ConfigProblem
	// More is the number of problems beyond those that are listed.
	More int
}

// Error returns one line for each problem: "backupset.yaml:12:9: unknown driver "pg" (have filesystem, media, sqlite)".
func (e *ConfigError) Error() string {
	var out strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			out.WriteByte('\n')
		}
		switch {
		case p.Line > 0 && e.File != "":
			fmt.Fprintf(&out, "%s:%d:%d: ", e.File, p.Line, p.Column)
		case p.Line > 0:
			fmt.Fprintf(&out, "%d:%d: ", p.Line, p.Column)
		case e.File != "":
			fmt.Fprintf(&out, "%s: ", e.File)
		case p.Path != "":
			fmt.Fprintf(&out, "%s: ", p.Path)
		}
		out.WriteString(p.Message)
		if p.Hint != "" {
			out.WriteString("; " + p.Hint)
		}
	}
	if e.More > 0 {
		fmt.Fprintf(&out, "\n... and %d problems more", e.More)
	}
	return out.String()
}

// position is a place in a file; the zero value is none.
type position struct{ line, column int }

// problems collects what is wrong.
type problems struct {
	list []ConfigProblem
	more int
}

func (p *problems) add(at position, path, hint, format string, args ...any) {
	// A place beyond the limit still counts, so that the number that is shown is true.
	if len(p.list) >= maxProblems {
		p.more++
		return
	}
	p.list = append(p.list, ConfigProblem{
		Line: at.line, Column: at.column, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// err returns the ConfigError, or nil.
func (p *problems) err(file string) error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b ConfigProblem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &ConfigError{File: file, Problems: p.list, More: p.more}
}

// nearest returns a hint that names the known word closest to an unknown one, or "".
func nearest(word string, known []string) string {
	best, distance := "", 0
	for _, k := range known {
		d := editDistance(normalWord(word), normalWord(k))
		if d <= max(1, min(len(k), len(word))/3) && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

func normalWord(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// editDistance counts the insertions, deletions, changes and swaps of neighbours between two short words.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, previous, current := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(b)]
}
