package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"salvor/drivers"
)

// Numbers of errors that are decided by.
const (
	codeTooMany        = 1040
	codeDatabaseDenied = 1044
	codeLogin          = 1045
	codeNoDatabase     = 1049
	codeTableExists    = 1050
	codeUnknownTable   = 1051
	codeNoColumn       = 1054
	codeDuplicateKey   = 1061
	codeDuplicate      = 1062
	codeSyntax         = 1064
	codeDatabaseExists = 1007
	codeNoSuchDatabase = 1008
	codeDiskFull       = 1021
	codeTableFull      = 1114
	codeNoAccount      = 1133
	codeTableDenied    = 1142
	codeColumnDenied   = 1143
	codeNoTable        = 1146
	codeNotAllowed     = 1148
	codePacket         = 1153
	codeNoVariable     = 1193
	codeTooManyOfUser  = 1203
	codeLockWait       = 1205
	codeDeadlock       = 1213
	codePrivilege      = 1227
	codeTruncated      = 1265
	codeRoutineExists  = 1304
	codeNoRoutine      = 1305
	codeInterrupted    = 1317
	codeBadView        = 1356
	codeTriggerExists  = 1359
	codeRoutineDenied  = 1370
	codeUserExists     = 1396
	codeChangedTable   = 1412
	codeNoDefiner      = 1449
	codeNoPassword     = 1698
	codeEventExists    = 1537
	codeReadOnly       = 1290
	codeNoThread       = 1094
	codeNeedsTLS       = 3159
)

// classify adds the class to an error of the server or of the connection to it.
func classify(err error) error {
	if err == nil {
		return nil
	}
	class := classOf(err)
	if class == nil || errors.Is(err, class) {
		return err
	}
	return fmt.Errorf("%w: %w", class, err)
}

// classOf leaves what may pass (a connection that breaks, a server that starts, a deadlock) without a class.
func classOf(err error) error {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return nil
	}
	switch e.Number {
	case codeLogin, codeNoPassword, codeDatabaseDenied, codeTableDenied, codeColumnDenied, codePrivilege, codeRoutineDenied,
		1095 /* not owner of the thread */, 1130 /* host may not connect */, 1141, 1147 /* no such grant */, 1251 /* authentication */, 1275, 1820, 1862 /* expired */, 3118 /* locked */, codeNeedsTLS, 4151 /* locked */ :
		return drivers.ErrAccess
	case codeNoDatabase:
		return drivers.ErrNotFound
	case codeDiskFull, codeTableFull, 1878 /* of temporary files */ :
		return drivers.ErrNoSpace
	case 1016, 1030 /* the storage engine's number is in the text */, 1026, 3, 20:
		if strings.Contains(e.Message, "28") && strings.Contains(e.Message, "space") {
			return drivers.ErrNoSpace
		}
		return nil
	case 1034, 1035, 1194, 1195, 1712 /* a damaged table or index */ :
		return drivers.ErrCorrupt
	case codeTooMany, codeTooManyOfUser, codeLockWait, codeDeadlock, codeInterrupted, 1053 /* shutdown */, 1077, 1079, 1152, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, /* network */
		1020 /* changed since it was read */, 3058 /* deadlock of named locks */, 3101 /* the group refused it */, 1180, 1181, 1182 /* commit, rollback, flush */, 1184, 1188, 1189, 1190, 1206 /* lock table is full */, 1226 /* the account's resources */, 1290, 1836 /* read only */, 1927 /* killed */, 3024, 1969 /* time limit */, 1105, 1037, 1038, 1041 /* memory */, 3168, 4031 /* disconnected */, 1047, 1129, 1135 /* no thread */, 1615, codeChangedTable, 4145 /* another backup */ :
		return nil
	}
	return drivers.ErrFailed // the statement's own fault, which it would have again
}

// isOwnFault tells whether the server refused a statement for what it says, or for what the account may not do: without it the
// rest can go on. Of a full disk or a damaged file that cannot be said.
func isOwnFault(err error) bool {
	class := classOf(err)
	return class == drivers.ErrFailed || class == drivers.ErrAccess //nolint:errorlint // the table's own values
}

// isCode tells whether err is the server's and has one of the numbers.
func isCode(err error, codes ...uint16) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && slices.Contains(codes, e.Number)
}

// isServers tells whether an error is one that the server answered.
func isServers(err error) bool {
	_, ok := errors.AsType[*mysql.MySQLError](err)
	return ok
}

// isConnection tells whether an error is the connection's.
func isConnection(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// told returns the error that a cancelled context stands for in place of what broke with it.
func told(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// statementError names the object and the SQL of a statement that failed, without the secrets in it.
func statementError(what, sql string, err error) error {
	const most = 600
	sql = strings.TrimSpace(sql)
	shown := redact(sql)
	if strings.Contains(shown, "[redacted]") {
		err = redactError(err)
	}
	if len(shown) > most {
		shown = shown[:most] + " …"
	}
	return fmt.Errorf("%s: %w; the statement was: %s", what, classify(err), strings.ToValidUTF8(shown, "?"))
}
