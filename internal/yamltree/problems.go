package yamltree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds how many problems one error lists: nobody reads more, and a file of a megabyte can have a
// hundred thousand.
const maxProblems = 200

// Problem is one thing that is wrong with a text.
type Problem struct {
	// Line and Column, from 1, tell where it stands in the file; 0 where there is no place.
	Line, Column int
	// Path tells where it stands in the structure: "set.children[2].driver", or "source 2" for a command line.
	Path    string
	Message string
	// Hint tells what to do; "" where the message does.
	Hint string
}

// Error is everything that is wrong with a text, in its order. A retry does not help. It quotes keys and names, no other values: those
// may be secrets.
type Error struct {
	// File is the file's name as it was given.
	File     string
	Problems []Problem
	// More is the number of problems beyond those that are listed.
	More int
}

// Error returns one line for each problem: "backupset.yaml:12:9: unknown driver "pg" (have filesystem, media, sqlite)".
func (e *Error) Error() string {
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

// Position is a place in a file; the zero value is none.
type Position struct{ Line, Column int }

// Problems collects what is wrong.
type Problems struct {
	List []Problem
	more int
}

// Add adds a problem at a place, with what to do about it; path tells where that is in the structure.
func (p *Problems) Add(at Position, path, hint, format string, args ...any) {
	// A place beyond the limit still counts, so that the number that is shown is true.
	if len(p.List) >= maxProblems {
		p.more++
		return
	}
	p.List = append(p.List, Problem{
		Line: at.Line, Column: at.Column, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// Need reports whether a value is of a kind, and adds a problem if not. A value that is nil was a problem already.
func (p *Problems) Need(v *Value, want Kind, path string) bool {
	switch {
	case v == nil:
		return false
	case v.Kind == want:
		return true
	case v.Kind == Null:
		p.Add(v.At, path, "leave the key out", "%s has no value; %s is needed", LastKey(path), want)
	case want == Text && (v.Kind == Number || v.Kind == Bool):
		p.Add(v.At, path, "put it in quotes", "%s is %s; %s is needed", LastKey(path), v.Kind, want)
	default:
		p.Add(v.At, path, "", "%s is %s; %s is needed", LastKey(path), v.Kind, want)
	}
	return false
}

// LastKey returns the last key of a path: after[1] of set.children[2].after[1].
func LastKey(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// Err returns the [*Error], or nil where nothing is wrong. file is the file's name.
func (p *Problems) Err(file string) error {
	if len(p.List) == 0 {
		return nil
	}
	slices.SortStableFunc(p.List, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{File: file, Problems: p.List, More: p.more}
}

// Nearest returns a hint that names the known word closest to an unknown one, or "".
func Nearest(word string, known []string) string {
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
