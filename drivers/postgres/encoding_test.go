package postgres

import (
	"context"
	"errors"
	"fmt"
	neturl "net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"salvor/drivers"
	"salvor/internal/testenv"
)

// TestEncodings dumps and restores databases of other encodings than UTF-8, with bytes that have no equivalent there.
func TestEncodings(t *testing.T) {
	t.Parallel()
	s := server(t)
	for encoding, c := range map[string]struct {
		name  string // of a table and a column, in SQL that is UTF-8
		bytes string // hexadecimal, of a text
	}{
		"LATIN1":        {"Größe", "e9e8ff80"},
		"WIN1252":       {"Größe", "8180e9"}, // 81 is nothing in UTF-8
		"SQL_ASCII":     {"plain", "ffe9c3a9"},
		"MULE_INTERNAL": {"plain", "81e4"},
		"EUC_JP":        {"日本", "a4a2"},
	} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			db := s.NewName()
			s.Exec("postgres", "CREATE DATABASE "+db+" TEMPLATE template0 ENCODING '"+encoding+"' LC_COLLATE 'C' LC_CTYPE 'C'")
			sql := `CREATE TABLE "@" (id serial PRIMARY KEY, "@" text DEFAULT '@'); COMMENT ON TABLE "@" IS 'about @'; CREATE INDEX "i @" ON "@" ("@");
				INSERT INTO "@" DEFAULT VALUES; INSERT INTO "@" ("@") VALUES (convert_from('\x` + c.bytes + `', '` + encoding + `'));
				CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ''@''::text'`
			do := func(db, sql string) string {
				t.Helper()
				conn, err := pgconn.Connect(t.Context(), s.SocketDSN(db)+" client_encoding="+spokenEncoding(encoding))
				requireNoError(t, "connect", err)
				defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
				results, err := conn.Exec(t.Context(), strings.ReplaceAll(sql, "@", c.name)).ReadAll()
				requireNoError(t, "run "+sql, err)
				return fmt.Sprintf("%s", results[0].Rows)
			}
			do(db, sql)
			d := dumpDatabase(t, s.URL(db), "", nil)
			if d.facts.Encoding != encoding {
				t.Errorf("encoding %s", d.facts.Encoding)
			}
			name := s.NewName()
			d.mustProve(t, s, name)
			if diff := cmp.Diff(lines(t, s, db), lines(t, s, name)); diff != "" {
				t.Errorf("pg_dump (-source +restored):\n%s", diff)
			}
			rows := `SELECT id, encode(convert_to("@", '` + encoding + `'), 'hex') FROM "@" ORDER BY id`
			if want, got := do(db, rows), do(name, rows); got != want || !strings.Contains(got, c.bytes) {
				t.Errorf("rows %q, want %q with %s", got, want, c.bytes)
			}
			if encoding != "LATIN1" && encoding != "EUC_JP" {
				return
			}
			// Into a database of UTF-8 they are converted, and the proof converts them back.
			rules := d.rules()
			rules.Create = false
			other := openSource(t, s.URL(s.NewDatabase()), "")
			requireNoError(t, "restore", d.restore(t.Context(), other, rules))
			proof, err := other.Prove(t.Context(), rules, d.parts)
			if err != nil || len(proof.Differences) > 0 || do(other.config.Database, "SHOW server_encoding") != "[[UTF8]]" ||
				do(other.config.Database, `SELECT count(*) FROM "@" WHERE "@" = '@'`) != "[[1]]" {
				t.Errorf("proof in UTF-8 %v, %v", proof, err)
			}
		})
	}
	db := s.NewName()
	s.Exec("postgres", "CREATE DATABASE "+db+" TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
	s.Exec(db, "SET client_encoding = 'SQL_ASCII'; CREATE TABLE \"caf\xe9\" (a int)")
	if _, err := openSource(t, s.URL(db), "").Freeze(t.Context()); !errors.Is(err, drivers.ErrInvalid) || hintText(err) == "" {
		t.Errorf("freeze with a name of raw bytes = %v", err)
	}
}

