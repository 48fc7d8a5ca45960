package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"salvor/drivers/internal/merging"
	"salvor/drivers/relational"
)

// A merge's own tables are in the schema of a restore's, which no dump and no model has: whose merge it is, the units that are done, and
// for each table one in which its changes are staged, as texts. Those are unlogged: after a crash they are staged again.
const (
	mergeRun  = progressSchema + ".merge_run"
	mergeDone = progressSchema + ".merge_done"

	progressSchema = "salvor_progress"
	// mergeLock is the advisory lock that a merge's process holds in its database.
	mergeLock = "1936092534, 1836020327"
)

var (
	_ relational.Target = (*Source)(nil)
	_ relational.Merger = (*merger)(nil)
)

// How a role keeps triggers from firing.
type silence int

const (
	silenceNone    silence = iota
	silenceOwner           // it owns the tables, and can disable their triggers for the transaction
	silenceReplica         // it may call itself a replica, to which neither triggers nor references matter
)

// Abilities tells what the role may.
func (s *Source) Abilities(ctx context.Context) (relational.Abilities, error) {
	c, err := s.connect(ctx, "merge")
	if err != nil {
		return relational.Abilities{}, s.explain(err)
	}
	defer c.close(ctx)
	_, a, err := c.abilities(ctx)
	return a, err
}

// abilities finds out how triggers are kept from firing.
func (c *conn) abilities(ctx context.Context) (silence, relational.Abilities, error) {
	fail := func(err error) (silence, relational.Abilities, error) {
		return 0, relational.Abilities{}, fmt.Errorf("look what the role may: %w", classify(err))
	}
	may := "(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)"
	if c.version >= 150000 {
		may = "pg_catalog.has_parameter_privilege('session_replication_role', 'SET')"
	}
	replica, err := c.text(ctx, "SELECT "+may+"::text")
	if err != nil {
		return fail(err)
	}
	if replica == "true" {
		rows, err := c.rows(ctx, `SELECT n.nspname, k.relname, t.tgname FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class k ON k.oid = t.tgrelid
			JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace WHERE NOT t.tgisinternal AND t.tgenabled IN ('A', 'R') ORDER BY 1, 2, 3`)
		if err != nil {
			return fail(err)
		}
		a := relational.Abilities{AnyOrder: true, Silent: true}
		for _, r := range rows {
			a.Firing = append(a.Firing, relational.Name{Schema: r[0], Name: r[1]}.String()+" "+r[2])
		}
		return silenceReplica, a, nil
	}
	others, err := c.text(ctx, `SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class k ON k.oid = t.tgrelid
		WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND NOT pg_catalog.pg_has_role(k.relowner, 'USAGE')`)
	if err != nil {
		return fail(err)
	}
	if others == "0" {
		return silenceOwner, relational.Abilities{Silent: true}, nil
	}
	return silenceNone, relational.Abilities{}, nil
}

// merger is a merge's sessions on the target.
type merger struct {
	*merging.Writer
	source   *Source
	conn     *conn
	details  map[relational.Name]*detail
	how      silence
	disabled []string        // statements that enable triggers again, within a transaction
	analyzed map[string]bool // staging tables of which the server knows how many rows they have

	stagers merging.Pool[*conn]
	mu      sync.Mutex
	made    map[string]bool // staging tables
}

// Merge takes the database, or joins its merge.
func (s *Source) Merge(ctx context.Context, spec relational.MergeSpec) (_ relational.Merger, err error) {
	if err := merging.CheckSpec(spec); err != nil {
		return nil, err
	}
	m := &merger{source: s, analyzed: make(map[string]bool), made: make(map[string]bool)}
	m.stagers.Open, m.stagers.Shut = m.stager, func(ctx context.Context, c *conn) { c.close(ctx) }
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("merge into database %s: %w", s.config.Database, classify(err)), m.Close(ctx))
		}
	}()
	if m.conn, err = s.connect(ctx, "merge "+spec.ID); err != nil {
		return nil, s.explain(err)
	}
	if !spec.Join {
		// The session of a process that has just died may live for a moment.
		err := m.conn.exec(ctx, "SET lock_timeout = '1s'; SELECT pg_catalog.pg_advisory_lock("+mergeLock+"); SET lock_timeout = 0")
		if isCode(err, codeLockTimeout) {
			return nil, merging.AtWork()
		}
		if err != nil {
			return nil, err
		}
	}
	if err := m.begin(ctx, spec); err != nil {
		return nil, err
	}
	tables, err := s.listTables(ctx, m.conn)
	if err != nil {
		return nil, err
	}
	d, err := describeModel(ctx, m.conn, tables)
	if err != nil {
		return nil, err
	}
	m.details = d.details
	m.Writer = &merging.Writer{Session: m, Model: d.model, Spec: spec}
	if m.how, m.Writer.Abilities, err = m.conn.abilities(ctx); err != nil {
		return nil, err
	}
	for _, t := range d.model.Tables {
		for i := range t.Triggers { // a trigger of replicas is none that is disabled
			if slices.Contains(m.Writer.Abilities.Firing, t.Name.String()+" "+t.Triggers[i].Name) {
				t.Triggers[i].Disabled = false
			}
		}
	}
	m.Dialect = m.dialect()
	return m, nil
}

