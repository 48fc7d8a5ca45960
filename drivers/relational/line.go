package relational

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"salvor/drivers"
)

// Line is a captured row as a line of JSON that people read and edit:
//
//	{"app":"shop","model":"order","data":{"id":5,"total":"10.50","paid":false,"note":""},
//	 "table":"public.shop_order","op":"c","pk":[5],"why":["created","diff"],"via":null,"hash":"…"}
//
// A row that was modified has the columns that differ in changed, and what they were in base. Of a deleted one data is null, and
// base all that it was. Generated columns are left out.
type Line struct {
	// App and Model are Django's names, "" where there are none.
	App, Model string
	Table      *Table
	Op         Op
	Why        Why
	// Via tells how a closure came to the row; nil for one that was found.
	Via *Via
	// Data and Base are by the table's columns. Has and HadBase tell which of them the line has.
	Data, Base   []Value
	Has, HadBase []bool
	// Changed are the names of the columns that differ.
	Changed []string
	// Edited tells that values are not as they were written, or that somebody wrote the line. It is set by ParseLine.
	Edited bool
}

// Via is how a closure came to a row.
type Via struct {
	Edge  string            `json:"edge"`
	From  string            `json:"from"`
	PK    []json.RawMessage `json:"pk"`
	Depth int               `json:"depth"`
}

// AppendLine appends a line, with its line feed.
func AppendLine(to []byte, l *Line) []byte {
	to = append(to, '{')
	if l.App != "" || l.Model != "" {
		to = append(to, `"app":`...)
		to = appendString(to, []byte(l.App))
		to = append(to, `,"model":`...)
		to = append(appendString(to, []byte(l.Model)), ',')
	}
	to = append(to, `"data":`...)
	to = l.appendObject(to, l.Data, l.Has)
	to = append(to, `,"table":`...)
	to = appendString(to, []byte(l.Table.Name.String()))
	to = append(to, `,"op":"`...)
	to = append(append(to, l.Op...), `","pk":`...)
	to = l.appendKey(to)
	if l.Op == OpModified {
		to = append(to, `,"changed":`...)
		to = appendStrings(to, l.Changed)
	}
	if l.Op == OpModified || l.Op == OpDeleted {
		to = append(to, `,"base":`...)
		to = l.appendObject(to, l.Base, l.HadBase)
	}
	to = append(to, `,"why":`...)
	to = appendStrings(to, l.Why.Names())
	to = append(to, `,"via":`...)
	via, err := json.Marshal(l.Via)
	if err != nil {
		via = []byte("null") // texts and numbers cannot fail to be written
	}
	to = append(append(to, via...), `,"hash":"`...)
	return append(hex.AppendEncode(to, l.sum()), "\"}\n"...)
}

// sum is the hash of a line: half of what was found, which is nobody's to edit, and half of what is to be written, which is.
func (l *Line) sum() []byte {
	frame := []Value{TextValue(string(l.Op)), TextValue(l.Table.Schema), TextValue(l.Table.Name.Name)}
	for _, c := range l.Changed {
		frame = append(frame, TextValue(c))
	}
	var data []Value
	add := func(values []Value, has []bool, editable func(int) bool) {
		frame, data = append(frame, BoolValue(values != nil)), append(data, BoolValue(values != nil))
		for i, v := range values {
			switch {
			case !has[i]:
			case editable(i):
				data = append(data, TextValue(l.Table.Columns[i].Name), v)
			default:
				frame = append(frame, TextValue(l.Table.Columns[i].Name), v)
			}
		}
	}
	add(l.Data, l.Has, l.Editable)
	add(l.Base, l.HadBase, func(int) bool { return false })
	const half = HashSize / 2
	h, scratch := HashValues(frame, nil)
	d, _ := HashValues(data, scratch)
	return append(slices.Clone(h[:half]), d[:half]...)
}

// Editable tells whether somebody may write another value into a column of a line's data: not into those of the identity, by which other
// rows know this one, nor into those that nobody changed, which are not written. Where nobody knows what was changed, all are.
func (l *Line) Editable(column int) bool {
	name := l.Table.Columns[column].Name
	if key := l.Table.Identity(); key != nil && slices.Contains(key.Columns, name) {
		return false
	}
	return l.Op != OpModified || len(l.Changed) == 0 || slices.Contains(l.Changed, name)
}

func (l *Line) appendObject(to []byte, values []Value, has []bool) []byte {
	if values == nil {
		return append(to, "null"...)
	}
	to = append(to, '{')
	first := true
	for i := range values {
		if !has[i] {
			continue
		}
		if !first {
			to = append(to, ',')
		}
		first = false
		to = appendString(to, []byte(l.Table.Columns[i].Name))
		to = append(to, ':')
		to = AppendJSON(to, &l.Table.Columns[i], values[i])
	}
	return append(to, '}')
}

