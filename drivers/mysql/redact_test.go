package mysql

import (
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"CREATE USER `u`@`%` IDENTIFIED BY PASSWORD '*HUNTER2'":                        "CREATE USER `u`@`%` IDENTIFIED BY PASSWORD '[redacted]'",
		"CREATE USER u IDENTIFIED BY 'hunter2' REQUIRE SSL":                            "CREATE USER u IDENTIFIED BY '[redacted]' REQUIRE SSL",
		"CREATE USER u IDENTIFIED WITH 'caching_sha2_password' AS 0x68756E7465723220":  "CREATE USER u IDENTIFIED WITH 'caching_sha2_password' AS '[redacted]'",
		"CREATE USER u IDENTIFIED VIA ed25519 USING 'hunter2' OR unix_socket":          "CREATE USER u IDENTIFIED VIA ed25519 USING '[redacted]' OR unix_socket",
		"CREATE SERVER s OPTIONS (HOST 'h', PASSWORD 'hunter2')":                       "CREATE SERVER s OPTIONS (HOST 'h', PASSWORD '[redacted]')",
		"CREATE TABLE t (a int) ENGINE=FEDERATED CONNECTION='mysql://u:hunter2@h/d/t'": "CREATE TABLE t (a int) ENGINE=FEDERATED CONNECTION='[redacted]'",
		"CREATE PROCEDURE p() SET PASSWORD = 'hunter2' /* IDENTIFIED BY 'hunter2' */":  "CREATE PROCEDURE p() SET PASSWORD = '[redacted]' /* */",
		"SELECT 'nothing'": "SELECT 'nothing'",
	} {
		if got := redact(sql); got != want {
			t.Errorf("redact(%s) = %s", sql, got)
		}
	}
	if got := redact("CREATE USER u IDENTIFIED BY 'hunter2"); strings.Contains(got, "hunter2") {
		t.Errorf("an open quote shows %s", got)
	}
	err := statementError("restore user u", "CREATE USER u IDENTIFIED BY 'hunter2'", &mysql.MySQLError{Number: 1064, Message: "near 'hunter2'"})
	if strings.Contains(err.Error(), "hunter2") || !isCode(err, 1064) {
		t.Errorf("err = %v", err)
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	for code, want := range map[uint16]string{
		1045: "access denied", 1044: "access denied", 1227: "access denied", 1142: "access denied", 1698: "access denied", 1049: "does not exist",
		1021: "no space left", 1114: "no space left", 1064: "failed", 1062: "failed", 1366: "failed", 1205: "", 1213: "", 1040: "", 1317: "", 2013: "failed",
	} {
		err := classify(&mysql.MySQLError{Number: code})
		got, _, _ := strings.Cut(err.Error(), ":")
		if want == "" {
			want = "Error " + got[len("Error "):]
		}
		if got != want {
			t.Errorf("%d is %q, want %q", code, got, want)
		}
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	var g grants
	for _, line := range []string{
		"GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*X'",
		"GRANT SELECT, SHOW VIEW, INSERT (`a, b`, `TRIGGER`), TRIGGER ON `shop\\_%`.* TO `u`@`%`",
		"GRANT EVENT ON `shop_1`.`t` TO `u`@`%`",
		"GRANT EXECUTE ON PROCEDURE `shop_1`.`p` TO `u`@`%`",
		"GRANT ALL PRIVILEGES ON `own`.* TO `u`@`%` WITH GRANT OPTION",
		"GRANT PROCESS, RELOAD ON *.* TO `u`@`%`",
		"REVOKE RELOAD ON `secret`.* FROM `u`@`%`",
	} {
		if one, role, ok := parseGrant(line); ok && role == "" {
			g.list = append(g.list, one)
		}
	}
	for _, c := range []struct {
		database, table, right string
		want                   bool
	}{
		{"shop_1", "t", "TRIGGER", true},
		{"shop_1", "t", "SHOW VIEW", true},
		{"shop1", "t", "TRIGGER", false},
		{"shop_1", "t", "EVENT", true},
		{"shop_1", "u", "EVENT", false},
		{"shop_1", "*", "EXECUTE", false},
		{"own", "x", "EVENT", true},
		{"secret", "x", "RELOAD", false},
		{"secret", "x", "PROCESS", true},
		{"shop", "x", "RELOAD", true},
		{"other", "x", "SELECT", false},
	} {
		if got := g.have(c.database, c.table, c.right); got != c.want {
			t.Errorf("%s on %s.%s: %v", c.right, c.database, c.table, got)
		}
	}
	for line, want := range map[string]string{"GRANT `r` TO `u`@`%`": "`r`", "GRANT `r`@`%` TO `u`@`%`": "`r`@`%`"} {
		if _, role, ok := parseGrant(line); !ok || role != want {
			t.Errorf("%s gives the role %s", line, role)
		}
	}
	for current, want := range map[string]bool{"": false, "NONE": false, "r": true, "`q`@`%`,`r`@`%`": true, "`r`@`h`": false, "rr": false} {
		if got := activeRole("`r`@`%`", current); got != want {
			t.Errorf("the role is active among %q: %v", current, got)
		}
	}
	if (grants{}).have("d", "t", "SELECT") || !(grants{unknown: true}).have("d", "t", "SELECT") {
		t.Error("who has no rights has one, or whose rights are not known has none")
	}
}