// begin notes whose merge it is.
func (m *merger) begin(ctx context.Context, spec relational.MergeSpec) error {
	there, err := m.conn.text(ctx, "SELECT (pg_catalog.to_regclass('"+mergeRun+"') IS NOT NULL)::text")
	if err != nil {
		return err
	}
	var rows [][]string
	if there == "true" {
		if rows, err = m.conn.rows(ctx, merging.TakenSQL(mergeRun, mergeDone)); err != nil {
			return err
		}
	}
	if ours, err := merging.Taken(spec, rows); ours || err != nil {
		return err
	}
	if err := m.sweep(ctx); err != nil {
		return err
	}
	return m.conn.exec(ctx, "BEGIN; CREATE SCHEMA IF NOT EXISTS "+progressSchema+"; CREATE TABLE "+mergeRun+" (id text NOT NULL, plan text NOT NULL); CREATE TABLE "+
		mergeDone+" (unit bigint PRIMARY KEY); INSERT INTO "+mergeRun+" VALUES ("+literal(spec.ID)+", "+literal(spec.Plan)+"); COMMIT")
}

// sweep removes what merges have in the database.
func (m *merger) sweep(ctx context.Context) error {
	return m.conn.exec(ctx, `DO $$ DECLARE t text; BEGIN
		FOR t IN SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = '`+progressSchema+`' AND c.relkind = 'r' AND c.relname LIKE 'merge\_%' LOOP
			EXECUTE pg_catalog.format('DROP TABLE `+progressSchema+`.%I', t);
		END LOOP;
		IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '`+progressSchema+`') AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '`+progressSchema+`') THEN
			DROP SCHEMA `+progressSchema+`;
		END IF; END $$`)
}

// dialect is how PostgreSQL writes what a merge needs. Staged values are texts in the server's own form.
func (m *merger) dialect() *merging.Dialect {
	const bytewise = ` COLLATE pg_catalog."C"`
	cast := func(t *relational.Table, i int, staged string) string {
		return staged + "::" + m.details[t.Name].casts[i]
	}
	return &merging.Dialect{
		Grammar: merging.Postgres, Ident: ident, Run: mergeRun, Done: mergeDone, Value: cast, Key: cast,
		Table: func(t *relational.Table) string { return m.details[t.Name].from },
		Stage: m.stageOf,
		Same: func(t *relational.Table, i int, column, staged string) string {
			// A text that a value is cast to need not be the one that it is written as: 10.0.0.1 becomes 10.0.0.1/32, blanks get lost.
			return "(" + column + "::pg_catalog.text" + bytewise + " IS NOT DISTINCT FROM (" + cast(t, i, staged) + ")::pg_catalog.text" + bytewise + ")"
		},
		Parts: func(_ *relational.Table, _ int, column string) []string {
			return []string{column + "::pg_catalog.text" + bytewise}
		},
		RowID: []string{"tableoid", "ctid"},
	}
}

// stageOf names a table's staging table by its place in the model.
func (m *merger) stageOf(t *relational.Table) string {
	return progressSchema + ".merge_" + strconv.Itoa(merging.Place(m.Model, t))
}

// Exec runs a statement on the target.
func (m *merger) Exec(ctx context.Context, sql string) (int64, error) {
	results, err := m.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return 0, told(ctx, err)
	}
	if len(results) == 0 {
		return 0, nil
	}
	return results[len(results)-1].CommandTag.RowsAffected(), nil
}

// Number runs a query on the target.
func (m *merger) Number(ctx context.Context, sql string) (int64, error) {
	return m.conn.number(ctx, sql)
}

// Begin begins a transaction in which triggers are silent.
func (m *merger) Begin(ctx context.Context, tables []*relational.Table) error {
	for _, t := range tables {
		if stage := m.stageOf(t); !m.analyzed[stage] { // or the server takes it for empty, and every table for worth reading
			if err := m.conn.exec(ctx, "ANALYZE "+stage); err != nil {
				return err
			}
			m.analyzed[stage] = true
		}
	}
	if err := m.conn.exec(ctx, "BEGIN; SET CONSTRAINTS ALL DEFERRED"); err != nil {
		return err
	}
	m.disabled = nil
	switch {
	case m.how == silenceReplica && !m.Spec.Triggers:
		return m.conn.exec(ctx, "SET LOCAL session_replication_role = replica")
	case m.how == silenceReplica:
		// Triggers fire, references are checked at the end.
		return nil
	case m.how == silenceOwner && !m.Spec.Triggers:
		return m.disable(ctx, tables)
	}
	return nil
}