// TestTLS dumps and restores over TLS with the server's certificate checked, with a password, by pg_dump as by the driver.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t, testenv.PostgresOptions{Password: "p w'\\", TLS: true})
	url := s.URL(seeded(t, s))
	if !strings.Contains(url, "sslmode=verify-full") {
		t.Fatalf("source %s", url)
	}
	d := dumpDatabase(t, url, `{"globals": true}`, nil)
	d.mustProve(t, s, s.NewName())
	other := testenv.Postgres(t, testenv.PostgresOptions{TLS: true})
	url = strings.Replace(url, neturl.QueryEscape(s.Dir), neturl.QueryEscape(other.Dir), 1)
	if _, err := openSource(t, url, "").Freeze(t.Context()); !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), "certificate") || hintText(err) == "" {
		t.Errorf("freeze with the certificate of another authority = %v (hint %q)", err, hintText(err))
	}
	// What no later attempt changes is not tried again.
	url = strings.Replace(server(t).URL("postgres"), "sslmode=disable", "sslmode=require", 1)
	if _, err := openSource(t, url, "").Freeze(t.Context()); !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(hintText(err), "ssl = on") {
		t.Errorf("freeze with TLS of a server without = %v (hint %q)", err, hintText(err))
	}
}

// TestGlobalsOfPlainRole: passwords come where the role may read them; where not, the roles come once, without.
func TestGlobalsOfPlainRole(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE ROLE plain LOGIN PASSWORD 'word'; CREATE TABLE t (i int); GRANT SELECT ON t TO plain")
	for user, secret := range map[string]bool{testenv.PostgresUser: true, "plain": false} {
		text := string(dumpDatabase(t, s.URLAs(db, user, ""), `{"globals": true}`, nil).content["globals"])
		if strings.Contains(text, "PASSWORD 'SCRAM") != secret || strings.Count(text, "CREATE ROLE plain;") != 1 {
			t.Errorf("globals as %s:\n%s", user, text)
		}
	}
}

// TestStandby dumps from a standby, which has no rows of unlogged tables.
func TestStandby(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	s.Exec(db, "CREATE UNLOGGED TABLE shop.unlogged (id serial, t text); INSERT INTO shop.unlogged (t) VALUES ('gone')")
	standby := s.Standby()
	testenv.Eventually(t, time.Minute, func() string {
		if got := standby.Query(db, "SELECT count(*) FROM pg_class WHERE relname = 'unlogged'"); got != "1" {
			return "the standby is not up to date"
		}
		return ""
	})
	d := dumpDatabase(t, standby.URL(db), "", nil)
	if f := d.facts; !f.Standby || f.WithoutRows != 1 || !f.OldestHidden || f.LSN == "" {
		t.Errorf("facts %+v", f)
	}
	name := s.NewName()
	d.mustProve(t, s, name)
	if got := s.Query(name, "SELECT (SELECT count(*) FROM shop.unlogged), (SELECT count(*) FROM shop.customer)"); got != "0|4000" {
		t.Errorf("rows %s", got)
	}
}

// TestMoney: what a database or a role sets for money is not what values come and go in, neither here nor in pg_dump.
func TestMoney(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "ALTER DATABASE "+db+" SET lc_monetary = 'C.UTF-8'; CREATE TABLE t (m money DEFAULT '1.50'); INSERT INTO t VALUES ('12.34')")
	if got := s.Query(db, "SHOW lc_monetary"); got != "C.UTF-8" {
		t.Fatalf("lc_monetary is %s", got)
	}
	source := openSource(t, s.URL(db), "")
	c, err := source.connect(t.Context(), "test")
	requireNoError(t, "connect", err)
	defer c.close(t.Context())
	tool, err := pgconn.Connect(t.Context(), source.tool.public)
	requireNoError(t, "connect as programs do", err)
	defer func() { _ = tool.Close(context.WithoutCancel(t.Context())) }()
	for what, c := range map[string]*conn{"sessions": c, "programs": {PgConn: tool}} {
		if got, err := c.text(t.Context(), "SHOW lc_monetary"); err != nil || got != "C" {
			t.Errorf("lc_monetary of %s is %s, %v", what, got, err)
		}
	}
	dumpDatabase(t, s.URL(db), "", nil).mustProve(t, s, s.NewName())
}
