package mysql

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"salvor/drivers"
)

// Load copies one part in, exactly once: its transaction begins by noting the part as done. Whoever loads the last part of
// a table builds that table's indexes.
func (s *Source) Load(ctx context.Context, target drivers.Target, attempt drivers.Attempt, part drivers.Part, in io.Reader) error {
	r, err := readRef(part)
	if err != nil {
		return err
	}
	if r.Kind != partTable {
		return fmt.Errorf("load %s: %w: a part of kind %s is not loaded", part.Name, drivers.ErrInvalid, r.Kind)
	}
	w, err := s.begin(ctx, target, attempt.Task, attempt.Token)
	if err != nil {
		return err
	}
	defer w.close()
	w.again = true
	if err := w.register(ctx); err != nil {
		return fmt.Errorf("load %s: %w", part.Name, err)
	}
	l := &loading{work: w, part: part, ref: r, in: &countedReader{in: in, columns: r.Columns}}
	if r.Outside {
		err = w.alone(ctx, partItem(part.Name), r.Table, waitForOthers, func() error { return l.replaceRows(ctx) })
	} else {
		err = w.once(ctx, partItem(part.Name), r.Table, func() error { return l.copyIn(ctx) })
	}
	if w.keep && ctx.Err() == nil && l.in.err == nil && isOwnFault(err) {
		cause := err
		err = w.once(ctx, partItem(part.Name), r.Table, func() error { return w.problem(ctx, part.Name, cause) })
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", part.Name, err)
	}
	err = w.buildIfWhole(ctx, r.Table)
	if errors.Is(err, errBusy) {
		return nil // another session builds them
	}
	return err
}

// loading is a part that is being loaded.
type loading struct {
	*work
	part drivers.Part
	ref  *ref
	in   *countedReader
}

