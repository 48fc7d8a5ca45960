package mysql

import (
	"errors"
	"strings"
	"testing"

	"salvor/drivers"
)

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]place{
		"mysql://u:p%40w@h:3307/d":                 {user: "u", password: "p@w", host: "h", port: 3307, database: "d", tls: tlsPreferred},
		"mysql://u@[::1]/my%2Fdb%20%C3%A9":         {user: "u", host: "::1", port: 3306, database: "my/db é", tls: tlsPreferred},
		"mysql://u@localhost/d?socket=/run/x.sock": {user: "u", port: 3306, socket: "/run/x.sock", database: "d", tls: tlsDisabled},
		"mysql://u@/d?socket=/run/x.sock":          {user: "u", port: 3306, socket: "/run/x.sock", database: "d", tls: tlsDisabled},
		"mysql://u@h/d?tls=verify-full":            {user: "u", host: "h", port: 3306, database: "d", tls: tlsVerifyFull},
		"mysql://u@h/d?ca=/a.pem":                  {user: "u", host: "h", port: 3306, database: "d", tls: tlsVerifyCA, ca: "/a.pem"},
		"mysql://u@h/d?cert=/c&key=/k":             {user: "u", host: "h", port: 3306, database: "d", tls: tlsRequired, cert: "/c", key: "/k"},
		"mysql://u@h":                              {user: "u", host: "h", port: 3306, tls: tlsPreferred},
	} {
		p, err := parsePlace(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		p.url = nil
		if *p != want {
			t.Errorf("%s = %+v, want %+v", text, *p, want)
		}
	}
}

func TestBadPlaces(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "u:hunter2@h/d", "host=h password=hunter2", "mariadb://u:hunter2@h/d", "mysql:/d", "mysql://u:hunter2@h:port/d", "mysql://u:hunter2@h:0/d",
		"mysql://u:hunter2@h/d/e", "mysql://u:hunter2@h/d#e", "mysql://u:hun#ter2@h/d", "mysql://u:hunter2@h/d?password=hunter2", "mysql://u:hunter2@h/d?hunter2@x=1",
		"mysql://u:hunter2@h/d?tls=hunter2", "mysql://u:hunter2@h/d?tls=required&tls=disabled", "mysql://u:hunter2@h/d?ca=", "mysql://u:hunter2@h/d?cert=/a",
		"mysql://u:hunter2@h/d?socket=/a", "mysql://u:hunter2@/d", "mysql://u:hunter2@localhost/d?socket=a", "mysql://u:hunter2@localhost/d?socket=/a&tls=verify-full",
		"mysql://u:hunter2@h/%zz", "mysql://u:hunter2%zz@h/d", "mysql://u:hunter2@h/d?a;b", "mysql://u:hunter2@h/d\x00",
	} {
		_, err := parsePlace(text)
		if !errors.Is(err, drivers.ErrInvalid) || strings.Contains(err.Error(), "hunter2") || hintText(err) == "" {
			t.Errorf("%q: %v (hint %q)", text, err, hintText(err))
		}
	}
}

func TestRenamed(t *testing.T) {
	t.Parallel()
	p, err := parsePlace("mysql://u:p%40w@h/d?tls=required")
	requireNoError(t, "parse", err)
	other, err := parsePlace(p.renamed("a/b c"))
	requireNoError(t, "parse renamed", err)
	if other.database != "a/b c" || other.password != "p@w" || other.tls != tlsRequired {
		t.Errorf("renamed = %s", p.renamed("a/b c"))
	}
}

func FuzzParsePlace(f *testing.F) {
	f.Add("mysql://u:secret@h:3306/d?tls=required")
	f.Add("mysql://u@localhost/d?socket=/x")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlace(text)
		if err != nil {
			return
		}
		again, err := parsePlace(p.renamed(p.database))
		if err != nil {
			t.Fatalf("%q renamed to its own database: %v", text, err)
		}
		p.url, again.url = nil, nil
		if *p != *again {
			t.Fatalf("%q: %+v, then %+v", text, *p, *again)
		}
	})
}
