package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"salvor/drivers"
)

// SQLSTATEs that are decided by.
const (
	codePrivilege     = "42501"
	codeNoFunction    = "42883"
	codeNoTable       = "42P01"
	codeNoSchema      = "3F000"
	codeNoDatabase    = "3D000"
	codeLockTimeout   = "55P03"
	codeInUse         = "55006"
	codeDeadlock      = "40P01"
	codeNoObject      = "42704"
	codeNotReady      = "55000"
	codeBadValue      = "22023"
	codeFull          = "53100"
	codeMemory        = "53200"
	codeDuplicateDB   = "42P04"
	codeDuplicateName = "23505"
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
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return nil
	}
	switch pgErr.Code {
	case codePrivilege, "28P01", "28000":
		return drivers.ErrAccess
	case codeNoDatabase:
		return drivers.ErrNotFound
	case codeFull:
		return drivers.ErrNoSpace
	case "XX001", "XX002":
		return drivers.ErrCorrupt
	case codeLockTimeout, codeInUse:
		return nil
	case codeMemory:
		if strings.Contains(pgErr.Hint, "max_locks_per_transaction") {
			return drivers.ErrFailed
		}
		return nil
	}
	switch pgErr.Code[:2] {
	case "0A", "22", "23", "2B", "3F", "42", "44", "54", "P0", "0L", "2F", "38", "39":
		return drivers.ErrFailed // the statement's own fault, which it would have again
	}
	return nil
}

// joinError classifies the answer to SET TRANSACTION SNAPSHOT. A snapshot that is gone is an invalid value up to PostgreSQL 16
// and an undefined object from 17 on; one whose transaction just ended is not in the right state. Messages are translated, so
// only the codes tell.
func joinError(err error) error {
	if isCode(err, codeBadValue, codeNoObject, codeNotReady) {
		return fmt.Errorf("%w: %w", drivers.ErrViewLost, err)
	}
	return classify(err)
}

// isForeign tells whether an error is of what a foreign table stands for: a server that cannot be reached, a file that is missing.
func isForeign(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{"08", "58", "HV"}, pgErr.Code[:2])
}

// isOwnFault tells whether the server refused a statement for what it says, or for what the role may not do: without it the
// rest can go on. Of a full disk or a damaged file that cannot be said.
func isOwnFault(err error) bool {
	if !isServers(err) || isCode(err, codeMemory) {
		return false
	}
	class := classOf(err)
	return class == drivers.ErrFailed || class == drivers.ErrAccess //nolint:errorlint // the table's own values
}

// isCode tells whether err is the server's and has one of the codes.
func isCode(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pgErr.Code)
}

// isServers tells whether an error is one that the server answered.
func isServers(err error) bool {
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok
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
	sql = redact(strings.TrimSpace(sql))
	if len(sql) > most {
		sql = strings.ToValidUTF8(sql[:most], "") + " …"
	}
	detail := ""
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Detail != "" {
		detail = " (" + redactConnections(pgErr.Detail) + ")"
	}
	return fmt.Errorf("%s: %w%s; the statement was: %s", what, classify(err), detail, sql)
}
