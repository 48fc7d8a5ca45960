package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"salvor/drivers"
)

// classify adds the class to an error of the operating system or of SQLite.
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

func classOf(err error) error {
	if sqliteErr, ok := errors.AsType[*sqlite.Error](err); ok {
		return classOfCode(sqliteErr.Code())
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return drivers.ErrNoSpace
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return drivers.ErrAccess
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP),
		errors.Is(err, syscall.EISDIR):
		return drivers.ErrInvalid
	}
	return nil
}

// classOfCode leaves busy, locked and I/O errors without a class: they may pass.
func classOfCode(code int) error {
	switch code & 0xff {
	case sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN:
		return drivers.ErrAccess
	case sqlite3.SQLITE_CORRUPT:
		return drivers.ErrCorrupt
	case sqlite3.SQLITE_NOTADB:
		return drivers.ErrInvalid
	case sqlite3.SQLITE_FULL:
		return drivers.ErrNoSpace
	}
	return nil
}

// hasCode tells whether err is a SQLite error of one of the primary result codes.
func hasCode(err error, codes ...int) bool {
	var sqliteErr *sqlite.Error
	if !errors.As(err, &sqliteErr) {
		return false
	}
	for _, code := range codes {
		if sqliteErr.Code()&0xff == code {
			return true
		}
	}
	return false
}
