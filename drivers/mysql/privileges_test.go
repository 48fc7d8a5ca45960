package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/internal/testenv"
)

// TestErrors shows every error that a user can cause: its class, what it names, and that it says what to do.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{Password: "secret word"})
	db := seeded(t, s)
	d := dumpDatabase(t, s.URL(db), "")
	s.Exec("", "CREATE DATABASE target; CREATE DATABASE full_of; CREATE TABLE full_of.t (i int)")
	account := func(name string, grants ...string) string {
		s.Exec("", fmt.Sprintf("CREATE USER %s IDENTIFIED BY 'hidden'", name))
		for _, grant := range grants {
			if s.MySQL {
				grant = strings.NewReplacer("RELOAD ON", "RELOAD, BACKUP_ADMIN ON", "SELECT ON mysql.proc", "SHOW_ROUTINE ON *.*").Replace(grant)
			}
			s.Exec("", fmt.Sprintf("GRANT %s TO %s", strings.ReplaceAll(grant, "DB", db), name))
		}
		return name
	}
	// idle gives an account a role that may see the database, and has it play that role only where it is active.
	idle := func(name string, active bool) string {
		s.Exec("", "CREATE ROLE IF NOT EXISTS sees; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON "+db+".* TO sees; GRANT sees TO "+name)
		if active && s.MySQL {
			s.Exec("", "SET DEFAULT ROLE sees TO "+name)
		} else if active {
			s.Exec("", "SET DEFAULT ROLE sees FOR "+name)
		}
		return name
	}
	dump := func(url, options string) error {
		v, err := openSource(t, url, options).Freeze(t.Context())
		if err != nil {
			return err
		}
		_, err = dumpView(t.Context(), v)
		return err
	}
	restore := func(url string) error {
		rules := d.rules()
		rules.Create = false
		return d.restore(t.Context(), openSource(t, url, ""), rules)
	}
	gone := testenv.FreePort(t)
	for name, c := range map[string]struct {
		err   error
		class error
		names string
	}{
		"server down":        {dump(fmt.Sprintf("mysql://u:hidden@127.0.0.1:%d/db", gone), ""), nil, "connection refused"},
		"no such host":       {dump("mysql://u:hidden@nowhere.invalid/db", ""), nil, "nowhere.invalid"},
		"wrong password":     {dump(s.URLAs(db, testenv.MariaDBUser, "hidden"), ""), drivers.ErrAccess, "Access denied"},
		"no such account":    {dump(s.URLAs(db, "nobody", "hidden"), ""), drivers.ErrAccess, "Access denied"},
		"no database":        {dump(s.URL("nothing"), ""), drivers.ErrNotFound, "nothing"},
		"no right at all":    {dump(s.URLAs(db, account("blind"), "hidden"), ""), drivers.ErrAccess, "Access denied"},
		"enough":             {dump(s.URLAs(db, account("enough", "RELOAD ON *.*", "SELECT, SHOW VIEW, TRIGGER, EVENT ON DB.*", "SELECT ON mysql.proc"), "hidden"), ""), nil, ""},
		"no rows":            {dump(s.URLAs(db, account("rowless", "RELOAD ON *.*", "SHOW VIEW, TRIGGER, EVENT, INSERT ON DB.*"), "hidden"), ""), drivers.ErrAccess, "SELECT"},
		"no views":           {dump(s.URLAs(db, account("viewless", "RELOAD ON *.*", "SELECT, TRIGGER, EVENT ON DB.*", "SELECT ON mysql.proc"), "hidden"), ""), drivers.ErrAccess, "grouped"},
		"no triggers":        {dump(s.URLAs(db, account("triggerless", "RELOAD ON *.*", "SELECT, SHOW VIEW, EVENT ON DB.*", "SELECT ON mysql.proc"), "hidden"), ""), drivers.ErrAccess, "trigger"},
		"no routines":        {dump(s.URLAs(db, account("routineless", "RELOAD ON *.*", "SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON DB.*"), "hidden"), ""), drivers.ErrAccess, "p"},
		"one table":          {dump(s.URLAs(db, account("partial", "RELOAD ON *.*", "EVENT ON DB.*", "SELECT, TRIGGER ON DB.customer", "SELECT ON mysql.proc"), "hidden"), ""), drivers.ErrAccess, "tables"},
		"one column":         {dump(s.URLAs(db, account("columnar", "RELOAD ON *.*", "TRIGGER ON DB.*", "SELECT (id) ON DB.customer"), "hidden"), `{"tables": ["customer"]}`), drivers.ErrAccess, "columns"},
		"fits a pattern":     {dump(s.URLAs(db, account("fitting", "RELOAD ON *.*", "TRIGGER ON DB.*", "SELECT ON DB.customer"), "hidden"), `{"tables": ["c*"]}`), drivers.ErrAccess, "fit c*"},
		"an idle role":       {dump(s.URLAs(db, idle(account("resting", "RELOAD ON *.*", "EVENT ON DB.*", "SELECT, TRIGGER ON DB.customer", "SELECT ON mysql.proc"), false), "hidden"), ""), drivers.ErrAccess, "tables"},
		"an active role":     {dump(s.URLAs(db, idle(account("working", "RELOAD ON *.*", "SELECT ON mysql.proc"), true), "hidden"), ""), nil, ""},
		"a table by name":    {dump(s.URLAs(db, account("named", "RELOAD ON *.*", "SHOW VIEW, TRIGGER ON DB.*", "SELECT ON DB.customer"), "hidden"), `{"tables": ["customer"]}`), nil, ""},
		"target is missing":  {restore(s.URL("absent")), drivers.ErrNotFound, "absent"},
		"target is not mine": {restore(s.URLAs("target", account("reader", "SELECT ON target.*"), "hidden")), drivers.ErrAccess, "target"},
		"target is full":     {restore(s.URL("full_of")), drivers.ErrNotEmpty, "it has t"},
		"target is server's": {restore(s.URL("mysql")), drivers.ErrInvalid, "mysql"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.names == "" {
				if c.err != nil {
					t.Errorf("%v (hint %q)", c.err, hintText(c.err))
				}
				return
			}
			if c.err == nil || c.class != nil && !errors.Is(c.err, c.class) || !strings.Contains(c.err.Error(), c.names) || hintText(c.err) == "" {
				t.Errorf("%v (hint %q), want %v with %q and a hint", c.err, hintText(c.err), c.class, c.names)
			}
			if c.class == nil {
				mayPass(t, name, c.err)
			}
			if text := fmt.Sprint(c.err, hintText(c.err)); strings.Contains(text, "hidden") || strings.Contains(text, "secret word") {
				t.Errorf("a secret is shown: %s", text)
			}
		})
	}
	// What failed changed nothing.
	if got := s.Query("", "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema IN ('target', 'absent') OR table_name LIKE 'salvor%'"); got != "0" {
		t.Errorf("%s tables were made by restores that failed", got)
	}
}

