package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"salvor/drivers"
)

// makeGlobals makes the roles and tablespaces of the dump that the server lacks. What is there already stays as it is, its
// password and rights included: they belong to all databases of the server.
func (w *work) makeGlobals(ctx context.Context, target drivers.Target, part drivers.Part) error {
	in, err := target.Open(ctx, part)
	if err != nil {
		return fmt.Errorf("read globals: %w", err)
	}
	defer func() { _ = in.Close() }() // read to its end, or the error is told
	statements, err := splitGlobals(in)
	if err != nil {
		return fmt.Errorf("read globals: %w", err)
	}
	return w.once(ctx, "globals", "", func() error {
		old, err := w.names(ctx, "SELECT rolname FROM pg_catalog.pg_roles UNION ALL SELECT spcname FROM pg_catalog.pg_tablespace")
		if err != nil {
			return fmt.Errorf("list roles: %w", classify(err))
		}
		for _, st := range statements {
			// The first name is what the statement makes or changes; the role that a GRANT goes to is the one that matters.
			if old[st.name] {
				continue
			}
			if err := w.statement(ctx, &entry{kind: "GLOBAL", name: st.name, sql: st.sql}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *work) names(ctx context.Context, query string) (map[string]bool, error) {
	rows, err := w.rows(ctx, query)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(rows))
	for _, r := range rows {
		names[r[0]] = true
	}
	return names, nil
}

type globalStatement struct{ name, sql string }

// splitGlobals reads pg_dumpall's SQL. A statement ends with a semicolon at the end of a line, outside of quotes.
func splitGlobals(in io.Reader) ([]globalStatement, error) {
	const ident = `("(?:[^"]|"")+"|[^\s";]+)`
	named := []*regexp.Regexp{
		regexp.MustCompile(`^(?:CREATE|ALTER|COMMENT ON) ROLE ` + ident),
		regexp.MustCompile(`^(?:CREATE|ALTER|COMMENT ON) TABLESPACE ` + ident),
		regexp.MustCompile(`^(?:GRANT|REVOKE) .* ON TABLESPACE ` + ident),
		regexp.MustCompile(`^GRANT .* TO ` + ident),
	}
	var list []globalStatement
	var sql strings.Builder
	quoted := false
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if line != "" && (sql.Len() > 0 || !skipped(line)) {
			sql.WriteString(line)
			quoted = quoted != (strings.Count(line, "'")%2 == 1)
			if !quoted && strings.HasSuffix(strings.TrimRight(line, "\r\n"), ";") {
				text := strings.TrimSpace(sql.String())
				sql.Reset()
				for _, n := range named {
					if m := n.FindStringSubmatch(text); m != nil {
						list = append(list, globalStatement{splitName(m[1])[0], text})
						break
					}
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// skipped tells whether a line is no part of a statement.
func skipped(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || strings.HasPrefix(line, "--") || strings.HasPrefix(line, `\`) || strings.HasPrefix(line, "SET ")
}