// disable disables triggers and rules until the transaction's end. Whoever writes to the tables waits that long.
func (m *merger) disable(ctx context.Context, tables []*relational.Table) error {
	for _, t := range tables {
		rows, err := m.conn.rows(ctx, `SELECT 'TRIGGER', tgname, tgenabled FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgrelid = $1::pg_catalog.regclass
			UNION ALL SELECT 'RULE', rulename, ev_enabled FROM pg_catalog.pg_rewrite WHERE ev_type <> '1' AND ev_enabled <> 'D' AND ev_class = $1::pg_catalog.regclass`, qualified(t.Schema, t.Name.Name))
		if err != nil {
			return err
		}
		for _, r := range rows {
			alter := "ALTER TABLE " + qualified(t.Schema, t.Name.Name) + " "
			if err := m.conn.exec(ctx, alter+"DISABLE "+r[0]+" "+ident(r[1])); err != nil {
				return err
			}
			how := map[string]string{"A": "ENABLE ALWAYS ", "R": "ENABLE REPLICA "}[r[2]]
			if how == "" {
				how = "ENABLE "
			}
			m.disabled = append(m.disabled, alter+how+r[0]+" "+ident(r[1]))
		}
	}
	return nil
}

// Commit ends the transaction.
func (m *merger) Commit(ctx context.Context) error {
	if len(m.disabled) > 0 {
		// An ALTER TABLE is refused while checks of its rows are due.
		if err := m.conn.exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE; "+strings.Join(m.disabled, "; ")); err != nil {
			return err
		}
	}
	return m.conn.exec(ctx, "COMMIT")
}

// Rollback ends the transaction without a trace.
func (m *merger) Rollback(ctx context.Context) { m.conn.rollback(ctx) }

// Refusal tells why a change is refused.
func (*merger) Refusal(err error) (relational.RefusalCode, bool) {
	switch {
	case isCode(err, "23505", "23P01"):
		return relational.RefusedUnique, true
	case isCode(err, "23503"):
		return relational.RefusedParent, true
	case isCode(err, "23502", "23514", "23000", "23001", "44000", "22001", "22003", "22007", "22008", "22P02", "22P03", "22021", "22P05", "2200N", "P0001"):
		return relational.RefusedCheck, true
	}
	return "", false
}

// Classify gives an error its class.
func (*merger) Classify(err error) error { return classify(err) }

// Applied lists the units that are done.
func (m *merger) Applied(ctx context.Context) ([]int, error) {
	rows, err := m.conn.rows(ctx, "SELECT unit FROM "+mergeDone+" ORDER BY unit")
	return merging.Units(rows, classify(err))
}

// SetSequences sets sequences. What was never given counts as nothing.
func (m *merger) SetSequences(ctx context.Context, list []relational.SequenceState) error {
	for _, s := range list {
		if err := m.setSequence(ctx, s); err != nil {
			return fmt.Errorf("set sequence %s: %w", s.Name, classify(err))
		}
	}
	return nil
}

func (m *merger) setSequence(ctx context.Context, s relational.SequenceState) error {
	name := qualified(s.Schema, s.Name.Name)
	set := func(last, called string) error {
		_, err := m.conn.rows(ctx, "SELECT pg_catalog.setval($1::pg_catalog.regclass, $2::pg_catalog.int8, $3::pg_catalog.bool)", name, last, called)
		return err
	}
	if s.Exact {
		return set(s.Last, strconv.FormatBool(s.Called))
	}
	more, most := ">", "max"
	if strings.HasPrefix(s.Increment, "-") {
		more, most = "<", "min"
	}
	candidates := []string{"SELECT NULL::pg_catalog.int8 AS v"}
	if s.Called {
		candidates = append(candidates, "SELECT "+literal(s.Last)+"::pg_catalog.int8")
	}
	for _, t := range m.Model.Tables {
		for i := range t.Columns {
			c := &t.Columns[i]
			if c.Sequence != nil && *c.Sequence == s.Name && c.Type == relational.TypeInt {
				candidates = append(candidates, "SELECT pg_catalog."+most+"("+ident(c.Name)+") FROM "+qualified(t.Schema, t.Name.Name))
			}
		}
	}
	_, err := m.conn.rows(ctx, "SELECT pg_catalog.setval($1::pg_catalog.regclass, x.v, true) FROM (SELECT pg_catalog."+most+"(v) AS v FROM ("+
		strings.Join(candidates, " UNION ALL ")+") y) x, "+name+" q WHERE x.v "+more+" q.last_value OR x.v = q.last_value AND NOT q.is_called", name)
	return err
}

// Discard ends the merge.
func (m *merger) Discard(ctx context.Context) error {
	if err := m.sweep(ctx); err != nil {
		return fmt.Errorf("end the merge: %w", classify(err))
	}
	return nil
}

// Close ends the sessions, and with them the lock.
func (m *merger) Close(ctx context.Context) error {
	m.stagers.Close(ctx)
	if m.conn != nil {
		m.conn.close(ctx)
		m.conn = nil
	}
	return nil
}
