package merge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// Config says what a plan is made of.
type Config struct {
	// ID names the capture.
	ID string
	// Capture is the model of what was captured. Lines yields the lines of one of its tables, the same ones in the same order
	// whenever it is called; a line is good until the next.
	Capture *relational.Model
	Lines   func(ctx context.Context, t *relational.Table, yield func(*relational.Line) error) error
	// Edges are references that the database does not declare, by their child.
	Edges map[relational.Name][]relational.Edge
	// Natural are tables whose rows are the same in all databases by the columns of a unique key, whatever their numbers are: such
	// rows are never copied where they are.
	Natural map[relational.Name][]string
	// Target is the database that the rows go into, Abilities what it can do.
	Target    relational.View
	Abilities relational.Abilities
	// Decisions are what somebody has said; nil for nothing.
	Decisions Decisions
	// Deletes lets rows be deleted that were, where nothing is decided of them. Otherwise they are reported.
	Deletes bool
	// Known yields what an earlier merge of the same capture into the same target has mapped; nil for none.
	Known func(yield func(*Mapping) error) error
	// Refusals are what the database has refused of an earlier plan, see [Plan.Refusal].
	Refusals []Rejected
	// Rows bounds a unit; 0 takes a usual number.
	Rows int
	// Scratch is a directory for files, Memory how much each of several sets may take before there is one.
	Scratch string
	Memory  int64
}

// Rejected is a row that the database did not take.
type Rejected struct {
	Table   relational.Name        `json:"table"`
	Key     []byte                 `json:"key"`
	Code    relational.RefusalCode `json:"code"`
	Message string                 `json:"message"`
}

// planner makes a plan.
type planner struct {
	c       *Config
	target  *relational.Model
	graph   *relational.Graph
	tables  map[relational.Name]*table
	plan    *Plan
	out     *output
	counted map[string]*ConflictCount
	fates   *index // what becomes of captured rows, by what others refer to them by
	rows    *index // what is known of rows of the target, and of lines
	attempt int    // at a component
	stuck   bool   // what was assumed turned out to be otherwise
	nextKey map[relational.Name]*big.Int
	asides  int64             // how many values were put aside
	waiting map[string][]byte // rows with such, and how it is noted that they stay as they are
	laters  *records          // items of which columns are set later

	weights   map[string][]byte
	asking    context.Context //nolint:containedctx // of Make, for questions from where nobody can hand it on
	unweighed error           // what went wrong with such
}

// Make makes the plan. It writes nothing but files without names. Errors of what somebody has decided, or of a capture that does not fit
// the target, wrap [drivers.ErrInvalid] or [drivers.ErrNotFound].
func Make(ctx context.Context, c *Config) (_ *Plan, err error) {
	config := *c
	if config.Decisions == nil {
		config.Decisions = Defaults{}
	}
	p := &planner{c: &config, counted: make(map[string]*ConflictCount), nextKey: make(map[relational.Name]*big.Int), weights: make(map[string][]byte), asking: ctx}
	if p.target, err = c.Target.Model(ctx); err != nil {
		return nil, fmt.Errorf("plan a merge: %w", err)
	}
	p.plan = &Plan{Format: format, Engine: p.target.Engine, Capture: c.ID, model: p.target}
	defer func() {
		for _, x := range []*index{p.fates, p.rows} {
			if x != nil {
				err = errors.Join(err, x.close())
			}
		}
		if err != nil {
			err = errors.Join(fmt.Errorf("plan a merge: %w", err), p.plan.Close())
		}
	}()
	if err := p.make(ctx); err != nil {
		return nil, err
	}
	return p.plan, nil
}

