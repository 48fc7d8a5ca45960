package postgres

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"salvor/drivers"
)

// readGlobals reads what a dump holds of its server.
func readGlobals(ctx context.Context, target drivers.Target, part drivers.Part) ([]*global, error) {
	in, err := target.Open(ctx, part)
	if err != nil {
		return nil, fmt.Errorf("read globals: %w", err)
	}
	data, err := io.ReadAll(in)
	if closeErr := in.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("read globals: %w", err)
	}
	list, err := splitGlobals(string(data))
	if err != nil {
		return nil, fmt.Errorf("read globals: %w", err)
	}
	return list, nil
}

// makeGlobals makes the roles and tablespaces of the dump that the server lacks. What is there already stays as it is, its
// password and rights included: they belong to all databases of the server. What was there is noted first, for an attempt
// that goes on with what another has begun; tablespaces cannot be made within a transaction.
func (w *work) makeGlobals(ctx context.Context, list []*global) error {
	err := w.once(ctx, "globals", "", func() error {
		err := w.exec(ctx, `CREATE TABLE salvor_progress.global AS SELECT 'role ' || rolname AS name FROM pg_catalog.pg_roles
			UNION ALL SELECT 'tablespace ' || spcname FROM pg_catalog.pg_tablespace`)
		if err != nil {
			return fmt.Errorf("list roles: %w", classify(err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	old, err := w.names(ctx, "SELECT name FROM salvor_progress.global")
	if err != nil {
		return fmt.Errorf("list roles: %w", classify(err))
	}
	list = slices.DeleteFunc(slices.Clone(list), func(g *global) bool { return old[g.name] })
	if err := w.makeGlobal(ctx, "globals/roles", list, func(g *global) bool { return !g.space }); err != nil {
		return err
	}
	for _, g := range list {
		if g.makesSpace {
			if err := w.makeTablespace(ctx, g); err != nil {
				return err
			}
			// Its rights come at once: an attempt after a failed one takes it for one that was there before.
			err := w.makeGlobal(ctx, "globals/rights of "+g.name, list, func(o *global) bool { return o.name == g.name && !o.makesSpace })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *work) makeGlobal(ctx context.Context, item string, list []*global, take func(*global) bool) error {
	return w.once(ctx, item, "", func() error {
		for _, g := range list {
			if !take(g) {
				continue
			}
			if err := w.statement(ctx, g.entry()); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeTablespace makes one, unless an earlier attempt did.
func (w *work) makeTablespace(ctx context.Context, g *global) error {
	err := w.exec(ctx, g.sql)
	if err == nil || isCode(err, "42710") {
		return nil
	}
	err = drivers.WithHint(w.explain(g.entry(), g.entry().label(), told(ctx, err)),
		"make its directory on the target's server, owned by the server's user; or make the tablespace there before, wherever it is to be")
	if !w.keep || ctx.Err() != nil || classOf(err) == nil {
		return err
	}
	return w.once(ctx, "globals/"+g.name, "", func() error { return w.problem(ctx, g.entry().label(), err) })
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

// global is a statement of pg_dumpall.
type global struct {
	name       string // of whose statement it is: "role app", "tablespace fast"
	space      bool   // it is about a tablespace
	makesSpace bool
	sql        string
}

func (g *global) entry() *entry { return &entry{kind: "GLOBAL", schema: "-", name: g.name, sql: g.sql} }

// splitGlobals reads pg_dumpall's SQL. A statement that is not known is an error: nothing is passed over.
func splitGlobals(text string) ([]*global, error) {
	statements, err := splitStatements(text, escapesIn(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", drivers.ErrCorrupt, err)
	}
	var list []*global
	for _, sql := range statements {
		w, err := words(sql)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", drivers.ErrCorrupt, err)
		}
		if len(w) > 3 && w[0] == "SET" && isDumpSetting(w[1]) {
			continue
		}
		g := globalOf(w)
		if g == nil {
			// Not the whole of it: a statement may hold a password.
			return nil, fmt.Errorf("%w: a statement that is not known: %s …", drivers.ErrFailed, strings.Join(w[:min(len(w), 2)], " "))
		}
		g.sql = sql
		list = append(list, g)
	}
	return list, nil
}

// isDumpSetting tells whether a setting is one that pg_dumpall begins with.
func isDumpSetting(name string) bool {
	return name == "default_transaction_read_only" || name == "client_encoding" || name == "standard_conforming_strings"
}

// globalOf finds what a statement makes or changes; of a GRANT the role that it goes to is the one that matters. It returns
// nil for a statement that pg_dumpall does not write.
func globalOf(w []string) *global {
	at := func(i int, list ...string) bool { return len(w) > i+len(list) && slices.Equal(w[i:i+len(list)], list) }
	role := func(name string) *global { return &global{name: "role " + name} }
	space := func(name string) *global { return &global{name: "tablespace " + name, space: true} }
	switch {
	case at(0, "CREATE", "ROLE"), at(0, "ALTER", "ROLE"):
		return role(unquote(w[2]))
	case at(0, "COMMENT", "ON", "ROLE"):
		return role(unquote(w[3]))
	case at(0, "CREATE", "TABLESPACE"):
		g := space(unquote(w[2]))
		g.makesSpace = true
		return g
	case at(0, "ALTER", "TABLESPACE"):
		return space(unquote(w[2]))
	case at(0, "COMMENT", "ON", "TABLESPACE"):
		return space(unquote(w[3]))
	case at(0, "SECURITY", "LABEL"):
		i := slices.Index(w, "ON")
		switch {
		case i > 0 && at(i, "ON", "ROLE"):
			return role(unquote(w[i+2]))
		case i > 0 && at(i, "ON", "TABLESPACE"):
			return space(unquote(w[i+2]))
		}
	case at(0, "GRANT"), at(0, "REVOKE"):
		if i := slices.Index(w, "ON"); i > 0 {
			if at(i, "ON", "TABLESPACE") {
				return space(unquote(w[i+2]))
			}
			if !at(i, "ON", "PARAMETER") {
				return nil
			}
		}
		direction := "TO"
		if w[0] == "REVOKE" {
			direction = "FROM"
		}
		if i := slices.Index(w, direction); i > 0 && i+1 < len(w) {
			return role(unquote(w[i+1]))
		}
	}
	return nil
}
