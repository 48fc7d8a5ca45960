package postgres

import (
	"context"
	"fmt"
	"strings"

	"salvor/drivers"
)

// database says how a database was made and what is set for it, so that a restore can make one like it.
type database struct {
	Encoding   string   `json:"encoding"`
	Collate    string   `json:"collate,omitempty"`
	Ctype      string   `json:"ctype,omitempty"`
	Provider   string   `json:"provider,omitempty"` // c (libc), i (ICU), b (builtin); "" where the server knows only libc
	Locale     string   `json:"locale,omitempty"`   // of ICU or builtin
	Rules      string   `json:"icu_rules,omitempty"`
	Owner      string   `json:"owner,omitempty"`
	Limit      string   `json:"connection_limit,omitempty"`
	Comment    string   `json:"comment,omitempty"`
	Settings   []string `json:"settings,omitempty"` // of the database alone: name=value, as pg_db_role_setting has them
	Grants     []string `json:"grants,omitempty"`   // SQL with %s in place of the database's name; nil where the default holds
	GrantsOnly bool     `json:"grants_set,omitempty"`
}

// describeDatabase reads what is known of the session's database.
func describeDatabase(ctx context.Context, c *conn) (*database, error) {
	provider, locale, rules := "''", "''", "''"
	if c.version >= 150000 {
		provider, locale = "datlocprovider::text", "COALESCE(daticulocale, '')"
	}
	if c.version >= 160000 {
		rules = "COALESCE(daticurules, '')"
	}
	if c.version >= 170000 {
		locale = "COALESCE(datlocale, '')"
	}
	rows, err := c.rows(ctx, `SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype, `+provider+`, `+locale+`, `+rules+`,
		pg_catalog.pg_get_userbyid(datdba), datconnlimit, COALESCE(pg_catalog.shobj_description(oid, 'pg_database'), ''), (datacl IS NOT NULL)::text
		FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`)
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("describe database: %w", classify(err))
	}
	r := rows[0]
	db := &database{
		Encoding: r[0], Collate: r[1], Ctype: r[2], Provider: r[3], Locale: r[4], Rules: r[5], Owner: r[6], Limit: r[7], Comment: r[8],
		GrantsOnly: r[9] == "true",
	}
	settings, err := c.rows(ctx, `SELECT pg_catalog.unnest(s.setconfig) FROM pg_catalog.pg_db_role_setting s
		JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase AND s.setrole = 0 WHERE d.datname = pg_catalog.current_database()`)
	if err != nil {
		return nil, fmt.Errorf("describe database: %w", classify(err))
	}
	for _, s := range settings {
		db.Settings = append(db.Settings, s[0])
	}
	if !db.GrantsOnly {
		return db, nil
	}
	grants, err := c.rows(ctx, `SELECT pg_catalog.format('GRANT %s ON DATABASE %%s TO %s%s', a.privilege_type,
		CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
		CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
		FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.datname = pg_catalog.current_database()`)
	if err != nil {
		return nil, fmt.Errorf("describe database: %w", classify(err))
	}
	for _, g := range grants {
		db.Grants = append(db.Grants, g[0])
	}
	return db, nil
}

// createSQL is the statement that makes a database like it.
func (d *database) createSQL(name string, version int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE DATABASE %s TEMPLATE template0 ENCODING %s", ident(name), literal(d.Encoding))
	if d.Collate != "" {
		fmt.Fprintf(&b, " LC_COLLATE %s LC_CTYPE %s", literal(d.Collate), literal(d.Ctype))
	}
	if version >= 150000 {
		switch d.Provider {
		case "i":
			fmt.Fprintf(&b, " LOCALE_PROVIDER icu ICU_LOCALE %s", literal(d.Locale))
			if d.Rules != "" && version >= 160000 {
				fmt.Fprintf(&b, " ICU_RULES %s", literal(d.Rules))
			}
		case "b":
			if version >= 170000 {
				fmt.Fprintf(&b, " LOCALE_PROVIDER builtin BUILTIN_LOCALE %s", literal(d.Locale))
			}
		case "c":
			b.WriteString(" LOCALE_PROVIDER libc")
		}
	}
	return b.String()
}

// settleSQL sets what belongs to the database itself, after it was made.
func (d *database) settleSQL(name string) []string {
	quoted := ident(name)
	var list []string
	if d.Limit != "" && d.Limit != "-1" {
		list = append(list, "ALTER DATABASE "+quoted+" CONNECTION LIMIT "+d.Limit)
	}
	if d.Comment != "" {
		list = append(list, "COMMENT ON DATABASE "+quoted+" IS "+literal(d.Comment))
	}
	for _, s := range d.Settings {
		key, value, _ := strings.Cut(s, "=")
		if isListSetting(key) {
			list = append(list, "ALTER DATABASE "+quoted+" SET "+ident(key)+" TO "+value)
		} else {
			list = append(list, "ALTER DATABASE "+quoted+" SET "+identPath(key)+" TO "+literal(value))
		}
	}
	if d.GrantsOnly {
		list = append(list, "REVOKE ALL ON DATABASE "+quoted+" FROM PUBLIC")
		for _, g := range d.Grants {
			list = append(list, strings.Replace(g, "ON DATABASE %s TO", "ON DATABASE "+quoted+" TO", 1))
		}
	}
	if d.Owner != "" {
		list = append(list, "ALTER DATABASE "+quoted+" OWNER TO "+ident(d.Owner))
	}
	return list
}

// identPath quotes a setting's name, which may have a dot.
func identPath(name string) string {
	parts := strings.Split(name, ".")
	for i := range parts {
		parts[i] = ident(parts[i])
	}
	return strings.Join(parts, ".")
}

// isListSetting tells whether a setting's stored value is a list, quoted already (GUC_LIST_QUOTE in the server's source).
func isListSetting(name string) bool {
	switch strings.ToLower(name) {
	case "search_path", "temp_tablespaces", "session_preload_libraries", "shared_preload_libraries", "local_preload_libraries", "unix_socket_directories":
		return true
	}
	return false
}

// create makes the database. One that is there already was made by an earlier attempt.
func (s *Source) create(ctx context.Context, d *database) error {
	c, err := s.connectMaintenance(ctx, "create database")
	if err != nil {
		return s.explain(err)
	}
	defer c.close(ctx)
	name := s.config.Database
	sql := d.createSQL(name, c.version)
	if err := c.exec(ctx, sql); err != nil && !isCode(err, codeDuplicateDB, codeDuplicateName) {
		err = statementError("create database "+name, sql, told(ctx, err))
		if isCode(err, codePrivilege) {
			err = drivers.WithHint(err, "give the role CREATEDB, or create the database and restore into it without --create")
		}
		return err
	}
	return nil
}

// Drop removes the database and ends the sessions that are on it.
func (s *Source) Drop(ctx context.Context) error {
	c, err := s.connectMaintenance(ctx, "drop database")
	if err != nil {
		return s.explain(err)
	}
	defer c.close(ctx)
	name := s.config.Database
	if name == "postgres" || strings.HasPrefix(name, "template") {
		return fmt.Errorf("drop database %s: %w: it is the server's own", name, drivers.ErrInvalid)
	}
	sql := "DROP DATABASE IF EXISTS " + ident(name)
	if c.version >= 130000 {
		sql += " WITH (FORCE)"
	}
	if err := c.exec(ctx, sql); err != nil {
		err = statementError("drop database "+name, sql, told(ctx, err))
		if isCode(err, codePrivilege) {
			err = drivers.WithHint(err, "the role must own the database and have CREATEDB; or empty the database and restore into it without --clean")
		}
		return err
	}
	return nil
}