// TestWithoutLock dumps by accounts that may not lock the server: by a position of the binary log that does not move, or by one
// session.
func TestWithoutLock(t *testing.T) {
	t.Parallel()
	for _, binlog := range []bool{true, false} {
		t.Run(fmt.Sprint("binlog ", binlog), func(t *testing.T) {
			t.Parallel()
			s := testenv.MariaDB(t, testenv.MariaDBOptions{Binlog: binlog})
			db := seeded(t, s)
			s.Exec(db, bank)
			s.Exec("", fmt.Sprintf("CREATE USER plain; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON %s.* TO plain; GRANT SELECT ON mysql.* TO plain", db))
			if s.MySQL {
				s.Exec("", "GRANT SHOW_ROUTINE ON *.* TO plain")
			}
			url := s.URLAs(db, "plain", "")
			d := dumpDatabase(t, url, `{"chunk": 65536}`)
			want := methodOne
			if binlog {
				want = methodPosition
			}
			if d.facts.Method != want {
				t.Errorf("the view was opened by %s, want %s", d.facts.Method, want)
			}
			d.mustProve(t, s, s.NewName())

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var clerks errgroup.Group
			for i := range 2 {
				c := someone(t, s, db)
				clerks.Go(func() error { return transfer(ctx, c, rand.New(rand.NewPCG(uint64(i), 8))) })
			}
			for range 5 {
				d := dumpDatabase(t, url, `{"chunk": 65536}`)
				name := s.NewName()
				d.mustProve(t, s, name)
				if got := s.Query(name, "SELECT (SELECT SUM(balance) FROM accounts) + (SELECT SUM(balance) FROM others)"); got != "1800000" {
					t.Errorf("a copy that was dumped by %s holds %s", d.facts.Method, got)
				}
			}
			stop()
			requireNoError(t, "transfer", clerks.Wait())
			// A table that is in no snapshot is refused, and named.
			s.Exec(db, "CREATE TABLE old (i int) ENGINE = MyISAM; INSERT INTO old VALUES (1)")
			_, err := openSource(t, url, "").Freeze(t.Context())
			if !errors.Is(err, drivers.ErrAccess) || !strings.Contains(err.Error(), "old") || !strings.Contains(hintText(err), "RELOAD") {
				t.Errorf("freeze of a table without transactions, without a lock = %v (hint %q)", err, hintText(err))
			}
		})
	}
}

