package mysql

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"salvor/drivers"
)

// createSQL makes a database like the dumped one.
func (d *database) createSQL(s dialect, name string) string {
	sql := "CREATE DATABASE " + ident(name) + " CHARACTER SET " + d.Charset + " COLLATE " + d.Collation
	if d.Comment != "" && s.isMariaDB(100500) {
		sql += " COMMENT " + literal(d.Comment)
	}
	return sql
}

// createDatabase makes the target. Whether it is there already was looked at before; one that came since is no harm, as what is
// in it is looked at again.
func (w *work) createDatabase(ctx context.Context, name string, d *database) error {
	sql := d.createSQL(w.server, name)
	err := w.ddl(ctx, sql)
	switch {
	case err == nil:
		return nil
	case isCode(err, codeDatabaseExists):
		return errChanged
	case isCode(err, codeDatabaseDenied, codePrivilege):
		return drivers.WithHint(statementError("create database "+name, sql, err),
			"grant the account CREATE on the database, or have it created and restore into it without --create and --clean")
	}
	return statementError("create database "+name, sql, told(ctx, err))
}

// newPrefix begins the names of databases in which definitions are tried.
const newPrefix = "salvor_new_"

// replaceDatabase drops the target with all that is in it and makes it anew. A database cannot be renamed, so the new one cannot
// be made beside it; but its definitions are: what the server refuses of them, it refuses while the old one is still there.
func (w *work) replaceDatabase(ctx context.Context, r *recipe) error {
	name := w.source.place.database
	if err := w.rehearse(ctx, r, fmt.Sprintf("%s%08x_%08x", newPrefix, crc32.ChecksumIEEE([]byte(r.target.Run)), crc32.ChecksumIEEE([]byte(name)))); err != nil {
		return err
	}
	if err := w.dropDatabase(ctx, name); err != nil {
		return err
	}
	return w.createDatabase(ctx, name, r.c.schemaRef.Database)
}

func (w *work) dropDatabase(ctx context.Context, name string) error {
	if isServersOwn(name) || name == "" {
		return fmt.Errorf("drop database %s: %w: it is the server's own", name, drivers.ErrInvalid)
	}
	sql := "DROP DATABASE IF EXISTS " + ident(name)
	err := w.ddl(ctx, sql)
	if isCode(err, codeDatabaseDenied, codePrivilege) {
		return drivers.WithHint(statementError("drop database "+name, sql, err), "grant the account DROP on the database; or empty it and restore into it without --clean")
	}
	if err != nil {
		return statementError("drop database "+name, sql, told(ctx, err))
	}
	return nil
}

// rehearse makes all definitions but events in a database beside the target, and drops it. Where the account may not make one,
// there is no rehearsal.
func (w *work) rehearse(ctx context.Context, r *recipe, name string) (err error) {
	if err := w.dropDatabase(ctx, name); err != nil {
		if errors.Is(err, drivers.ErrAccess) {
			return nil
		}
		return err
	}
	if err := w.ddl(ctx, r.c.schemaRef.Database.createSQL(w.server, name)); err != nil {
		if isCode(err, codeDatabaseDenied, codePrivilege) {
			return nil
		}
		return fmt.Errorf("try the definitions: %w", classify(told(ctx, err)))
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
		defer cancel()
		err = errors.Join(err, w.dropDatabase(ctx, name))
	}()
	other, err := w.source.at(name).begin(ctx, r.target, w.task, w.token)
	if err != nil {
		return err
	}
	defer other.close()
	other.trial = true
	made := append(ofKinds(r.schema, entrySequence, entrySetval, entryTable, entryPackage, entryBody, entryFunction, entryRoutine), ofKinds(r.schema, entryTrigger)...)
	for _, e := range made {
		if err := other.refused(ctx, e, other.run1(ctx, e)); err != nil {
			return fmt.Errorf("before anything is dropped: %w", err)
		}
	}
	err = other.makeViews(ctx, ofKinds(r.schema, entryView), func(e *entry) error { return other.run1(ctx, e) })
	if err != nil {
		return fmt.Errorf("before anything is dropped: %w", err)
	}
	return nil
}

// discard removes what an unfinished restore of some tables made.
func (w *work) discard(ctx context.Context, f *found) error {
	if err := w.enter(ctx); err != nil {
		return fmt.Errorf("remove restore %s: %w", f.run, classify(err))
	}
	if _, err := w.endSessions(ctx, "token <> "+literal(w.token)); err != nil {
		return err
	}
	list, err := w.rows(ctx, "SELECT SUBSTRING(item, LENGTH('table/') + 1) FROM "+progressDone+" WHERE item LIKE 'table/%' UNION ALL SELECT SUBSTRING(item, LENGTH('made/') + 1) FROM "+progressDone+" WHERE item LIKE 'made/%'")
	if err != nil {
		return fmt.Errorf("remove restore %s: %w", f.run, classify(err))
	}
	for _, r := range list {
		sql := "DROP TABLE IF EXISTS " + ident(r[0])
		if err := w.ddl(ctx, sql); err != nil {
			return statementError("remove restore "+f.run, sql, told(ctx, err))
		}
	}
	if err := w.ddl(ctx, dropProgressSQL); err != nil {
		return fmt.Errorf("remove restore %s: %w", f.run, classify(err))
	}
	return nil
}

// Drop removes a database that was made for a trial. Any other is refused, whatever the source says.
func (s *Source) Drop(ctx context.Context, name string) error {
	if s.place.database != name || !strings.HasPrefix(name, drivers.ScratchPrefix) {
		return fmt.Errorf("drop database %s: %w: it is not the trial's own, %s", s.name(), drivers.ErrInvalid, name)
	}
	w, err := s.beginBeside(ctx, drivers.Target{}, "drop")
	if err != nil {
		return err
	}
	defer w.close()
	// Sessions of the trial that are stopped would keep its tables.
	if err := s.endForeign(ctx); err != nil && !errors.Is(err, drivers.ErrNotFound) {
		return err
	}
	return w.dropDatabase(ctx, name)
}
