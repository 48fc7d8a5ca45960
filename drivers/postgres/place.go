package postgres

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"salvor/drivers"
)

// toolPlace is a source as PostgreSQL's own programs take it: the connection string without the password, which comes by
// the environment because everybody can read arguments.
type toolPlace struct {
	text     string // with the password; for pgconn alone
	public   string // without it, and with the database
	database string // that overrides the one of text; "" for none
}

// parsePlace reads a URL or a connection string. Its errors never quote the text, which may hold a password.
func parsePlace(text, database string) (toolPlace, error) {
	p := toolPlace{text: text, database: database}
	if strings.ContainsRune(text, 0) {
		return p, fmt.Errorf("open postgres database: source holds a NUL byte: %w", drivers.ErrInvalid)
	}
	if strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") {
		return p, p.parseURL()
	}
	return p, p.parsePairs()
}

func (p *toolPlace) parseURL() error {
	u, err := url.Parse(p.text)
	if err != nil {
		return drivers.WithHint(fmt.Errorf("open postgres database: the URL cannot be read: %w", drivers.ErrInvalid),
			"write postgres://USER@HOST:PORT/DATABASE, special characters percent-encoded")
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	query.Del("password")
	if query.Has("sslpassword") {
		return refuseKeyPassword()
	}
	if name := query.Get("database"); name != "" { // pgconn's word for what libpq calls dbname
		u.Path, u.RawPath = "/"+name, ""
	}
	query.Del("database")
	if p.database != "" {
		u.Path, u.RawPath = "/"+p.database, ""
		query.Del("dbname")
		query.Del("database")
	}
	query.Set("options", toolOptions(query.Get("options")))
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // libpq takes a plus sign for itself
	p.public = u.String()
	return nil
}

// parsePairs reads key = value pairs as libpq does: values may stand in single quotes, a backslash takes what follows.
func (p *toolPlace) parsePairs() error {
	var public []string
	options := ""
	rest := strings.TrimSpace(p.text)
	for rest != "" {
		key, after, ok := strings.Cut(rest, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" || strings.ContainsAny(key, " '\\") {
			return drivers.WithHint(fmt.Errorf("open postgres database: the connection string cannot be read: %w", drivers.ErrInvalid),
				"write a URL (postgres://USER@HOST/DATABASE) or pairs (host=HOST dbname=DATABASE user=USER)")
		}
		value, tail, ok := cutValue(strings.TrimLeft(after, " \t\n"))
		if !ok {
			return fmt.Errorf("open postgres database: the connection string has an open quote: %w", drivers.ErrInvalid)
		}
		rest = strings.TrimSpace(tail)
		switch {
		case key == "sslpassword":
			return refuseKeyPassword()
		case key == "options":
			options = value
			continue
		case key == "password", key == "dbname" && p.database != "", key == "database" && p.database != "":
			continue
		case key == "database":
			key = "dbname"
		}
		public = append(public, key+"="+quoteValue(value))
	}
	if p.database != "" {
		public = append(public, "dbname="+quoteValue(p.database))
	}
	public = append(public, "options="+quoteValue(toolOptions(options)))
	p.public = strings.Join(public, " ")
	return nil
}

// refuseKeyPassword refuses the password of a client's key: libpq takes it as an argument only, which everybody can read.
func refuseKeyPassword() error {
	return drivers.WithHint(fmt.Errorf("open postgres database: sslpassword in a source: %w", drivers.ErrInvalid),
		"pg_dump could be told it only where every user of the machine can read it: use a key without a password that only this user can read")
}

// toolOptions adds to a session's options what makes values in a schema come and go in one form. Sessions of this package set
// the same.
func toolOptions(options string) string { return strings.TrimSpace(options + " -c lc_monetary=C") }

// renamed returns the source with another database, password included.
func (p *toolPlace) renamed(database string) string {
	if strings.HasPrefix(p.text, "postgres://") || strings.HasPrefix(p.text, "postgresql://") {
		u, err := url.Parse(p.text)
		if err != nil {
			return p.text // it was parsed before
		}
		query := u.Query()
		query.Del("dbname")
		query.Del("database") // pgconn takes it too, and it would override the path
		u.Path, u.RawPath, u.RawQuery = "/"+database, "", query.Encode()
		return u.String()
	}
	return p.text + " dbname=" + quoteValue(database) // the last one counts
}

// cutValue splits a value from what follows it.
func cutValue(text string) (value, rest string, ok bool) {
	var b strings.Builder
	quoted := strings.HasPrefix(text, "'")
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case quoted && c == '\'':
			return b.String(), text[i+1:], true
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			return b.String(), text[i:], true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", !quoted
}

func quoteValue(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// config returns how pgconn connects.
func (p *toolPlace) config() (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig(p.text)
	if err != nil {
		return nil, drivers.WithHint(fmt.Errorf("open postgres database: the source cannot be read: %w", drivers.ErrInvalid),
			"write a URL (postgres://USER@HOST:PORT/DATABASE?sslmode=…) or pairs (host=HOST dbname=DATABASE user=USER); certificates must be readable")
	}
	for _, f := range config.Fallbacks {
		if f.Host != config.Host || f.Port != config.Port {
			return nil, drivers.WithHint(fmt.Errorf("open postgres database: the source names several hosts: %w", drivers.ErrInvalid),
				"a snapshot belongs to one server: name the one to dump from, or an address that leads to one server for as long as a dump takes")
		}
	}
	if p.database != "" {
		config.Database = p.database
	}
	if config.Database == "" {
		config.Database = config.User
	}
	return config, nil
}

// env is the environment of PostgreSQL's programs.
func (s *Source) env(base []string) []string {
	env := slices.DeleteFunc(slices.Clone(base), func(e string) bool {
		return strings.HasPrefix(e, "PGPASSWORD=") || strings.HasPrefix(e, "PGDATABASE=") || strings.HasPrefix(e, "PGOPTIONS=") ||
			strings.HasPrefix(e, "LC_ALL=") || strings.HasPrefix(e, "LC_MESSAGES=")
	})
	env = append(env, "PGDATABASE="+s.config.Database, "LC_ALL=C")
	if s.config.Password != "" {
		env = append(env, "PGPASSWORD="+s.config.Password)
	}
	return env
}