// replaceRows loads a table that has no transactions: what an attempt left that was ended is removed first. There is one part.
func (l *loading) replaceRows(ctx context.Context) error {
	if err := l.emptyTable(ctx, l.ref); err != nil {
		return fmt.Errorf("empty table %s: %w", l.ref.Table, classify(told(ctx, err)))
	}
	err := l.copyIn(ctx)
	if err == nil {
		return nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
	defer cancel()
	if undoErr := l.undoRows(undo); undoErr != nil {
		return errors.Join(err, fmt.Errorf("empty table %s: %w", l.ref.Table, classify(undoErr)))
	}
	return err
}

// undoRows removes what the load has written. The session may be gone, and what it wrote is not. A later attempt may have ended it, and
// have loaded the rows meanwhile: without the lock of the part nothing is touched, nor where it is done.
func (l *loading) undoRows(ctx context.Context) error {
	if !l.broken {
		return l.emptyTable(ctx, l.ref)
	}
	fresh, err := l.source.begin(ctx, drivers.Target{Run: l.run}, l.task, l.token)
	if err != nil {
		return err
	}
	defer fresh.close()
	if err := fresh.register(ctx); err != nil {
		return err
	}
	if _, err := fresh.endSessions(ctx, fmt.Sprintf("id = %d", l.id)); err != nil {
		return err
	}
	item := partItem(l.part.Name)
	got, err := fresh.text(ctx, fmt.Sprintf("SELECT GET_LOCK(%s, %d)", fresh.lockOf(item), undoWait))
	if err != nil || got != "1" {
		return err // another attempt has it, and begins by removing what is there
	}
	state, err := fresh.stateOf(ctx, item)
	if err != nil || state != "10" {
		return err
	}
	return fresh.emptyTable(ctx, l.ref)
}

// undoWait is how many seconds the session that is undone has to end.
const undoWait = 10

// emptyTable removes all rows of a table, those of the past too: of a table that keeps them DELETE makes more of them.
func (w *work) emptyTable(ctx context.Context, r *ref) error {
	table, all := ident(r.Table), ""
	if r.History {
		all = " FOR SYSTEM_TIME ALL"
	}
	there, err := w.text(ctx, "SELECT EXISTS (SELECT 1 FROM "+table+all+" LIMIT 1)")
	if err != nil || there == "0" {
		return err
	}
	err = w.exec(ctx, "DELETE FROM "+table)
	if err == nil && r.History {
		err = w.exec(ctx, "DELETE HISTORY FROM "+table)
	}
	return err
}

// copyIn copies the rows in and makes sure that the server took each as it is: its number of rows is the dump's, and it has no
// warning to tell. LOAD DATA LOCAL and INSERT IGNORE make warnings of what would be errors.
func (l *loading) copyIn(ctx context.Context) error {
	if l.ref.History && !l.server.keepsHistory() {
		return drivers.WithHint(fmt.Errorf("table %s: %w: %s cannot be given rows of the past", l.ref.Table, drivers.ErrFailed, l.server),
			"restore into MariaDB 10.11 or newer, or exclude the table's rows with exclude_table_data")
	}
	local, err := l.text(ctx, "SELECT @@GLOBAL.local_infile")
	if err != nil {
		return fmt.Errorf("look whether files may be loaded: %w", classify(err))
	}
	var n int64
	if local == "1" || strings.EqualFold(local, "ON") {
		n, err = l.loadData(ctx)
	} else {
		n, err = l.insertRows(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case l.in.err != nil:
		return l.in.err // what the server says of the cut copy is but an echo
	case err != nil:
		return l.explainLoad(err)
	case n != l.part.Rows:
		return fmt.Errorf("load into %s: %w: %d rows were written, the dump has %d", l.ref.Table, drivers.ErrFailed, n, l.part.Rows)
	}
	return nil
}

// loadSQL is the statement that takes rows from a stream. Literals in hexadecimal mean the same in every sql_mode.
func (r *ref) loadSQL(reader string) string {
	return "LOAD DATA LOCAL INFILE 'Reader::" + reader + "' INTO TABLE " + ident(r.Table) +
		" CHARACTER SET binary FIELDS TERMINATED BY X'09' ESCAPED BY X'5C' LINES TERMINATED BY X'0A' " + loadList(r.Columns)
}

func (l *loading) loadData(ctx context.Context) (int64, error) {
	name := rand.Text()
	mysql.RegisterReaderHandler(name, func() io.Reader { return l.in })
	defer mysql.DeregisterReaderHandler(name)
	n, err := l.affected(ctx, l.ref.loadSQL(name))
	if err != nil || l.in.err != nil {
		return 0, err
	}
	return n, l.checkWarnings(ctx, l.in.zeros)
}

// checkWarnings tells what the server did not take as it is. The empty value of an ENUM, which only an error can have made,
// cannot be written without a warning; those are counted.
func (l *loading) checkWarnings(ctx context.Context, expected int64) error {
	text, err := l.text(ctx, "SHOW COUNT(*) WARNINGS")
	if err != nil {
		return err
	}
	count, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("read the number of warnings: %w", err)
	}
	if count == 0 && expected == 0 {
		return nil
	}
	list, err := l.rows(ctx, "SHOW WARNINGS")
	if err != nil {
		return err
	}
	var texts []string
	for _, r := range list {
		if r[1] != strconv.Itoa(codeTruncated) || expected == 0 {
			texts = append(texts, r[1]+" "+r[2])
		}
	}
	if count == expected && len(texts) == 0 {
		return nil
	}
	const most = 3
	return fmt.Errorf("%w: the server did not take every value as it is, %d warnings: %s", drivers.ErrFailed, count-expected, strings.Join(texts[:min(len(texts), most)], "; "))
}

// explainLoad says which table's rows were refused.
func (l *loading) explainLoad(err error) error {
	err = fmt.Errorf("load into %s: %w", l.ref.Table, classify(err))
	switch {
	case isCode(err, codePacket) || errors.Is(err, mysql.ErrPktTooLarge):
		return drivers.WithHint(fmt.Errorf("%w: %w", drivers.ErrFailed, err), "raise the server's max_allowed_packet above the size of the largest row")
	case isCode(err, codeTableDenied, codePrivilege):
		return drivers.WithHint(err, "grant the account all rights on the database")
	case isCode(err, codeNotAllowed, 3948, 4166):
		return drivers.WithHint(err, "the server does not take files from clients: SET GLOBAL local_infile=0 says so to Salvor too, which then writes rows by INSERT")
	}
	return err
}

// buildIfWhole builds the indexes of a table all of whose parts are in. Several may find that out at once: one builds them, and
// the others leave them to it. What it does not build, Finish does.
func (w *work) buildIfWhole(ctx context.Context, tbl string) error {
	list, err := w.rows(ctx, fmt.Sprintf(`SELECT t.parts = (SELECT COUNT(*) FROM %s d WHERE d.tbl = t.tbl), t.indexes FROM %s t WHERE t.tbl = %s`, progressDone, progressTable, literal(tbl)))
	if err != nil {
		return fmt.Errorf("look whether %s is whole: %w", tbl, classify(err))
	}
	if len(list) == 0 || list[0][0] != "1" {
		return nil
	}
	return w.buildIndexes(ctx, tbl, list[0][1], leaveToOthers)
}

// buildIndexes adds the indexes that were kept, by as few statements as the server allows.
func (w *work) buildIndexes(ctx context.Context, tbl, kept string, how manner) error {
	var defs []string
	if err := json.Unmarshal([]byte(kept), &defs); err != nil {
		return fmt.Errorf("read the indexes of %s: %w", tbl, err)
	}
	if len(defs) == 0 {
		return nil
	}
	return w.alone(ctx, "index/"+tbl, "", how, func() error {
		missing, err := w.without(ctx, defs, "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ", literal(tbl))
		if err != nil {
			return fmt.Errorf("look at the indexes of %s: %w", tbl, classify(err))
		}
		for _, sql := range alters(tbl, missing) {
			e := &entry{Kind: "indexes of table", Name: tbl, sql: sql}
			if err := w.refused(ctx, e, w.ddl(ctx, sql)); err != nil {
				return err
			}
		}
		return nil
	})
}

// without leaves out the definitions whose names a query gives.
func (w *work) without(ctx context.Context, defs []string, sql, table string) ([]string, error) {
	list, err := w.catalog(ctx, sql, table)
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool, len(list))
	for _, r := range list {
		there[strings.ToLower(r[0])] = true
	}
	var missing []string
	for _, def := range defs {
		if name := indexName(def); name == "" || !there[strings.ToLower(name)] {
			missing = append(missing, def)
		}
	}
	return missing, nil
}

