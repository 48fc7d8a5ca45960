package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{`ALTER ROLE app WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:x''y' VALID UNTIL 'infinity';`, `ALTER ROLE app WITH LOGIN PASSWORD '[redacted]' VALID UNTIL 'infinity';`},
		{`ALTER ROLE "PASSWORD 'a'" PASSWORD E'x\'y z';`, `ALTER ROLE "PASSWORD 'a'" PASSWORD E'[redacted]';`},
		{"CREATE USER MAPPING FOR app SERVER far OPTIONS (\n    password 'pa)ss',\n    \"user\" 'joe'\n);", "CREATE USER MAPPING FOR app SERVER far OPTIONS (\n    password '[redacted]',\n    \"user\" '[redacted]'\n);"},
		{`CREATE SERVER far FOREIGN DATA WRAPPER w OPTIONS (host E'a\'b', port '1'); COMMENT ON SERVER far IS 'open';`, `CREATE SERVER far FOREIGN DATA WRAPPER w OPTIONS (host E'[redacted]', port '[redacted]'); COMMENT ON SERVER far IS 'open';`},
		{`CREATE SUBSCRIPTION s CONNECTION 'host=h password=secret' PUBLICATION p WITH (connect = false, slot_name = 's');`, `CREATE SUBSCRIPTION s CONNECTION '[redacted]' PUBLICATION p WITH (connect = false, slot_name = 's');`},
		{`CREATE VIEW v AS SELECT dblink('host=h password=secret user=u', 'postgres://u:secret@h/db');`, `CREATE VIEW v AS SELECT dblink('host=h password=[redacted] user=u', 'postgres://u:[redacted]@h/db');`},
		{"CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT 'it''s' || dblink('password=secret')$$;", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT 'it''s' || dblink('password=[redacted]')$$;"},
		{`ALTER ROLE app PASSWORD 'cut short`, `ALTER ROLE app PASSWORD '[redacted]'`},
		{`CREATE TABLE password ("connection" text DEFAULT 'a', options text DEFAULT ('b'));`, `CREATE TABLE password ("connection" text DEFAULT 'a', options text DEFAULT ('b'));`},
	} {
		if diff := cmp.Diff(c[1], redact(c[0])); diff != "" {
			t.Errorf("redact (-want +got):\n%s", diff)
		}
	}
	// What is cut is cut after that: a secret that is longer than what is quoted shows nothing.
	err := statementError("restore role app", "ALTER ROLE app "+strings.Repeat(" ", 550)+"PASSWORD '"+strings.Repeat("secret", 100)+"'",
		&pgconn.PgError{Code: "42501", Message: "no", Detail: "password=secret"})
	if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "ALTER ROLE app") {
		t.Errorf("statement error: %v", err)
	}
	if _, ok := errors.AsType[*pgconn.PgError](err); !ok {
		t.Errorf("%v has lost its cause", err)
	}
}
