package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"salvor/drivers"
)

// The server shows triggers, events and routines only to those who have certain rights, and says nothing of the others: a dump
// by an account without these rights would lack them in silence. So the rights themselves are looked at.

// grant is what an account has on something.
type grant struct {
	revoked  bool     // it takes away, of one database, what is granted on all
	rights   []string // in capitals
	database string   // a pattern; * for all
	table    string   // * for all
}

// grants are the rights of the session's account and of its roles.
type grants struct {
	list []grant
	// unknown tells that not all of them could be read.
	unknown bool
}

// parseGrant reads a line of SHOW GRANTS. role is the name of a role that the line gives, quoted.
func parseGrant(line string) (g grant, role string, ok bool) {
	w, err := wordsOf(line)
	if err != nil || len(w) < 4 || !strings.EqualFold(w[0], "GRANT") && !strings.EqualFold(w[0], "REVOKE") {
		return g, "", false
	}
	g.revoked = strings.EqualFold(w[0], "REVOKE")
	on := slices.IndexFunc(w, func(s string) bool { return strings.EqualFold(s, "ON") })
	if on < 0 {
		to := slices.IndexFunc(w, func(s string) bool { return strings.EqualFold(s, "TO") })
		if to < 0 {
			return g, "", false
		}
		return g, strings.Join(w[1:to], ""), true
	}
	depth, ofColumns := 0, false
	right := []string{}
	flush := func() {
		if len(right) > 0 && !ofColumns {
			g.rights = append(g.rights, strings.ToUpper(strings.Join(right, " ")))
		}
		right, ofColumns = right[:0], false
	}
	for _, word := range w[1:on] {
		switch {
		case word == "(":
			depth++
			ofColumns = true // a right on some columns is none on the table
		case word == ")":
			depth--
		case depth > 0:
		case word == ",":
			flush()
		default:
			right = append(right, word)
		}
	}
	flush()
	at := on + 1
	if at+2 < len(w) && (strings.EqualFold(w[at], "TABLE") || strings.EqualFold(w[at], "PROCEDURE") || strings.EqualFold(w[at], "FUNCTION") || strings.EqualFold(w[at], "PACKAGE")) {
		return g, "", false // of single routines
	}
	if at+2 >= len(w) || w[at+1] != "." {
		return g, "", false
	}
	g.database, g.table = unquoteName(w[at]), unquoteName(w[at+2])
	return g, "", true
}

// activeRole tells whether a role, as SHOW GRANTS names it, is among those that CURRENT_ROLE lists: the server shows a session what
// its active roles may, and not what others may that the account has.
func activeRole(role, current string) bool {
	plain := func(name string) string { return strings.TrimSuffix(strings.ReplaceAll(name, "`", ""), "@%") }
	for one := range strings.SplitSeq(current, ",") {
		if plain(strings.TrimSpace(one)) == plain(role) {
			return true
		}
	}
	return false
}

// readGrants reads the rights of the session's account and of its active roles.
func (c *conn) readGrants(ctx context.Context) (grants, error) {
	var all grants
	current, err := c.text(ctx, "SELECT COALESCE(CURRENT_ROLE(), '')")
	if isServers(err) {
		current = "" // a server without roles
	} else if err != nil {
		return all, fmt.Errorf("read rights: %w", err)
	}
	const own = "SHOW GRANTS"
	seen := make(map[string]bool)
	var read func(sql string) error
	read = func(sql string) error {
		if seen[sql] {
			return nil
		}
		seen[sql] = true
		list, err := c.rows(ctx, sql)
		if isServers(err) {
			all.unknown = true // a server without accounts, or a role that is not shown
			return nil
		}
		if err != nil {
			return fmt.Errorf("read rights: %w", err)
		}
		for _, r := range list {
			g, role, ok := parseGrant(r[0])
			switch {
			case !ok:
			case role != "" && sql == own && !activeRole(role, current):
			case role != "":
				if err := read("SHOW GRANTS FOR " + role); err != nil {
					return err
				}
			default:
				all.list = append(all.list, g)
			}
		}
		return nil
	}
	return all, read(own)
}

// have tells whether the account has one of the rights on a database, or on a table of it.
func (g grants) have(database, table string, rights ...string) bool {
	if g.unknown {
		return true
	}
	for _, one := range g.list {
		if one.revoked || one.database == "*" && g.withdrawn(database, rights) {
			continue
		}
		if one.database != "*" && !strings.EqualFold(one.database, database) && !fitsGrant(one.database, database) {
			continue
		}
		if one.table != "*" && one.table != table {
			continue
		}
		if slices.ContainsFunc(one.rights, func(r string) bool {
			return r == "ALL PRIVILEGES" || r == "ALL" || slices.Contains(rights, r)
		}) {
			return true
		}
	}
	return false
}

// withdrawn tells whether one of the rights that hold for all databases was taken away for one (partial_revokes).
func (g grants) withdrawn(database string, rights []string) bool {
	return slices.ContainsFunc(g.list, func(one grant) bool {
		return one.revoked && one.database == database && slices.ContainsFunc(one.rights, func(r string) bool { return slices.Contains(rights, r) })
	})
}

// fitsGrant tells whether a database fits the pattern of a grant: % is any text, _ any character, a backslash takes what follows.
func fitsGrant(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	switch pattern[0] {
	case '%':
		for i := range len(name) + 1 {
			if fitsGrant(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	case '_':
		return name != "" && fitsGrant(pattern[1:], name[1:])
	case '\\':
		if len(pattern) > 1 {
			pattern = pattern[1:]
		}
	}
	return name != "" && name[0] == pattern[0] && fitsGrant(pattern[1:], name[1:])
}

// checkVisible tells before anything is read what the account would not be shown.
func (f *freezing) checkVisible(ctx context.Context) error {
	g, err := f.side.readGrants(ctx)
	if err != nil {
		return err
	}
	database := f.source.place.database
	for _, name := range f.source.options.Tables {
		if !strings.ContainsAny(name, "*?") || g.have(database, "*", "SELECT") {
			continue
		}
		return drivers.WithHint(fmt.Errorf("dump database %s: %w: the account would not be shown all tables that fit %s", database, drivers.ErrAccess, name),
			"GRANT SELECT on the whole database TO the account, or name the tables without a pattern")
	}
	refuse := func(what, hint string) error {
		return drivers.WithHint(fmt.Errorf("dump database %s: %w: the account would not be shown its %s", database, drivers.ErrAccess, what), hint)
	}
	for _, t := range f.tables {
		if !g.have(database, t.name, "SELECT") {
			return refuse("columns (of "+t.name+")", "GRANT SELECT on all of it TO the account, or exclude it with exclude_tables")
		}
		if t.kind == baseTable && !g.have(database, t.name, "TRIGGER") {
			return refuse("triggers (of table "+t.name+")", "GRANT TRIGGER on the database TO the account")
		}
	}
	if f.source.options.selective() {
		return nil
	}
	// Tables without a right on them are not listed, and columns neither.
	if !g.have(database, "*", "SELECT") {
		return refuse("other tables and columns", "GRANT SELECT on the whole database TO the account, or name the tables to dump (tables)")
	}
	if !g.have(database, "*", "EVENT") {
		return refuse("events", "GRANT EVENT on the database TO the account")
	}
	shown := g.have(database, "*", "EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE", "SHOW CREATE ROUTINE") ||
		g.have("mysql", "proc", "SELECT") || g.have("*", "*", "SHOW_ROUTINE", "SELECT")
	if !shown {
		return refuse("procedures and functions", f.server.routineHint())
	}
	return nil
}
