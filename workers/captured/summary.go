package captured

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"salvor/archive"
	"salvor/drivers/relational"
)

// Summary writes what a capture comes to, for people.
func (c *Capture) Summary(out io.Writer) error {
	var b strings.Builder
	c.head(&b)
	c.tables(&b)
	if err := c.groups(&b); err != nil {
		return err
	}
	c.remarks(&b)
	_, err := io.WriteString(out, b.String())
	return err
}

const timeForm = "2006-01-02 15:04:05"

func (c *Capture) head(b *strings.Builder) {
	line := func(name, format string, args ...any) { fmt.Fprintf(b, "%-9s%s\n", name, fmt.Sprintf(format, args...)) }
	line("capture", "%s", c.Capture.Capture)
	line("set", "%s", c.Set)
	line("node", "%s (%s)", c.Node, c.Driver)
	switch {
	case c.Against != nil:
		line("against", "dump %s", c.Against.Dump)
	case c.AgainstSource != "":
		line("against", "database %s", c.AgainstSource)
	default:
		line("against", "nothing: only what rows say of their own times")
	}
	line("moment", "%s UTC", c.Moment.UTC().Format(timeForm))
	if !c.Since.IsZero() {
		line("since", "%s UTC, less a margin of %s; times without a zone are %s", c.Since.UTC().Format(timeForm), c.Margin.Round(time.Second), zoneName(c.Zone))
	}
	line("took", "%s", c.Ended.Sub(c.Started).Round(10*time.Millisecond))
	line("run", "%s", c.Run)
}

func zoneName(zone string) string {
	if zone == "" {
		return "UTC"
	}
	return zone
}

// Lines by what became of the rows, in the order in which they are shown.
func shownOps() []relational.Op {
	return []relational.Op{relational.OpCreated, relational.OpModified, relational.OpDeleted, relational.OpSupport, relational.OpChild}
}

func (c *Capture) tables(b *strings.Builder) {
	own, left := make(map[relational.Name]map[string]int64), make(map[relational.Name]int64)
	for _, f := range c.Files {
		if f.Group > 0 {
			left[nameOf(f)] += f.Total()
		} else {
			own[nameOf(f)] = f.Lines
		}
	}
	rows := [][]string{{"TABLE", "ROWS", "CREATED", "MODIFIED", "DELETED", "PARENTS", "CHILDREN", "LEFT OUT", "SEEN BY"}}
	for i := range c.Coverage {
		v := &c.Coverage[i]
		row := []string{v.Table.String(), dashed(v.Rows)}
		for _, op := range shownOps() {
			row = append(row, count(own[v.Table][string(op)]))
		}
		rows = append(rows, append(row, count(left[v.Table]), SeenBy(v)))
	}
	b.WriteString("\n")
	align(b, rows)
}

// SeenBy says how changes of a table's rows were found.
func SeenBy(v *relational.Coverage) string {
	var by []string
	switch {
	case v.Diff && len(v.Identity) > 0:
		by = append(by, "comparison by "+strings.Join(v.Identity, ", "))
	case v.Diff:
		by = append(by, "comparison of whole rows")
	}
	if v.Detectors.Created != "" {
		by = append(by, v.Detectors.Created)
	}
	if v.Detectors.Modified != "" {
		by = append(by, v.Detectors.Modified)
	}
	if v.Blind() {
		return strings.Join(append([]string{"BLIND: new rows are not seen"}, by...), "; ")
	}
	return strings.Join(by, "; ")
}

func (c *Capture) groups(b *strings.Builder) error {
	files := c.Groups()
	if len(files) == 0 {
		return nil
	}
	b.WriteString("\nmass changes, left out until " + archive.DecisionsFile + " takes them in:\n")
	for _, f := range files {
		text, err := c.GroupText(f)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  %d  %s\n", f.Group, text)
	}
	return nil
}

// shownValue is how much of a value is shown.
const shownValue = 60

// GroupText says in one line what the rows of a group have in common.
func (c *Capture) GroupText(f archive.CaptureFile) (string, error) {
	g, err := c.Group(f)
	if err != nil {
		return "", err
	}
	rows := rowsText(g.Rows)
	value := g.Value
	if len(value) > shownValue {
		value = strings.ToValidUTF8(value[:shownValue], "") + "…"
	}
	switch {
	case g.Op == relational.OpDeleted:
		return fmt.Sprintf("%s: %s deleted", nameOf(f), rows), nil
	case g.Op == relational.OpCreated:
		return fmt.Sprintf("%s: %s made, as many others were deleted (without a key, changed rows look like that)", nameOf(f), rows), nil
	case g.Moment:
		return fmt.Sprintf("%s: %s changed at one moment, %s %s", nameOf(f), rows, g.Column, value), nil
	default:
		return fmt.Sprintf("%s: %s set to %s in %s", nameOf(f), g.Column, value, rows), nil
	}
}

// Remarks are what somebody must know of a table beside the numbers.
func Remarks(v *relational.Coverage) []string {
	var list []string
	for _, r := range []struct {
		n    int64
		text string
	}{
		{v.NoTime, "without a time of creation that can be told"},
		{v.Backdated, "new, by a time that is older"},
		{v.Silent, "changed, by a time that does not say so"},
		{v.Touched, "said to be changed by their time, and what they were"},
	} {
		if r.n > 0 {
			list = append(list, rowsText(r.n)+" "+r.text)
		}
	}
	return append(list, v.Notes...)
}

func (c *Capture) remarks(b *strings.Builder) {
	var list []string
	for i := range c.Coverage {
		for _, text := range Remarks(&c.Coverage[i]) {
			list = append(list, fmt.Sprintf("%s: %s", c.Coverage[i].Table, text))
		}
	}
	section(b, "to know:", list)
	list = nil
	for _, m := range c.Missing {
		list = append(list, fmt.Sprintf("%s: %s, by %s, to rows of %s that are nowhere: %s", m.Table, rowsText(m.Rows), m.Edge, m.Parent, strings.Join(m.Samples, "; ")))
	}
	section(b, "references that lead nowhere:", list)
	list = nil
	for _, o := range c.Model.Omitted {
		list = append(list, fmt.Sprintf("%s: %s", o.Name, o.Reason))
	}
	section(b, "not looked at:", list)
}

func section(b *strings.Builder, title string, list []string) {
	if len(list) == 0 {
		return
	}
	b.WriteString("\n" + title + "\n")
	for _, text := range list {
		b.WriteString("  " + text + "\n")
	}
}

// count writes a number with commas.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func rowsText(n int64) string {
	if n == 1 {
		return "1 row"
	}
	return count(n) + " rows"
}

func dashed(n int64) string {
	if n < 0 {
		return "-"
	}
	return count(n)
}

// align writes rows in columns: all to the right but the first and the last.
func align(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	last := len(widths) - 1
	for _, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch i {
			case 0:
				b.WriteString(cell + pad)
			case last:
				b.WriteString("  " + cell)
			default:
				b.WriteString("  " + pad + cell)
			}
		}
		b.WriteString("\n")
	}
}

// Empty tells whether nothing was captured, and nothing left out.
func (c *Capture) Empty() bool {
	return !slices.ContainsFunc(c.Files, func(f archive.CaptureFile) bool { return f.Total() > 0 })
}
