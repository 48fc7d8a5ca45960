package mysql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// flavour is whose server it is.
type flavour int

const (
	mysqlServer flavour = iota
	mariadb
)

// dialect is what the statements that differ depend on.
type dialect struct {
	flavour flavour
	version int // 101119, 80036
	text    string
}

// parseServer reads 10.11.19-MariaDB-0+deb12u1, 5.5.5-10.6.12-MariaDB, 8.0.36-0ubuntu0.22.04.1, 8.0.mysql_aurora.3.04.0.
func parseServer(version, comment string) dialect {
	s := dialect{text: version}
	if strings.Contains(strings.ToLower(version+" "+comment), "mariadb") {
		s.flavour = mariadb
		version = strings.TrimPrefix(version, "5.5.5-") // what MariaDB says to old replicas
	}
	for i, part := range strings.SplitN(version, ".", 3) {
		end := 0
		for end < len(part) && part[end] >= '0' && part[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(part[:end])
		if err != nil {
			break
		}
		s.version += n * []int{10000, 100, 1}[i]
	}
	return s
}

func (s dialect) isMariaDB(atLeast int) bool { return s.flavour == mariadb && s.version >= atLeast }
func (s dialect) isMySQL(atLeast int) bool   { return s.flavour == mysqlServer && s.version >= atLeast }

// String is the server as messages name it.
func (s dialect) String() string {
	name := "MySQL"
	if s.flavour == mariadb {
		name = "MariaDB"
	}
	return fmt.Sprintf("%s %d.%d.%d", name, s.version/10000, s.version/100%100, s.version%100)
}

// The modes of sessions. Reading takes the server's own forms; writing is strict, and lets every value in that a table can hold.
const (
	readMode  = ""
	writeMode = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"
)

// forever is the longest timeout, in seconds, that every server takes for a session that waits.
const forever = 2147483

// sessionSQL sets what makes values come and go in one form, whatever the server's settings are, and lets no timeout end a
// session.
func (s dialect) sessionSQL() []string {
	list := []string{
		"autocommit=1", "completion_type=0", "sql_mode=''", "time_zone='+00:00'", "character_set_results=NULL", "sql_quote_show_create=1", "sql_safe_updates=0",
		"sql_select_limit=18446744073709551615", "sql_big_selects=1",
		fmt.Sprintf("wait_timeout=%d", forever), "net_read_timeout=3600", "net_write_timeout=3600",
	}
	if !s.isMySQL(80000) {
		list = append(list, "max_error_count=64") // or the catalog leaves out what it cannot open and says nothing; MySQL 8 keeps one
	}
	if s.isMariaDB(100101) {
		list = append(list, "max_statement_time=0")
	}
	if s.isMariaDB(100300) {
		list = append(list, "idle_transaction_timeout=0", "idle_readonly_transaction_timeout=0", "system_versioning_asof=DEFAULT")
	}
	if s.isMySQL(50708) {
		list = append(list, "max_execution_time=0")
	}
	if s.isMySQL(80000) {
		list = append(list, "information_schema_stats_expiry=0") // or AUTO_INCREMENT is a day old
	}
	if s.isMySQL(80017) {
		list = append(list, "print_identified_with_as_hex=1") // hashes of caching_sha2_password hold any bytes
	}
	return []string{
		"SET NAMES utf8mb4",
		"SET SESSION " + strings.Join(list, ", "),
		"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
	}
}

// writeSQL is what a restore's sessions set beside that.
func (s dialect) writeSQL() []string {
	list := []string{"sql_mode='" + writeMode + "'", "foreign_key_checks=0", fmt.Sprintf("lock_wait_timeout=%d", forever)}
	if s.isMariaDB(100201) {
		list = append(list, "check_constraint_checks=0")
	}
	if s.isMariaDB(101100) {
		list = append(list, "system_versioning_insert_history=1")
	}
	if s.isMariaDB(100300) {
		list = append(list, "system_versioning_alter_history=KEEP")
	}
	return []string{"SET SESSION " + strings.Join(list, ", ")}
}

// wishSQL is what a restore's sessions set where they may: a table that the source had may break the server's rules for new ones.
func (s dialect) wishSQL() []string {
	list := []string{"SET SESSION innodb_strict_mode=0", "SET SESSION explicit_defaults_for_timestamp=1"}
	if s.isMySQL(80013) {
		list = append(list, "SET SESSION sql_require_primary_key=0")
	}
	if s.isMySQL(80030) {
		list = append(list, "SET SESSION sql_generate_invisible_primary_key=0")
	}
	return list
}

// beginSQL begins a transaction that sees the moment at which it begins.
const beginSQL = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"

// lockPlan is how a server is held still. Each step lasts until release.
type lockPlan struct {
	// ddl keeps definitions as they are, while rows change; empty where the server cannot.
	ddl []string
	// all keeps every commit away, for as long as the snapshots take.
	all []string
	// turns tells that whoever waits for that makes others wait who stand before it: a statement that waits for a row of a
	// transaction whose next statement waits for the lock. Nothing but giving up for a moment ends that.
	turns bool
	// keep keeps definitions as they are from then on; without the privilege for it one goes on without.
	keep []string
	// allow lets commits pass again and keeps definitions as they are; release lets go of everything. One of them may be empty.
	allow   []string
	release []string
}

func (s dialect) lockPlan() lockPlan {
	switch {
	case s.isMariaDB(100500):
		return lockPlan{
			ddl:     []string{"BACKUP STAGE START", "BACKUP STAGE FLUSH", "BACKUP STAGE BLOCK_DDL"},
			all:     []string{"BACKUP STAGE BLOCK_COMMIT"},
			release: []string{"BACKUP STAGE END"},
		}
	case s.isMySQL(80000):
		// The lock for definitions is the second one, as it is for everybody who changes one: the other way round the two deadlock,
		// and the server may choose the other's statement to fail.
		return lockPlan{
			all:     []string{"FLUSH TABLES WITH READ LOCK"},
			turns:   true,
			keep:    []string{"LOCK INSTANCE FOR BACKUP"},
			allow:   []string{"UNLOCK TABLES"},
			release: []string{"UNLOCK TABLES", "UNLOCK INSTANCE"},
		}
	}
	// A FLUSH TABLES before it, as others do it, would wait for what is slow while others still work; but whoever opens one of those
	// tables from then on waits too, and goes on waiting when the FLUSH gave up.
	return lockPlan{
		all:     []string{"FLUSH TABLES WITH READ LOCK"},
		turns:   true,
		release: []string{"UNLOCK TABLES"},
	}
}

// lockHint says which privileges the lock takes.
func (s dialect) lockHint() string {
	switch {
	case s.isMariaDB(100500):
		return "GRANT RELOAD ON *.* TO the account"
	case s.isMySQL(80000):
		return "GRANT RELOAD, BACKUP_ADMIN ON *.* TO the account"
	}
	return "GRANT RELOAD ON *.* TO the account"
}

// snapshotPositionSQL asks a session that has a snapshot which position of the binary log that snapshot is; "" where the server
// cannot tell.
func (s dialect) snapshotPositionSQL() string {
	if s.flavour == mariadb {
		return "SHOW STATUS LIKE 'Binlog_snapshot_%'"
	}
	return ""
}

// hiddenSQL tells whether what a replica applies may leave the position of its binary log where it is.
func (s dialect) hiddenSQL() string {
	const readOnly = "@@GLOBAL.read_only NOT IN ('0', 'OFF')"
	if s.flavour == mariadb {
		return "SELECT @@GLOBAL.log_slave_updates = 0 AND (@@GLOBAL.gtid_slave_pos <> '' OR " + readOnly + ")"
	}
	return "SELECT @@GLOBAL.gtid_executed = '' AND " + readOnly
}

// gtidSQL asks for the transactions that the server has, as anybody may.
func (s dialect) gtidSQL() string {
	if s.flavour == mariadb {
		return "SELECT @@GLOBAL.gtid_binlog_pos"
	}
	return "SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')"
}

// positionSQL asks for file and position of the binary log.
func (s dialect) positionSQL() string {
	if s.isMySQL(80200) {
		return "SHOW BINARY LOG STATUS"
	}
	return "SHOW MASTER STATUS"
}

// identitySQL names the server itself, whatever it is called. MariaDB has no name of its own: host, port and directory stand for it.
func (s dialect) identitySQL() string {
	if s.isMySQL(50600) {
		return "SELECT @@GLOBAL.server_uuid"
	}
	return "SELECT CONCAT(@@GLOBAL.hostname, ':', @@GLOBAL.port, ':', @@GLOBAL.datadir, ':', @@GLOBAL.server_id)"
}

// keepsHistory tells whether rows of the past can be written with their times.
func (s dialect) keepsHistory() bool { return s.isMariaDB(101100) }

// accountsSQL lists accounts: user, host, whether it is a role.
func (s dialect) accountsSQL() string {
	if s.isMariaDB(100005) {
		return "SELECT User, Host, is_role FROM mysql.user ORDER BY is_role DESC, User, Host"
	}
	return "SELECT User, Host, 'N' FROM mysql.user ORDER BY User, Host"
}

// doubleSQL reads a FLOAT with all its bits.
func (s dialect) doubleSQL(column string) string {
	if s.flavour == mariadb || s.isMySQL(80017) {
		return "CAST(" + column + " AS DOUBLE)"
	}
	return column + "*1e0" // not +0e0, which makes -0 a 0
}

// databaseSQL reads how the session's database was made: character set, collation, comment.
func (s dialect) databaseSQL() string {
	comment := "''"
	if s.isMariaDB(100500) {
		comment = "SCHEMA_COMMENT"
	}
	return "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME, " + comment + " FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = DATABASE()"
}

// estimateHint names an index whose rows are to be estimated. MySQL does not look into one that it is forced to take.
func (s dialect) estimateHint() string {
	if s.isMySQL(80000) {
		return "USE"
	}
	return "FORCE"
}

// keysSQL reads the columns of keys. Parts of a key that are expressions have no column.
func (s dialect) keysSQL() string {
	return `SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COALESCE(COLUMN_NAME, ''), COALESCE(SUB_PART, ''), COALESCE(COLLATION, ''), NULLABLE, INDEX_TYPE
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX`
}

// routineHint says which privilege shows the definitions of routines.
func (s dialect) routineHint() string {
	switch {
	case s.isMySQL(80020):
		return "GRANT SHOW_ROUTINE ON *.* TO the account"
	case s.isMariaDB(110300):
		return "GRANT SHOW CREATE ROUTINE on the database TO the account, or SELECT ON mysql.proc"
	}
	return "GRANT SELECT ON mysql.proc TO the account"
}

// goneModes are those that MySQL 8 does not know any more.
const goneModes = ",DB2,MAXDB,MSSQL,MYSQL323,MYSQL40,ORACLE,POSTGRESQL,NO_AUTO_CREATE_USER,NO_FIELD_OPTIONS,NO_KEY_OPTIONS,NO_TABLE_OPTIONS,"

// mode is a sql_mode of another server as this one takes it.
func (s dialect) mode(mode string) string {
	if !s.isMySQL(80000) {
		return mode
	}
	return strings.Join(slices.DeleteFunc(strings.Split(mode, ","), func(m string) bool { return strings.Contains(goneModes, ","+m+",") && m != "" }), ",")
}

// definerHint says which privilege allows objects of other accounts.
func (s dialect) definerHint() string {
	switch {
	case s.isMariaDB(100502):
		return "GRANT SET USER ON *.* TO it"
	case s.isMySQL(80200):
		return "GRANT SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER ON *.* TO it"
	case s.isMySQL(80000):
		return "GRANT SET_USER_ID ON *.* TO it"
	}
	return "GRANT SUPER ON *.* TO it"
}
