package relational

// Line makes the line of a row that was found. other is the same table of the dump, whose columns f.Base is by; nil where there is
// none. Of a row that was modified, changed are the places of the columns that the line tells of, and without those that it leaves
// out, as they belong to a [Group].
func (t *Table) Line(other *Table, f *Found, changed, without []int) *Line {
	l := &Line{Table: t, Op: f.Op, Why: f.Why}
	if f.Live != nil {
		l.Data, l.Has = f.Live, t.Written()
		for _, place := range without {
			l.Has[place] = false
		}
		t.haveKey(l.Has)
	}
	l.compared(other, f, changed)
	return l
}

// GroupLine makes the line of a row as one of a group: of a row that was modified it has the key and the columns that the group
// changed, so that the lines of a table's own and those of its groups say each column once.
func (t *Table) GroupLine(other *Table, f *Found, changed []int) *Line {
	if f.Op != OpModified || len(changed) == 0 {
		return t.Line(other, f, changed, nil)
	}
	l := &Line{Table: t, Op: f.Op, Why: f.Why, Data: f.Live, Has: make([]bool, len(t.Columns))}
	for _, place := range changed {
		l.Has[place] = true
	}
	if t.Identity() == nil {
		l.Has = t.Written() // the row is known by all that it holds
	}
	t.haveKey(l.Has)
	l.compared(other, f, changed)
	return l
}

// haveKey has a line tell the key.
func (t *Table) haveKey(has []bool) {
	if key := t.Identity(); key != nil {
		for _, place := range t.Indexes(key.Columns) {
			has[place] = true
		}
	}
}

// compared adds what the row was in the dump.
func (l *Line) compared(other *Table, f *Found, changed []int) {
	if f.Base == nil || other == nil {
		return
	}
	tells := make([]bool, len(l.Table.Columns))
	if f.Op == OpDeleted {
		tells = l.Table.Written()
	}
	for _, place := range changed {
		l.Changed = append(l.Changed, l.Table.Columns[place].Name)
		tells[place] = true
	}
	l.Base, l.HadBase = make([]Value, len(l.Table.Columns)), make([]bool, len(l.Table.Columns))
	for i, c := range l.Table.Columns {
		if j := other.Index(c.Name); tells[i] && j >= 0 {
			l.Base[i], l.HadBase[i] = f.Base[j], true
		}
	}
}

// Line makes the line of a row that a closure added.
func (a *Added) Line() *Line {
	return &Line{
		Table: a.Table, Op: a.Op, Data: a.Row.Values, Has: a.Table.Written(),
		Via: a.Reached(),
	}
}