func (p *planner) make(ctx context.Context) (err error) {
	if p.target.Engine != p.c.Capture.Engine {
		return fmt.Errorf("the capture is of %s, the target of %s: %w", p.c.Capture.Engine, p.target.Engine, drivers.ErrInvalid)
	}
	for _, f := range []**records{&p.plan.changes, &p.plan.conflicts, &p.plan.mappings} {
		if *f, err = newRecords(p.c.Scratch); err != nil {
			return err
		}
	}
	for _, x := range []**index{&p.fates, &p.rows} {
		if *x, err = newIndex(p.c.Scratch, p.c.Memory); err != nil {
			return err
		}
	}
	rows := p.c.Rows
	if rows <= 0 {
		rows = batchRows
	}
	p.out = &output{plan: p.plan, rows: rows, bytes: batchBytes, open: make(map[string]*openBatch)}
	p.graph = relational.NewGraph(p.target, p.c.Edges)
	if err := p.makeTables(); err != nil {
		return err
	}
	if p.plan.Target, err = fingerprint(p.target); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{p.remember, p.survey, p.write} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(p.unweighed, p.out.end()); err != nil {
		return err
	}
	p.sequences()
	p.triggers()
	p.plan.Conflicts = sorted(p.counted)
	return p.plan.seal()
}

// fingerprint is a hash of a model without what rows change.
func fingerprint(m *relational.Model) (string, error) {
	var plain []relational.Table
	for _, t := range m.Tables {
		bare := *t
		bare.Rows = 0
		plain = append(plain, bare)
	}
	raw, err := json.Marshal(plain)
	if err != nil {
		return "", fmt.Errorf("hash the tables: %w", err)
	}
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Kinds of what is kept of rows.
const (
	kindFate    = 'f' // of a captured row, by a reference
	kindLeaving = 'l' // a row of the target gives unique values up: the columns that it changes
	kindDoomed  = 'd' // a row of the target is to be deleted, by a reference
	kindDoomKey = 'D' // and by its key
	kindMoves   = 'v' // a row of the target is changed: the columns
	kindAside   = 'a' // its values were put aside: the columns and what they are meanwhile
	kindSettled = 't' // its last change is written: the segment
	kindStays   = 'y' // it gives nothing up after all
	kindKnown   = 'k' // an earlier merge has given it that key
	kindWritten = 'w' // an earlier merge has written so many of a row without a key
	kindRefused = 'x' // the database does not take it
	kindKept    = 'K' // it is not deleted after all
	kindTangled = 'T' // the fate of a row of a cycle
)

// remember takes in what earlier merges and trials have found out.
func (p *planner) remember(ctx context.Context) error {
	for _, r := range p.c.Refusals {
		t := p.tables[r.Table]
		if t == nil {
			return fmt.Errorf("table %s that was refused: %w", r.Table, drivers.ErrNotFound)
		}
		if err := p.rows.put(ctx, append(t.mark(kindRefused, 0, nil), r.Key...), []byte(string(r.Code)+"\x00"+r.Message)); err != nil {
			return err
		}
	}
	if p.c.Known == nil {
		return nil
	}
	return p.c.Known(func(m *Mapping) error {
		t := p.tables[m.Table]
		if t == nil {
			return fmt.Errorf("table %s of an earlier merge: %w", m.Table, drivers.ErrNotFound)
		}
		if t.key == nil {
			raw, err := hex.DecodeString(strings.Trim(string(m.Old[0]), `"`))
			if err != nil {
				return fmt.Errorf("mapping of table %s: %w", m.Table, drivers.ErrInvalid)
			}
			_, err = p.rows.at.Add(ctx, append(t.mark(kindWritten, 0, nil), raw...), m.Rows)
			return err
		}
		sides := [2][]relational.Value{}
		for n, side := range [][]json.RawMessage{m.Old, m.New} {
			if len(side) != len(t.keyAt) {
				return fmt.Errorf("mapping of table %s: %w", m.Table, drivers.ErrInvalid)
			}
			for i, place := range t.keyAt {
				v, err := relational.ParseJSON(&t.Columns[place], side[i])
				if err != nil {
					return fmt.Errorf("mapping of table %s: %w", m.Table, err)
				}
				sides[n] = append(sides[n], v)
			}
		}
		return p.rows.put(ctx, t.mark(kindKnown, 0, sides[0]), relational.AppendValues(nil, sides[1]))
	})
}

// survey reads all lines once: which tables there are, what gives unique values up, what is to be deleted.
func (p *planner) survey(ctx context.Context) error {
	p.plan.Tables = nil
	order := make(map[relational.Name]int)
	for i, component := range p.graph.Components {
		for _, t := range component {
			order[t.Name] = i
		}
	}
	for _, live := range p.c.Capture.Tables {
		t := p.tables[live.Name]
		counts := &TableCounts{Table: live.Name}
		var missing, extra []string
		if t != nil {
			t.tally = counts
			missing, extra = t.schema()
		}
		err := p.c.Lines(ctx, live, func(l *relational.Line) error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if t == nil {
				return drivers.WithHint(fmt.Errorf("table %s: the target does not have it: %w", live.Name, drivers.ErrNotFound), "is the target a restore of that dump? Otherwise leave the table out")
			}
			counts.Lines++
			if counts.Lines == 1 {
				if err := p.noteSchema(t, missing, extra); err != nil {
					return err
				}
			}
			return p.surveyLine(ctx, t, l)
		})
		if err != nil {
			return fmt.Errorf("read the lines of table %s: %w", live.Name, err)
		}
		if counts.Lines > 0 {
			p.plan.Tables = append(p.plan.Tables, counts)
		}
	}
	slices.SortStableFunc(p.plan.Tables, func(a, b *TableCounts) int { return order[a.Table] - order[b.Table] })
	return nil
}

