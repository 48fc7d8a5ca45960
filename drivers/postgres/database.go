package postgres

import (
	"context"
	"fmt"
	"slices"
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
	// RoleSettings are what is set for a role in this database; Labels are security labels, SQL with %s for the name.
	RoleSettings []roleSetting `json:"role_settings,omitempty"`
	Labels       []string      `json:"labels,omitempty"`
	Tablespace   string        `json:"tablespace,omitempty"` // "" for the server's default
	Template     bool          `json:"template,omitempty"`
}

// roleSetting is one of ALTER ROLE … IN DATABASE … SET.
type roleSetting struct {
	Role    string `json:"role"`
	Setting string `json:"setting"` // name=value
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
		pg_catalog.pg_get_userbyid(datdba), datconnlimit, COALESCE(pg_catalog.shobj_description(oid, 'pg_database'), ''), (datacl IS NOT NULL)::text, datistemplate::text,
		COALESCE((SELECT spcname FROM pg_catalog.pg_tablespace t WHERE t.oid = dattablespace AND spcname <> 'pg_default'), '')
		FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`)
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("describe database: %w", classify(err))
	}
	r := rows[0]
	db := &database{
		Encoding: r[0], Collate: r[1], Ctype: r[2], Provider: r[3], Locale: r[4], Rules: r[5], Owner: r[6], Limit: r[7], Comment: r[8],
		GrantsOnly: r[9] == "true", Template: r[10] == "true", Tablespace: r[11],
	}
	settings, err := c.rows(ctx, `SELECT COALESCE(r.rolname, ''), pg_catalog.unnest(s.setconfig) FROM pg_catalog.pg_db_role_setting s
		JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
		WHERE d.datname = pg_catalog.current_database() AND (s.setrole = 0 OR r.oid IS NOT NULL) ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("describe database: %w", classify(err))
	}
	for _, s := range settings {
		if s[0] == "" {
			db.Settings = append(db.Settings, s[1])
		} else {
			db.RoleSettings = append(db.RoleSettings, roleSetting{s[0], s[1]})
		}
	}
	labels, err := c.rows(ctx, `SELECT pg_catalog.format('SECURITY LABEL FOR %I ON DATABASE %%s IS %L', l.provider, l.label) FROM pg_catalog.pg_shseclabel l
		JOIN pg_catalog.pg_database d ON d.oid = l.objoid AND l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass
		WHERE d.datname = pg_catalog.current_database() ORDER BY l.provider`)
	if err != nil {
		return nil, fmt.Errorf("describe database: %w", classify(err))
	}
	for _, l := range labels {
		db.Labels = append(db.Labels, l[0])
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

// settleSQL sets what belongs to the database itself. It comes last: a limit, or rights, can shut out the restore.
func (d *database) settleSQL(name string) []string {
	quoted := ident(name)
	var list []string
	if d.Comment != "" {
		list = append(list, "COMMENT ON DATABASE "+quoted+" IS "+literal(d.Comment))
	}
	for _, s := range d.Settings {
		list = append(list, "ALTER DATABASE "+quoted+" SET "+settingSQL(s))
	}
	for _, s := range d.RoleSettings {
		list = append(list, "ALTER ROLE "+ident(s.Role)+" IN DATABASE "+quoted+" SET "+settingSQL(s.Setting))
	}
	for _, l := range d.Labels {
		list = append(list, strings.Replace(l, "ON DATABASE %s IS", "ON DATABASE "+quoted+" IS", 1))
	}
	if d.Template {
		list = append(list, "ALTER DATABASE "+quoted+" IS_TEMPLATE true")
	}
	if d.Limit != "" && d.Limit != "-1" {
		list = append(list, "ALTER DATABASE "+quoted+" CONNECTION LIMIT "+d.Limit)
	}
	if !d.GrantsOnly {
		list = append(list, "GRANT CONNECT, TEMPORARY ON DATABASE "+quoted+" TO PUBLIC") // the default, which create took
	} else {
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

// settingSQL writes a stored setting, name=value, as SET takes it.
func settingSQL(setting string) string {
	key, value, _ := strings.Cut(setting, "=")
	if !isListSetting(key) {
		return identPath(key) + " TO " + literal(value)
	}
	// SET takes no empty name in double quotes, but an empty text.
	list := splitList(value)
	for i, name := range list {
		list[i] = literal(name)
	}
	return ident(key) + " TO " + strings.Join(list, ", ")
}

// splitList splits a list of names as the server stores it, some of them in double quotes. One of none is an empty name.
func splitList(value string) []string {
	var list []string
	for rest := strings.TrimSpace(value); ; {
		end := 0
		for quoted := false; end < len(rest) && (quoted || rest[end] != ','); end++ {
			quoted = quoted != (rest[end] == '"')
		}
		list = append(list, unquote(strings.TrimSpace(rest[:end])))
		if end == len(rest) {
			return list
		}
		rest = rest[end+1:]
	}
}

// roles are those that settleSQL names.
func (d *database) roles() []string {
	var list []string
	if d.Owner != "" {
		list = append(list, d.Owner)
	}
	for _, s := range d.RoleSettings {
		list = append(list, s.Role)
	}
	for _, g := range d.Grants {
		if !d.GrantsOnly {
			break
		}
		w, err := words(g)
		if i := slices.Index(w, "TO"); err == nil && i >= 0 && i+1 < len(w) && w[i+1] != "PUBLIC" {
			list = append(list, unquote(w[i+1]))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// checkSettle tells whether what an archive says of a database is one statement each: what runs is what it seems to be.
func (d *database) checkSettle() error {
	for _, sql := range d.settleSQL("x") {
		if list, err := splitStatements(sql, false); err != nil || len(list) != 1 {
			return fmt.Errorf("read the database's settings: %w: not one statement", drivers.ErrCorrupt)
		}
	}
	return nil
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