// countedReader keeps the error of what it reads, and counts the empty values of ENUM columns that pass.
type countedReader struct {
	in      io.Reader
	columns []column
	err     error

	known  bool
	enums  []bool // by column; nil where there are none
	at     int    // the column
	cell   int    // bytes of the cell so far
	isZero bool   // which was a 0 so far
	zeros  int64
}

func (r *countedReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	r.count(p[:n])
	return n, err
}

func (r *countedReader) count(p []byte) {
	if !r.known {
		r.known = true
		for i, c := range r.columns {
			if c.Kind == kindEnum {
				if r.enums == nil {
					r.enums = make([]bool, len(r.columns))
				}
				r.enums[i] = true
			}
		}
	}
	if r.enums == nil {
		return
	}
	for len(p) > 0 {
		// Of columns that are none nothing matters but their end.
		if r.at < len(r.enums) && !r.enums[r.at] {
			end := bytes.IndexAny(p, "\t\n")
			if end < 0 {
				return
			}
			p = p[end:]
		}
		c := p[0]
		p = p[1:]
		if c != '\t' && c != '\n' {
			r.isZero = r.cell == 0 && c == '0'
			r.cell++
			continue
		}
		if r.at < len(r.enums) && r.enums[r.at] && r.isZero && r.cell == 1 {
			r.zeros++
		}
		r.at++
		if c == '\n' {
			r.at = 0
		}
		r.cell, r.isZero = 0, false
	}
}
