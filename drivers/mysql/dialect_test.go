package mysql

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// servers are versions as the servers say them.
func servers() map[string]dialect {
	return map[string]dialect{
		"MariaDB 10.4":   parseServer("10.4.32-MariaDB-log", ""),
		"MariaDB 10.5":   parseServer("5.5.5-10.5.23-MariaDB-0+deb11u1", "Debian 11"),
		"MariaDB 10.6":   parseServer("10.6.16-MariaDB-1:10.6.16+maria~ubu2004", ""),
		"MariaDB 10.11":  parseServer("10.11.19-MariaDB-0+deb12u1", "Debian 12"),
		"MariaDB 11.4":   parseServer("11.4.2-MariaDB-ubu2404", ""),
		"MariaDB 11.8":   parseServer("11.8.1", "MariaDB Server"),
		"MySQL 5.7":      parseServer("5.7.44-log", "MySQL Community Server (GPL)"),
		"MySQL 8.0":      parseServer("8.0.36-0ubuntu0.22.04.1", "(Ubuntu)"),
		"MySQL 8.4":      parseServer("8.4.0", "MySQL Community Server - GPL"),
		"MySQL 9.0":      parseServer("9.0.1", "MySQL Community Server - GPL"),
		"MySQL 8.0 Aura": parseServer("8.0.mysql_aurora.3.04.0", "MySQL Community Server (GPL)"),
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	got := make(map[string]string)
	for name, s := range servers() {
		got[name] = s.String()
	}
	want := map[string]string{
		"MariaDB 10.4": "MariaDB 10.4.32", "MariaDB 10.5": "MariaDB 10.5.23", "MariaDB 10.6": "MariaDB 10.6.16", "MariaDB 10.11": "MariaDB 10.11.19",
		"MariaDB 11.4": "MariaDB 11.4.2", "MariaDB 11.8": "MariaDB 11.8.1", "MySQL 5.7": "MySQL 5.7.44", "MySQL 8.0": "MySQL 8.0.36",
		"MySQL 8.4": "MySQL 8.4.0", "MySQL 9.0": "MySQL 9.0.1", "MySQL 8.0 Aura": "MySQL 8.0.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestLockPlans(t *testing.T) {
	t.Parallel()
	flush := []string{"FLUSH TABLES WITH READ LOCK"}
	stages := lockPlan{
		ddl: []string{"BACKUP STAGE START", "BACKUP STAGE FLUSH", "BACKUP STAGE BLOCK_DDL"},
		all: []string{"BACKUP STAGE BLOCK_COMMIT"}, release: []string{"BACKUP STAGE END"},
	}
	instance := lockPlan{
		all: flush, turns: true, keep: []string{"LOCK INSTANCE FOR BACKUP"},
		allow: []string{"UNLOCK TABLES"}, release: []string{"UNLOCK TABLES", "UNLOCK INSTANCE"},
	}
	plain := lockPlan{all: flush, turns: true, release: []string{"UNLOCK TABLES"}}
	for name, want := range map[string]lockPlan{
		"MariaDB 10.4": plain, "MariaDB 10.5": stages, "MariaDB 10.6": stages, "MariaDB 10.11": stages, "MariaDB 11.4": stages, "MariaDB 11.8": stages,
		"MySQL 5.7": plain, "MySQL 8.0": instance, "MySQL 8.4": instance, "MySQL 9.0": instance,
	} {
		if diff := cmp.Diff(want, servers()[name].lockPlan(), cmp.AllowUnexported(lockPlan{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestStatementsThatDiffer(t *testing.T) {
	t.Parallel()
	type forms struct {
		Position, GTID, Snapshot, Double, Identity string
		History, Accounts                          bool
	}
	const (
		status    = "SHOW MASTER STATUS"
		gtid      = "SELECT @@GLOBAL.gtid_binlog_pos"
		executed  = "SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')"
		snapshot  = "SHOW STATUS LIKE 'Binlog_snapshot_%'"
		double    = "CAST(c AS DOUBLE)"
		uuid      = "SELECT @@GLOBAL.server_uuid"
		noUUID    = "SELECT CONCAT(@@GLOBAL.hostname, ':', @@GLOBAL.port, ':', @@GLOBAL.datadir, ':', @@GLOBAL.server_id)"
		newStatus = "SHOW BINARY LOG STATUS"
	)
	want := map[string]forms{
		"MariaDB 10.4":   {status, gtid, snapshot, double, noUUID, false, true},
		"MariaDB 10.5":   {status, gtid, snapshot, double, noUUID, false, true},
		"MariaDB 10.6":   {status, gtid, snapshot, double, noUUID, false, true},
		"MariaDB 10.11":  {status, gtid, snapshot, double, noUUID, true, true},
		"MariaDB 11.4":   {status, gtid, snapshot, double, noUUID, true, true},
		"MariaDB 11.8":   {status, gtid, snapshot, double, noUUID, true, true},
		"MySQL 5.7":      {status, executed, "", "c*1e0", uuid, false, false},
		"MySQL 8.0":      {status, executed, "", double, uuid, false, false},
		"MySQL 8.4":      {newStatus, executed, "", double, uuid, false, false},
		"MySQL 9.0":      {newStatus, executed, "", double, uuid, false, false},
		"MySQL 8.0 Aura": {status, executed, "", "c*1e0", uuid, false, false},
	}
	got := make(map[string]forms)
	for name, s := range servers() {
		got[name] = forms{
			s.positionSQL(), s.gtidSQL(), s.snapshotPositionSQL(), s.doubleSQL("c"), s.identitySQL(), s.keepsHistory(),
			strings.Contains(s.accountsSQL(), "is_role"),
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statements (-want +got):\n%s", diff)
	}
}

// TestSessionsKnowTheirVariables looks for variables that only some servers have.
func TestSessionsKnowTheirVariables(t *testing.T) {
	t.Parallel()
	for name, s := range servers() {
		all := strings.Join(append(append(s.sessionSQL(), s.writeSQL()...), s.databaseSQL()), "; ")
		for variable, has := range map[string]bool{
			"max_statement_time=":               s.flavour == mariadb,
			"max_execution_time=":               s.flavour == mysqlServer && s.version > 50708,
			"idle_transaction_timeout=":         s.flavour == mariadb,
			"information_schema_stats_expiry=0": s.isMySQL(80000),
			"print_identified_with_as_hex=1":    s.isMySQL(80017),
			"check_constraint_checks=0":         s.flavour == mariadb,
			"system_versioning_insert_history":  s.isMariaDB(101100),
			"SCHEMA_COMMENT":                    s.isMariaDB(100500),
			"unique_checks":                     false, // it locks whole tables since MariaDB 10.6, and what it spares is built after the rows
		} {
			if strings.Contains(all, variable) != has {
				t.Errorf("%s: %s is set: %v", name, variable, !has)
			}
		}
		for _, each := range []string{"time_zone='+00:00'", "character_set_results=NULL", "sql_mode=''", "foreign_key_checks=0", "NO_AUTO_VALUE_ON_ZERO", "STRICT_ALL_TABLES"} {
			if !strings.Contains(all, each) {
				t.Errorf("%s lacks %s", name, each)
			}
		}
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	const old = "STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER,ANSI_QUOTES"
	if got := servers()["MySQL 8.0"].mode(old); got != "STRICT_TRANS_TABLES,ANSI_QUOTES" {
		t.Errorf("MySQL 8 gets %s", got)
	}
	for _, name := range []string{"MariaDB 10.11", "MySQL 5.7"} {
		if got := servers()[name].mode(old); got != old {
			t.Errorf("%s gets %s", name, got)
		}
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	maria, mysql := servers()["MariaDB 10.11"], servers()["MySQL 8.0"]
	for _, c := range []struct {
		dataType     string
		maria, mysql columnKind
	}{
		{"int", kindNumber, kindNumber},
		{"DOUBLE", kindNumber, kindNumber},
		{"float", kindFloat, kindFloat},
		{"year", kindYear, kindYear},
		{"timestamp", kindTime, kindTime},
		{"enum", kindEnum, kindEnum},
		{"set", kindSet, kindSet},
		{"json", kindBytes, kindJSON},
		{"uuid", kindText, kindText},
		{"bit", kindBytes, kindBytes},
		{"geometry", kindBytes, kindBytes},
		{"longtext", kindBytes, kindBytes},
	} {
		if a, b := kindOf(maria, c.dataType), kindOf(mysql, c.dataType); a != c.maria || b != c.mysql {
			t.Errorf("%s is %q of MariaDB and %q of MySQL", c.dataType, a, b)
		}
	}
}

func TestColumnLists(t *testing.T) {
	t.Parallel()
	columns := []column{{"a`b", kindBytes}, {"f", kindFloat}, {"e", kindEnum}, {"s", kindSet}, {"y", kindYear}, {"j", kindText}}
	s := servers()["MariaDB 10.11"]
	if got, want := selectList(s, columns), "`a``b`, CAST(`f` AS DOUBLE), CAST(`e` AS UNSIGNED), CAST(`s` AS UNSIGNED), CAST(`y` AS CHAR), `j`"; got != want {
		t.Errorf("selectList = %s", got)
	}
	want := "(`a``b`, @c1, @c2, @c3, `y`, @c5) SET `f` = @c1, `e` = CAST(@c2 AS UNSIGNED), `s` = CAST(@c3 AS UNSIGNED), `j` = CONVERT(@c5 USING utf8mb4)"
	if got := loadList(columns); got != want {
		t.Errorf("loadList = %s", got)
	}
	if a, b := selectList(s, nil), loadList(nil); a != "''" || b != "(@c0)" {
		t.Errorf("of a table without columns to name: %s, %s", a, b)
	}
	for value, want := range map[string]string{"": "X''", "a'\x00": "X'612700'"} {
		if got := string((column{}).insertSQL(nil, []byte(value))); got != want {
			t.Errorf("insertSQL(%q) = %s", value, got)
		}
	}
	if got := string((column{Kind: kindNumber}).insertSQL(nil, nil)); got != "NULL" {
		t.Errorf("insertSQL(nil) = %s", got)
	}
}

func TestRangeSQL(t *testing.T) {
	t.Parallel()
	key := []keyColumn{{Name: "a", Kind: boundNumber}, {Name: "b", Kind: boundBytes, Charset: "latin1"}}
	r := &ref{Table: "t", Columns: []column{{Name: "a"}}, Key: key, KeyName: "PRIMARY", From: []string{"1", "c4"}, To: []string{"2", ""}}
	want := "SELECT `a` FROM `t` FORCE INDEX (`PRIMARY`) WHERE (`a` > 1 OR (`a` = 1 AND `b` > _latin1 X'c4')) AND (`a` < 2 OR (`a` = 2 AND `b` <= _latin1 X'')) ORDER BY `a`, `b`"
	if got := r.selectSQL(servers()["MySQL 8.0"]); got != want {
		t.Errorf("selectSQL = %s", got)
	}
	for _, bad := range []string{"1 OR 1=1", "--1", "1--", "x", ""} {
		if got := key[0].literal(bad); !strings.HasPrefix(got, "'") {
			t.Errorf("a bound %q is written as %s", bad, got)
		}
		if got := key[1].literal(bad + "'"); !strings.HasPrefix(got, "'") {
			t.Errorf("a bound %q is written as %s", bad, got)
		}
	}
}
