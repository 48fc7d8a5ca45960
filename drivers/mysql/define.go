package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"salvor/drivers"
)

// define makes an object, once. exists are the numbers of the errors that say that it is there already: after an attempt that
// was ended between the object and its note, that means that it is done.
func (w *work) define(ctx context.Context, e *entry, exists ...uint16) error {
	return w.alone(ctx, e.item(), "", waitForOthers, func() error {
		err := w.run1(ctx, e)
		if w.again && isCode(err, exists...) {
			own, lookErr := w.isOwn(ctx, e)
			if own || lookErr != nil {
				return lookErr
			}
		}
		return w.refused(ctx, e, err)
	})
}

// isOwn tells whether an object that is there already is the restore's. Of a selection a table that is not selected may have a
// trigger of the same name.
func (w *work) isOwn(ctx context.Context, e *entry) (bool, error) {
	if e.Kind != entryTrigger {
		return true, nil
	}
	list, err := w.catalog(ctx, "SELECT EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() AND TRIGGER_NAME = ", literal(e.Name))
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", e.label(), classify(err))
	}
	return len(list) > 0 && strings.EqualFold(list[0][0], e.Table), nil
}

// item names the object among what is done.
func (e *entry) item() string { return e.Kind + "/" + e.Name }

// makeViews makes views. One may need another that comes later, where the dump could not tell: it is tried again when all others
// were.
func (w *work) makeViews(ctx context.Context, list []*entry, run func(*entry) error) error {
	for len(list) > 0 {
		var waiting []*entry
		for _, e := range list {
			err := run(e)
			if isCode(err, codeNoTable, codeBadView) {
				waiting = append(waiting, e)
				continue
			}
			if err := w.refused(ctx, e, err); err != nil {
				return err
			}
		}
		if len(waiting) == len(list) {
			break
		}
		list = waiting
	}
	for _, e := range list {
		if err := w.refused(ctx, e, run(e)); err != nil {
			return err
		}
	}
	return nil
}

// refused decides what becomes of a definition that the server refused.
func (w *work) refused(ctx context.Context, e *entry, err error) error {
	if err == nil {
		return nil
	}
	explained := w.explainEntry(e, told(ctx, err))
	if w.trial && (w.keep || e.Broken) && isOwnFault(err) {
		return nil
	}
	if ctx.Err() == nil && (w.keep || e.Broken) && isOwnFault(err) {
		return w.problem(ctx, e.label(), explained)
	}
	return explained
}

// run1 runs the statement of an entry in a session with its settings, and sets the session back.
func (w *work) run1(ctx context.Context, e *entry) error {
	if !e.hasContext() {
		return w.ddl(ctx, e.sql)
	}
	back, err := w.databaseCollation(ctx, e)
	if err != nil {
		return err
	}
	missing, err := w.inContext(ctx, e)
	if w.broken {
		return err
	}
	settle := w.settle(ctx)
	if settle == nil {
		settle = w.settleWriter(ctx)
	}
	if settle == nil && back != "" {
		settle = w.ddl(ctx, back)
	}
	if err != nil || settle != nil {
		return errors.Join(err, settle)
	}
	if missing != "" && !w.source.isScratch() && !w.trial {
		return w.problem(ctx, e.label(), errors.New(missing+": it is restored, and can be used once that account is there; definer: drop makes it the restoring account's own")) //nolint:err113 // for people
	}
	return nil
}

// inContext runs the statement with the settings that the object was made with. missing says that its definer is no account of the
// server: it is made all the same, and cannot be used.
func (w *work) inContext(ctx context.Context, e *entry) (missing string, err error) {
	if err := w.exec(ctx, e.settings(w.server)); err != nil {
		return "", err
	}
	if err := w.ddl(ctx, e.sql); err != nil {
		return "", err
	}
	list, err := w.rows(ctx, "SHOW WARNINGS")
	if err != nil {
		return "", err
	}
	for _, r := range list {
		if len(r) > 2 && r[1] == strconv.Itoa(codeNoDefiner) {
			missing = r[2]
		}
	}
	return missing, nil
}

// databaseCollation gives the database, for a moment, the collation that an object was made under, which the object keeps. It
// returns the statement that gives it back.
func (w *work) databaseCollation(ctx context.Context, e *entry) (back string, err error) {
	if e.Database == "" || !isName(e.Database) {
		return "", nil
	}
	now, err := w.text(ctx, "SELECT @@collation_database")
	if err != nil || now == e.Database {
		return "", err
	}
	name := ident(w.source.place.database)
	return "ALTER DATABASE " + name + " COLLATE " + now, w.ddl(ctx, "ALTER DATABASE "+name+" COLLATE "+e.Database)
}

// explainEntry says which object's statement failed.
func (w *work) explainEntry(e *entry, err error) error {
	err = statementError("restore "+e.label(), e.sql, err)
	switch {
	case isCode(err, codePrivilege) && e.hasContext():
		return drivers.WithHint(err, "the account may not make objects of other accounts: "+w.server.definerHint()+"; or drop the definers (definer: drop)")
	case isCode(err, 1418, 1419):
		return drivers.WithHint(err, "the server writes a binary log: SET GLOBAL log_bin_trust_function_creators=1, or restore as an account with SUPER")
	case isCode(err, codePrivilege, codeTableDenied, codeDatabaseDenied, codeRoutineDenied):
		return drivers.WithHint(err, "grant the account all rights on the database; --continue goes on without what fails")
	case isCode(err, 1286):
		return drivers.WithHint(err, "the server lacks the table's storage engine: install its plugin")
	case isCode(err, 1273, 1115):
		return drivers.WithHint(err, "the server does not know a character set or a collation of the dump: restore into a server of the same kind and version, or a newer one")
	}
	return err
}