// schema compares the columns.
func (t *table) schema() (missing, extra []string) {
	for i, c := range t.Columns {
		if t.from[i] < 0 && !c.Nullable && !c.Generated && c.Default == "" && !c.Identity {
			missing = append(missing, c.Name)
		}
	}
	for _, c := range t.live.Columns {
		if t.Index(c.Name) < 0 && !c.Generated {
			extra = append(extra, c.Name)
		}
	}
	return missing, extra
}

func (p *planner) noteSchema(t *table, missing, extra []string) error {
	for _, s := range []struct {
		code    Code
		columns []string
	}{{MissingCol, missing}, {ExtraCol, extra}} {
		if len(s.columns) == 0 {
			continue
		}
		if err := p.settle(&Conflict{Code: s.code, Table: t.Name, Columns: s.columns}); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) surveyLine(ctx context.Context, t *table, l *relational.Line) error {
	it, err := p.item(t, l)
	if err != nil {
		return err
	}
	if t.key == nil {
		return nil
	}
	row := it.row()
	if it.op != relational.OpDeleted {
		for _, i := range t.keyAt {
			if t.Columns[i].Identity {
				t.highest = higher(t.highest, row[i])
			}
		}
	}
	key := t.keyOf(row)
	switch {
	case it.op == relational.OpModified && !it.leave && len(it.changed) > 0:
		if err := p.rows.put(ctx, t.mark(kindMoves, 0, key), places(it.changed)); err != nil {
			return err
		}
		if slices.ContainsFunc(t.unique, func(k uniqueKey) bool { return it.touches(k.at) }) {
			return p.rows.put(ctx, t.mark(kindLeaving, 0, key), places(it.changed))
		}
	case it.op == relational.OpDeleted && it.apply && !it.leave:
		for ref := range t.refs {
			if err := p.rows.put(ctx, t.refMark(kindDoomed, ref, pick(row, t.refs[ref].at)), nil); err != nil {
				return err
			}
		}
		for _, kind := range []byte{kindDoomKey, kindLeaving} {
			if err := p.rows.put(ctx, t.mark(kind, 0, key), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// places writes places in a table as a text.
func places(list []int) []byte {
	b := make([]byte, 0, 2*len(list))
	for _, i := range list {
		b = append(b, byte(i>>8), byte(i)) //nolint:gosec // no table has 65,536 columns
	}
	return b
}

func readPlaces(b []byte) (list []int) {
	for ; len(b) > 1; b = b[2:] {
		list = append(list, int(b[0])<<8|int(b[1]))
	}
	return list
}

// higher is the higher of two numbers; what is none does not count.
func higher(a []byte, v relational.Value) []byte {
	if v.Kind != relational.Int {
		return a
	}
	x, ok := new(big.Int).SetString(string(a), 10)
	y, isNumber := new(big.Int).SetString(string(v.Text), 10)
	if !isNumber || ok && x.Cmp(y) >= 0 {
		return a
	}
	return slices.Clone(v.Text)
}

// note counts a conflict and keeps it.
func (p *planner) note(c *Conflict) error {
	key := c.Table.Schema + "\x00" + c.Table.Name + "\x00" + string(c.Code) + "\x00" + string(c.Policy)
	n := p.counted[key]
	if n == nil {
		n = &ConflictCount{Table: c.Table, Code: c.Code, Policy: c.Policy}
		p.counted[key] = n
	}
	n.Count++
	if len(n.Samples) < sampleMost {
		n.Samples = append(n.Samples, c)
	}
	if c.Open() {
		p.plan.Open++
		if t := p.tables[c.Table]; t != nil && t.tally != nil {
			t.tally.Open++
		}
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("note a conflict: %w", err)
	}
	_, err = p.plan.conflicts.add(raw)
	return err
}

// conflict begins one of an item.
func (it *item) conflict(code Code) *Conflict {
	c := &Conflict{Code: code, Table: it.table.Name, Op: it.op, Row: it.table.identify(it.row())}
	for _, i := range it.table.keyAt {
		c.PK = append(c.PK, relational.AppendJSON(nil, &it.table.Columns[i], it.row()[i]))
	}
	return c
}

// triggers lists those that would fire.
func (p *planner) triggers() {
	for _, t := range p.target.Tables {
		for _, tr := range t.Triggers {
			name := t.Name.String() + " " + tr.Name
			if tr.Disabled || p.c.Abilities.Silent && !slices.Contains(p.c.Abilities.Firing, name) {
				continue
			}
			fires := slices.ContainsFunc(p.plan.Batches, func(b *relational.Batch) bool {
				return b.Table == t.Name && (slices.Contains(tr.Events, string(b.Kind)) || slices.Contains(tr.Events, "any"))
			})
			if fires {
				p.plan.Triggers = append(p.plan.Triggers, name)
			}
		}
	}
}

// sequences tells what counters are to be set to: those of the capture, where they are ahead, and those of tables that get rows.
func (p *planner) sequences() {
	touched := make(map[relational.Name]bool)
	for _, b := range p.plan.Batches {
		touched[b.Table] = touched[b.Table] || b.Kind == relational.ChangeInsert
	}
	own := make(map[relational.Name]bool) // sequences that columns of touched tables draw from
	for _, t := range p.target.Tables {
		for _, c := range t.Columns {
			if c.Sequence != nil && touched[t.Name] {
				own[*c.Sequence] = true
			}
		}
	}
	there := make(map[relational.Name]relational.Sequence)
	for _, s := range p.target.Sequences {
		there[s.Name] = s
	}
	if p.plan.Empty() {
		return
	}
	want := func(now relational.Sequence, live *relational.Sequence) {
		ahead := live != nil && isAhead(*live, now)
		if !ahead && !own[now.Name] && (now.Table == nil || !touched[*now.Table]) {
			return
		}
		set := relational.SequenceState{Sequence: now}
		if ahead {
			set.Last, set.Called = live.Last, live.Called
		}
		p.plan.Sequences = append(p.plan.Sequences, set)
		p.plan.Before = append(p.plan.Before, relational.SequenceState{Sequence: now, Exact: true})
	}
	seen := make(map[relational.Name]bool)
	for i := range p.c.Capture.Sequences {
		live := &p.c.Capture.Sequences[i]
		now, ok := there[live.Name]
		if !ok {
			if live.Table == nil || p.tables[*live.Table] == nil || p.tables[*live.Table].tally == nil || p.target.Engine != "sqlite" {
				continue
			}
			now = relational.Sequence{Name: live.Name, Increment: live.Increment, Table: live.Table, Column: live.Column}
		}
		seen[live.Name] = true
		want(now, live)
	}
	for _, s := range p.target.Sequences {
		if !seen[s.Name] {
			want(s, nil)
		}
	}
}

// isAhead tells whether a counter has given more than another one.
func isAhead(a, b relational.Sequence) bool {
	x, ok := new(big.Int).SetString(a.Last, 10)
	y, okB := new(big.Int).SetString(b.Last, 10)
	switch {
	case !ok:
		return false
	case !okB:
		return true
	}
	order := x.Cmp(y)
	if strings.HasPrefix(a.Increment, "-") {
		order = -order
	}
	return order > 0 || order == 0 && a.Called && !b.Called
}
