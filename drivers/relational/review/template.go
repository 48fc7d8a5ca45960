package review

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers/relational"
	"salvor/drivers/relational/merge"
)

// Group is a mass of changes of a capture, whose lines are in a file of their own.
type Group struct {
	// Number is the group's in the capture, from 1 on.
	Number int
	Table  relational.Name
	relational.Group
}

// shows tells whether the group's lines have a column: those of modified rows have their keys and what the group changed.
func (g *Group) shows(t *relational.Table, column string) bool {
	key := t.Identity()
	return g.Op != relational.OpModified || g.Moment || key == nil || column == g.Column || slices.Contains(key.Columns, column)
}

// String says what the rows of the group have in common.
func (g *Group) String() string {
	switch {
	case g.Op == relational.OpDeleted:
		return "were deleted"
	case g.Op == relational.OpCreated:
		return "were made, as many others were deleted"
	case g.Moment:
		return "were changed at one moment, " + g.Column + " = " + shorten(g.Value)
	}
	return "have " + g.Column + " = " + shorten(g.Value) + " now"
}

// Question is something that is to be decided.
type Question struct {
	Group
	// Of is how many rows the table had, Sample some of those that it is about, as people name them.
	Of     int64
	Sample []string
}

// Conflicts are the rows of a table that are in one kind of conflict with the target.
type Conflicts struct {
	Code   merge.Code
	Table  relational.Name
	Rows   int64
	Sample []string
}

// maxSample is how many rows of a question are shown, maxShown how much of each.
const (
	maxSample = 5
	maxShown  = 100
)

// Template writes a file of decisions in which nothing is decided yet: every open question is a comment that becomes its answer.
// title says what is decided on: "capture site/c20261130-101500-3f2a of site/db".
func Template(title string, questions []Question) []byte {
	var out bytes.Buffer
	comment(&out, "What is to become of "+title+".")
	out.WriteString(`#
# What is said of a row goes before what a rule says, a rule (the first that fits) before its table, a table before the default.
#
#   action: take    the captured row is written
#   action: keep    the row of the target stays as it is; what hangs on the captured one is judged by itself
#   action: skip    as keep, and all captured rows that hang on it are left out too
#   take_columns: [a, b], keep_columns: [a, b]    in place of action: what is taken of modified rows, or what is not
#   deleted: take   (of a table, or of all) rows that were deleted are deleted in the target too; they are kept otherwise
#   conflicts: {CODE: POLICY}, where the target is not what it was
#
# A rule is about the lines of a table or a group, and may be narrowed by op: [c, m, d, s, x], by changed: [a, b] (modified in
# nothing else) and by where: {column: value}. "salvor capture check" tells what is wrong with this file, or with lines that you edited.

# default: {action: take, deleted: keep}

tables:
# TABLE: {action: keep}

rows:
# - {table: TABLE, key: [1], action: keep}

rules:
`)
	for _, q := range questions {
		of := ""
		if q.Of > 0 {
			of = fmt.Sprintf(" of %d", q.Of)
		}
		out.WriteByte('\n')
		comment(&out, fmt.Sprintf("Group %d: %d%s rows of %s %s; left out until they are taken.", q.Number, q.Rows, of, q.Table, q.String()))
		sample(&out, q.Sample)
		fmt.Fprintf(&out, "# - {group: %d, action: take}\n", q.Number)
	}
	return out.Bytes()
}

// Answers writes, as comments, a rule for each kind of conflicts, to be added to the rules of a file of decisions.
func Answers(conflicts []Conflicts) []byte {
	var out bytes.Buffer
	for _, c := range conflicts {
		comment(&out, fmt.Sprintf("%s: %d rows of %s. It can be settled by %s.", c.Code, c.Rows, c.Table, strings.Join(texts(c.Code.Policies()), ", ")))
		sample(&out, c.Sample)
		comment(&out, fmt.Sprintf("- {table: %s, conflicts: {%s: %s}}", quote(c.Table.String()), c.Code, c.Code.Policies()[0]))
	}
	return out.Bytes()
}

func sample(out *bytes.Buffer, rows []string) {
	if len(rows) == 0 {
		return
	}
	var list []string
	for _, r := range rows[:min(len(rows), maxSample)] {
		list = append(list, shorten(r))
	}
	comment(out, "Such as "+strings.Join(list, "; ")+".")
}

// comment writes a line that holds no other, whatever is in the text.
func comment(out *bytes.Buffer, text string) {
	out.WriteString("# ")
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff {
			r = '\uFFFD'
		}
		out.WriteRune(r)
	}
	out.WriteByte('\n')
}

func shorten(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "…"
}

// quote writes a text so that YAML reads it as one.
func quote(text string) string {
	return string(relational.AppendJSON(nil, &relational.Column{Type: relational.TypeText}, relational.TextValue(text)))
}