// TestPacket dumps and restores rows that are larger than a server takes: it is exact, or refused in clear words.
func TestPacket(t *testing.T) {
	t.Parallel()
	s := server(t, "max_allowed_packet=64M")
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (i int PRIMARY KEY, b longblob, c longblob)")
	s.Exec(db, "INSERT INTO t VALUES (1, REPEAT('x', 10000), NULL), (2, REPEAT(x'5c', 3000000), REPEAT('\n', 3000000)), (3, '', '')")
	d := dumpDatabase(t, s.URL(db), "")
	for _, infile := range []string{"1", "0"} {
		target := server(t, "max_allowed_packet=1M", "local_infile="+infile)
		name := target.NewName()
		err := d.restore(t.Context(), openSource(t, target.URL(name), ""), d.rules())
		switch {
		case err == nil:
			d.mustBeProved(t, target, name)
		case !errors.Is(err, drivers.ErrFailed) || !strings.Contains(hintText(err), "max_allowed_packet"):
			t.Errorf("restore of a row that is too large, local_infile=%s: %v (hint %q)", infile, err, hintText(err))
		default:
			// It goes on when the server takes it.
			target.Restart("max_allowed_packet=64M")
			requireNoError(t, "restore again", d.restore(t.Context(), openSource(t, target.URL(name), ""), d.rules()))
			d.mustBeProved(t, target, name)
		}
	}
	// The source's own limit.
	s.Restart("max_allowed_packet=1M")
	v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	got, err := dumpView(t.Context(), v)
	switch {
	case err == nil:
		if len(got.parts) != len(d.parts) || string(got.content[got.part(t, "t").Name]) != string(d.content[d.part(t, "t").Name]) {
			t.Error("the dump by small packets differs")
		}
	case !errors.Is(err, drivers.ErrFailed) || !strings.Contains(hintText(err), "max_allowed_packet"):
		t.Errorf("dump of a row that is too large: %v (hint %q)", err, hintText(err))
	}
}