// appendKey writes the values of the identity; null for a table without one.
func (l *Line) appendKey(to []byte) []byte {
	key := l.Table.Identity()
	values, has := l.Data, l.Has
	if values == nil {
		values, has = l.Base, l.HadBase
	}
	if key == nil || values == nil || l.lacksKey(key, has) {
		return append(to, "null"...)
	}
	to = append(to, '[')
	for i, place := range l.Table.Indexes(key.Columns) {
		if i > 0 {
			to = append(to, ',')
		}
		to = AppendJSON(to, &l.Table.Columns[place], values[place])
	}
	return append(to, ']')
}

// lacksKey tells whether a column of the key is missing: of a deleted row, where the column was added since.
func (l *Line) lacksKey(key *Key, has []bool) bool {
	return slices.ContainsFunc(l.Table.Indexes(key.Columns), func(place int) bool { return !has[place] })
}

func appendStrings(to []byte, list []string) []byte {
	to = append(to, '[')
	for i, s := range list {
		if i > 0 {
			to = append(to, ',')
		}
		to = appendString(to, []byte(s))
	}
	return append(to, ']')
}

// Written tells which columns a line has: all that are not computed, and those of the identity.
func (t *Table) Written() []bool {
	has := make([]bool, len(t.Columns))
	for i, c := range t.Columns {
		has[i] = !c.Generated
	}
	if key := t.Identity(); key != nil {
		for _, i := range t.Indexes(key.Columns) {
			has[i] = true
		}
	}
	return has
}

// Finder finds the table of a line: by its own name, or by Django's where a line has no other. It returns an error wrapping
// [drivers.ErrNotFound] or [drivers.ErrInvalid].
func (m *Model) Finder(table, app, model string) (*Table, error) {
	switch {
	case table != "":
		return m.Find(table)
	case app == "" || model == "":
		return nil, fmt.Errorf("no table: %w", drivers.ErrInvalid)
	}
	var found []*Table
	for _, l := range m.Labels {
		if t := m.Table(l.Table); t != nil && l.App == app && strings.EqualFold(l.Model, model) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0: // as Django names tables where nothing else is said
		return m.Find(strings.ToLower(app + "_" + model))
	case 1:
		return found[0], nil
	}
	return nil, drivers.WithHint(fmt.Errorf("model %s.%s may be %s or %s: %w", app, model, found[0].Name, found[1].Name, drivers.ErrInvalid), "name the table in the line")
}

// rawLine is a line as it is read.
type rawLine struct {
	App     string            `json:"app"`
	Model   string            `json:"model"`
	Data    json.RawMessage   `json:"data"`
	Table   string            `json:"table"`
	Op      Op                `json:"op"`
	PK      []json.RawMessage `json:"pk"`
	Changed []string          `json:"changed"`
	Base    json.RawMessage   `json:"base"`
	Why     []string          `json:"why"`
	Via     *Via              `json:"via"`
	Hash    string            `json:"hash"`
}

// ParseLine reads a line of a capture, as it was written or as somebody has edited it: it is checked against the model again.
// Lines of only app, model and data are new rows. Errors wrap [drivers.ErrInvalid] or [drivers.ErrNotFound], and name columns.
func (m *Model) ParseLine(raw []byte) (*Line, error) {
	// The objects are taken apart by themselves, so that a name that is there twice is seen.
	if _, err := members(raw); err != nil {
		return nil, err
	}
	var r rawLine
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", drivers.ErrInvalid, errNotLine)
	}
	table, err := m.Finder(r.Table, r.App, r.Model)
	if err != nil {
		return nil, err
	}
	if r.Op == "" {
		r.Op = OpCreated
	}
	l := &Line{App: r.App, Model: r.Model, Table: table, Op: r.Op, Via: r.Via, Changed: r.Changed}
	for i, name := range []string{"created", "modified", "diff"} {
		if slices.Contains(r.Why, name) {
			l.Why |= 1 << i
		}
	}
	if l.Data, l.Has, err = table.parseObject(r.Data, true); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if l.Base, l.HadBase, err = table.parseObject(r.Base, false); err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if err := l.check(r.PK); err != nil {
		return nil, err
	}
	if l.Edited, err = l.edited(r.Hash); err != nil {
		return nil, err
	}
	return l, nil
}

// edited compares a line with the hash that it was written with; one that has none was written by somebody.
func (l *Line) edited(hash string) (bool, error) {
	if hash == "" {
		return true, nil
	}
	sum := hex.EncodeToString(l.sum())
	if raw, err := hex.DecodeString(hash); err != nil || len(raw) != HashSize {
		return false, drivers.WithHint(fmt.Errorf("hash: %w: none that was written by a capture", drivers.ErrInvalid), "leave it as it was; a line of your own has none")
	}
	if hash[:HashSize] != sum[:HashSize] {
		return false, drivers.WithHint(fmt.Errorf("hash: %w: more was edited than values that are to be written", drivers.ErrInvalid),
			"the key, op, changed, base and the columns that nobody changed stay as they were found; what becomes of the row is said in the decisions")
	}
	return hash != sum, nil
}

const errNotLine wrong = "not a line of a capture"

