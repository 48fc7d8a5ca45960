package postgres

import (
	"regexp"
	"slices"
	"strings"
)

// phaseOf says when an entry of the schema's second half is made. tbl is the table that it belongs to, by its key, where
// it waits for that one's rows alone; uses are the tables that a foreign key locks, for two that share one not to meet.
func phaseOf(e *entry) (phase, tbl, uses string) {
	switch e.kind {
	case "INDEX", "CONSTRAINT", "STATISTICS":
		if owner := ownerOf(e); owner != "" {
			return phaseTable, owner, ""
		}
		return phaseRest, "", ""
	case "INDEX ATTACH":
		return phaseAttach, "", ""
	case "FK CONSTRAINT":
		return phaseForeign, "", strings.Join(locksOf(e.sql), "\n")
	case "EVENT TRIGGER":
		return phaseLast, "", ""
	case "COMMENT", "SECURITY LABEL":
		if strings.HasPrefix(e.name, "EVENT TRIGGER ") {
			return phaseLast, "", ""
		}
	}
	return phaseRest, "", ""
}

// names matches one or two identifiers, quoted or not: schema.table.
const names = `((?:"(?:[^"]|"")+"|[^\s".;(]+)\.(?:"(?:[^"]|"")+"|[^\s".;(]+))`

// ownerOf reads the table from the statement, which pg_dump writes in one form: CREATE INDEX … ON [ONLY] s.t USING …, or
// ALTER TABLE ONLY s.t ADD CONSTRAINT …, or CREATE STATISTICS … FROM s.t;. What an index of a materialized view names is no table: nothing is loaded into it.
func ownerOf(e *entry) string {
	var m []string
	switch e.kind {
	case "STATISTICS": // made before the table is analyzed, or nothing would fill them
		m = regexp.MustCompile(`(?s)^CREATE STATISTICS .* FROM ` + names + `;`).FindStringSubmatch(e.sql)
	case "INDEX":
		m = regexp.MustCompile(`^CREATE (?:UNIQUE )?INDEX (?:"(?:[^"]|"")+"|\S+) ON (?:ONLY )?` + names + ` `).FindStringSubmatch(e.sql)
	default:
		m = regexp.MustCompile(`^ALTER TABLE (?:ONLY )?` + names + `\s+ADD CONSTRAINT `).FindStringSubmatch(e.sql)
	}
	if m == nil {
		return ""
	}
	parts := splitName(m[1])
	if len(parts) != 2 {
		return ""
	}
	return keyOf(parts[0], parts[1])
}

// locksOf are the tables that an ALTER TABLE … ADD FOREIGN KEY locks: its own, and the one that it refers to.
func locksOf(sql string) []string {
	var found []string
	for _, pattern := range []string{`^ALTER TABLE (?:ONLY )?` + names, ` REFERENCES ` + names} {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(sql); m != nil {
			found = append(found, m[1])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// splitName reads a qualified name.
func splitName(text string) []string {
	var parts []string
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' && quoted && i+1 < len(text) && text[i+1] == '"':
			b.WriteByte('"')
			i++
		case c == '"':
			quoted = !quoted
		case c == '.' && !quoted:
			parts = append(parts, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(parts, b.String())
}

// selectEntries takes the selected tables out of a schema: their entries, what those need, and what belongs to them alone
// (defaults, indexes, triggers, rights). A foreign key is taken where both of its tables are.
func selectEntries(before, after []*entry, c *contents) (pre, post []*entry) {
	byID := make(map[int]*entry)
	for _, e := range append(slices.Clone(before), after...) {
		byID[e.id] = e
	}
	chosen := make(map[int]bool)
	tables := make(map[int]bool)
	var need func(id int)
	need = func(id int) {
		e, ok := byID[id]
		if !ok || chosen[id] {
			return
		}
		if e.kind == "TABLE" && !tables[id] {
			if _, ok := c.tables[keyOf(e.schema, e.name)]; !ok && !isParent(e, byID, tables) {
				return // another table, that something refers to
			}
		}
		chosen[id] = true
		for _, d := range e.deps {
			need(d)
		}
	}
	for _, e := range before {
		if _, ok := c.tables[keyOf(e.schema, e.name)]; ok && isRelation(e) {
			tables[e.id] = true
		}
	}
	for id := range tables {
		need(id)
	}
	// What belongs to something chosen, and needs no table that is not.
	for range 3 { // a sequence, what owns it, its rights
		for _, e := range append(slices.Clone(before), after...) {
			if !chosen[e.id] && belongs(e) && len(e.deps) > 0 && slices.ContainsFunc(e.deps, func(d int) bool { return chosen[d] && isHolder(byID[d]) }) &&
				!slices.ContainsFunc(e.deps, func(d int) bool { return isRelation(byID[d]) && !chosen[d] }) {
				need(e.id)
			}
		}
	}
	pick := func(list []*entry) (out []*entry) {
		for _, e := range list {
			if chosen[e.id] {
				out = append(out, e)
			}
		}
		return out
	}
	return pick(before), pick(after)
}

// isParent tells whether a table is one that a chosen table inherits from or is a partition of: it is needed to make it.
func isParent(e *entry, byID map[int]*entry, tables map[int]bool) bool {
	for id := range tables {
		if child := byID[id]; child != nil && slices.Contains(child.deps, e.id) && strings.Contains(child.sql, "INHERITS (") {
			return true
		}
	}
	return false
}

// isRelation tells whether an entry is something with rows, which is selected by itself.
func isRelation(e *entry) bool {
	if e == nil {
		return false
	}
	switch e.kind {
	case "TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE":
		return true
	}
	return false
}

// isHolder tells whether other entries can belong to one.
func isHolder(e *entry) bool {
	switch e.kind {
	case "TABLE", "SEQUENCE", "INDEX", "CONSTRAINT", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE":
		return true
	}
	return false
}

// belongs tells whether an entry is a property of the table that it depends on.
func belongs(e *entry) bool {
	switch e.kind {
	case "DEFAULT", "SEQUENCE", "SEQUENCE OWNED BY", "ACL", "COMMENT", "INDEX", "CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT", "TRIGGER", "RULE",
		"ROW SECURITY", "POLICY", "STATISTICS", "INDEX ATTACH", "SECURITY LABEL", "MATERIALIZED VIEW DATA":
		return true
	}
	return false
}