// TestServerSettings dumps and restores on servers whose settings are unlike this driver's.
func TestServerSettings(t *testing.T) {
	t.Parallel()
	s := server(t, "sql_mode=NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH", "default_time_zone=-11:30", "character_set_server=sjis",
		"autocommit=0", "init_connect=SET NAMES latin1", "transaction_isolation=READ-COMMITTED", "completion_type=CHAIN")
	db := features(t, s)
	for _, setting := range [][]string{
		{"sql_mode=STRICT_ALL_TABLES,TRADITIONAL,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_BACKSLASH_ESCAPES", "default_time_zone=+13:00", "character_set_server=utf16"},
		{"local_infile=0", "sql_mode=NO_BACKSLASH_ESCAPES", "autocommit=0", "innodb_strict_mode=0"},
	} {
		target := server(t, append(setting, "event_scheduler=ON")...)
		d := dumpDatabase(t, s.URL(db), `{"chunk": 65536}`)
		name := target.NewName()
		d.mustProve(t, target, name)
		requireSame(t, s, db, target, name)
	}
}

// TestCancelled ends a dump and a restore in the middle; nothing goes on.
func TestCancelled(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := seeded(t, s)
	d := dumpDatabase(t, s.URL(db), "")
	ctx, cancel := context.WithCancelCause(t.Context())
	v, err := openSource(t, s.URL(db), "").Freeze(t.Context())
	requireNoError(t, "freeze", err)
	requireNoError(t, "parts", v.Parts(t.Context(), func(p drivers.Part) error {
		if strings.HasPrefix(p.Name, "customer") {
			_, err := v.Dump(ctx, p, &crasher{crash: func() { cancel(errNone) }})
			if !errors.Is(err, errNone) {
				t.Errorf("cancelled dump of %s: %v", p.Name, err)
			}
		}
		return nil
	}))
	requireNoError(t, "end", v.End(t.Context()))

	name := s.NewName()
	target, rules := openSource(t, s.URL(name), ""), d.rules()
	requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
	part := d.part(t, "customer")
	ctx, cancel = context.WithCancelCause(t.Context())
	in, out := io.Pipe()
	go func() {
		_, _ = out.Write(d.content[part.Name][:1000])
		cancel(errNone)
		_ = out.CloseWithError(context.Canceled) // as what reads an archive ends with its context
	}()
	err = target.Load(ctx, rules, drivers.Attempt{Run: rules.Run, Task: "t", Token: "x"}, part, in)
	if !errors.Is(err, errNone) {
		t.Errorf("cancelled load: %v", err)
	}
	if got := s.Query(name, "SELECT COUNT(*) FROM customer"); got != "0" {
		t.Errorf("%s rows of a cancelled load", got)
	}
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	d.mustBeProved(t, s, name)
}

// TestTLS connects to a server that takes connections by TLS alone.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := testenv.MariaDB(t, testenv.MariaDBOptions{TLS: true, Password: `p@:/?#%w`})
	other := testenv.MariaDB(t, testenv.MariaDBOptions{TLS: true})
	db := seeded(t, s)
	plain, _, _ := strings.Cut(s.URL(db), "?")
	d := dumpDatabase(t, s.URL(db), "")
	d.mustProve(t, s, s.NewName())
	for query, works := range map[string]bool{
		"": true, "?tls=preferred": true, "?tls=required": true, "?tls=disabled": false, "?tls=verify-full": false, "?tls=verify-ca": false,
		"?ca=" + s.Dir + "/server.crt": true, "?tls=verify-ca&ca=" + s.Dir + "/server.crt": true,
		"?ca=" + other.Dir + "/server.crt": false, "?tls=verify-full&ca=" + other.Dir + "/server.crt": false,
	} {
		v, err := openSource(t, plain+query, "").Freeze(t.Context())
		if works {
			requireNoError(t, "freeze by "+query, err)
			requireNoError(t, "end", v.End(t.Context()))
		} else if err == nil || hintText(err) == "" {
			t.Errorf("freeze by %s = %v (hint %q)", query, err, hintText(err))
		}
	}
	// By its name the server is another one than by its address.
	named := strings.Replace(s.URL(db), "127.0.0.1", "localhost", 1)
	dumpDatabase(t, named, "").mustProve(t, s, s.NewName())
	dumpDatabase(t, s.SocketURL(db), "").mustProve(t, s, s.NewName())
}