// check tells whether a line says one thing.
func (l *Line) check(pk []json.RawMessage) error {
	if !slices.Contains([]Op{OpCreated, OpModified, OpDeleted, OpSupport, OpChild}, l.Op) {
		return fmt.Errorf("op %q: %w: it is c, m, d, s or x", l.Op, drivers.ErrInvalid)
	}
	if (l.Data == nil) != (l.Op == OpDeleted) {
		return fmt.Errorf("op %q: %w: a deleted row has base and no data, any other has data", l.Op, drivers.ErrInvalid)
	}
	if l.Op == OpDeleted && l.Base == nil {
		return fmt.Errorf("op %q: %w: base is missing", l.Op, drivers.ErrInvalid)
	}
	for _, c := range l.Changed {
		if l.Table.Index(c) < 0 {
			return fmt.Errorf("changed: column %q: %w", c, drivers.ErrNotFound)
		}
	}
	key := l.Table.Identity()
	if key == nil {
		return nil
	}
	values, has := l.Data, l.Has
	if values == nil {
		values, has = l.Base, l.HadBase
		if pk == nil && l.lacksKey(key, has) {
			return nil
		}
	}
	for i, place := range l.Table.Indexes(key.Columns) {
		c := &l.Table.Columns[place]
		if !has[place] {
			return fmt.Errorf("column %q of the key: %w: it is missing", c.Name, drivers.ErrInvalid)
		}
		if pk == nil {
			continue
		}
		if len(pk) != len(key.Columns) {
			return fmt.Errorf("pk: %w: %d values of a key of %d columns", drivers.ErrInvalid, len(pk), len(key.Columns))
		}
		v, err := ParseJSON(c, pk[i])
		if err != nil {
			return fmt.Errorf("pk: %w", err)
		}
		if !v.Equal(values[place]) {
			return fmt.Errorf("pk: %w: column %q has another value in the row", drivers.ErrInvalid, c.Name)
		}
	}
	return nil
}

// parseObject reads the columns of a row. Django's name of a reference stands for its column: customer for customer_id. A row that is
// written has to fit the table as it is now; one of the dump may have NULL where that has been forbidden since.
func (t *Table) parseObject(raw json.RawMessage, written bool) (values []Value, has []bool, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil, nil
	}
	list, err := members(raw)
	if err != nil {
		return nil, nil, err
	}
	values, has = make([]Value, len(t.Columns)), make([]bool, len(t.Columns))
	var key []string
	if k := t.Identity(); k != nil {
		key = k.Columns
	}
	for _, member := range list {
		i := t.Index(member.name)
		if i < 0 {
			i = t.Index(member.name + "_id")
		}
		switch {
		case i < 0:
			return nil, nil, drivers.WithHint(fmt.Errorf("column %q: %w", member.name, drivers.ErrNotFound), "the table has "+t.columnList())
		case has[i]:
			return nil, nil, fmt.Errorf("column %q: %w: it is there twice", member.name, drivers.ErrInvalid)
		}
		if values[i], err = ParseJSON(&t.Columns[i], member.value); err != nil {
			return nil, nil, err
		}
		if values[i].Kind == Null && (written || slices.Contains(key, t.Columns[i].Name)) && !t.Columns[i].Nullable && !t.Columns[i].Generated {
			return nil, nil, fmt.Errorf("column %q: %w: it is null, which the column does not take", member.name, drivers.ErrInvalid)
		}
		has[i] = true
	}
	return values, has, nil
}

type member struct {
	name  string
	value json.RawMessage
}

// members are those of an object, in their order. A name that is there twice is an error: Go's decoder would take the last.
func members(raw []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	open, err := d.Token()
	if err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("%w: %w", drivers.ErrInvalid, errNotObject)
	}
	var list []member
	seen := make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, fmt.Errorf("%w: %w", drivers.ErrInvalid, errNotObject)
		}
		if seen[name] {
			return nil, fmt.Errorf("%q: %w: it is there twice", name, drivers.ErrInvalid)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("%q: %w: %w", name, drivers.ErrInvalid, errNotJSON)
		}
		list = append(list, member{name, value})
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("%w: %w", drivers.ErrInvalid, errNotObject)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more than one object in a line", drivers.ErrInvalid)
	}
	return list, nil
}

const errNotObject wrong = "not an object of JSON"

// ParseArray reads the one JSON array that older tools wrote, of objects with app, model and data, and calls yield for each. Place is
// the object's, from 1 on.
func (m *Model) ParseArray(r io.Reader, yield func(place int, l *Line) error) error {
	d := json.NewDecoder(r)
	open, err := d.Token()
	if err != nil || open != json.Delim('[') {
		return fmt.Errorf("%w: not an array of JSON", drivers.ErrInvalid)
	}
	place := 0
	for d.More() {
		place++
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return fmt.Errorf("object %d: %w: %w", place, drivers.ErrInvalid, errNotJSON)
		}
		l, err := m.ParseLine(raw)
		if err != nil {
			return fmt.Errorf("object %d: %w", place, err)
		}
		if err := yield(place, l); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%w: the array ends early, after %d objects", drivers.ErrInvalid, place)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the array, which would not be read", drivers.ErrInvalid)
	}
	return nil
}
