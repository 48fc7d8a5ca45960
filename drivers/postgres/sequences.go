package postgres

import (
	"context"
	"fmt"
	"io"
	"strings"

	"salvor/drivers"
)

// sequencesQuery lists sequences with the tables whose columns own them, whether the session may read them, and whether there
// is something to read: a standby has no unlogged ones.
const sequencesQuery = `SELECT n.nspname, c.relname, COALESCE(tn.nspname, ''), COALESCE(t.relname, ''),
  pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend o ON o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objid = c.oid AND o.objsubid = 0
  AND o.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')
LEFT JOIN pg_catalog.pg_class t ON t.oid = o.refobjid
LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()) AND c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname <> 'salvor_progress'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.oid = d.refobjid AND c.oid = ANY (e.extconfig)))
ORDER BY 1, 2`

// setvalSQL gives, for a batch of sequences, the statements that set their states, one a line.
func setvalSQL(names [][2]string) string {
	var b strings.Builder
	b.WriteString("COPY (")
	for i, n := range names {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		name := qualified(n[0], n[1])
		fmt.Fprintf(&b, "SELECT %d AS i, %s AS name, last_value, is_called FROM %s", i, literal(name), name)
	}
	b.WriteString(" ORDER BY 1) TO STDOUT")
	return b.String()
}

const sequenceBatch = 200

// dumpSequences writes the sequences' states as SQL statements, one a line.
func (v *view) dumpSequences(ctx context.Context, w *wire, out io.Writer) (drivers.Counts, error) {
	names, err := v.listSequences(ctx, w)
	if err != nil {
		return drivers.Counts{}, err
	}
	var counts drivers.Counts
	for len(names) > 0 {
		n := min(sequenceBatch, len(names))
		var text strings.Builder
		err := w.copyOut(ctx, setvalSQL(names[:n]), func(p []byte) error {
			text.Write(p)
			return nil
		})
		if err != nil {
			return counts, fmt.Errorf("dump sequences: %w", v.source.hint(classify(told(ctx, err))))
		}
		var sql strings.Builder
		for line := range strings.Lines(text.String()) {
			cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(cells) != 4 {
				return counts, fmt.Errorf("dump sequences: %w: a row of %d columns", errProtocol, len(cells))
			}
			called := "false"
			if cells[3] == "t" {
				called = "true"
			}
			fmt.Fprintf(&sql, "SELECT pg_catalog.setval(%s, %s, %s);\n", strings.TrimSpace(literal(unescapeCopy(cells[1]))), cells[2], called)
			counts.Rows++
		}
		if _, err := io.WriteString(out, sql.String()); err != nil {
			return counts, err
		}
		names = names[n:]
	}
	return counts, nil
}

// sequence is one of those that are dumped.
type sequence struct {
	schema, name string
	readable     bool
}

// takesSequence tells whether a sequence's state is dumped: all those of the schemas that are, because which of them pg_dump
// makes, it alone knows. A restore sets those that are there. What pg_dump leaves out for certain need not be readable.
func (o options) takesSequence(cells []string) (sequence, bool) {
	q := sequence{cells[0], cells[1], cells[4] == "t"}
	chosen := o.takesTable(q.schema, q.name) || cells[3] != "" && o.takesTable(cells[2], cells[3])
	return q, o.takesSchema(q.schema) && (q.readable || chosen)
}

func (v *view) listSequences(ctx context.Context, w *wire) ([][2]string, error) {
	var text strings.Builder
	err := w.copyOut(ctx, "COPY ("+sequencesQuery+") TO STDOUT", func(p []byte) error {
		text.Write(p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list sequences: %w", classify(told(ctx, err)))
	}
	var names [][2]string
	for line := range strings.Lines(text.String()) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != 5 {
			return nil, fmt.Errorf("list sequences: %w", errProtocol)
		}
		for i := range cells {
			cells[i] = unescapeCopy(cells[i])
		}
		if q, ok := v.source.options.takesSequence(cells); ok {
			names = append(names, [2]string{q.schema, q.name})
		}
	}
	return names, nil
}

// unescapeCopy reads a value of COPY text.
func unescapeCopy(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		i++
		switch text[i] {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'v':
			b.WriteByte('\v')
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String()
}
