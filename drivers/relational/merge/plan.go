package merge

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"salvor/drivers"
	"salvor/drivers/relational"
)

// format is that of a plan in a file.
const format = 1

// Plan says what a merge writes, and what it does not. It is closed by whoever has it.
type Plan struct {
	Format int    `json:"format"`
	Engine string `json:"engine"`
	// Capture names what was captured, Target is a hash of the target's tables: their columns, keys and references.
	Capture string `json:"capture"`
	Target  string `json:"target"`
	// Tables are those of which lines were captured, in the order of writing.
	Tables []*TableCounts `json:"tables"`
	// Conflicts are counted by table, code and policy, with some of each. Open is how many nothing settles.
	Conflicts []*ConflictCount `json:"conflicts,omitempty"`
	Open      int64            `json:"open,omitempty"`
	// Batches are in the order of writing.
	Batches []*relational.Batch `json:"batches"`
	// Sequences are what counters are to be set to, Before what they were.
	Sequences []relational.SequenceState `json:"sequences,omitempty"`
	Before    []relational.SequenceState `json:"sequences_before,omitempty"`
	// Triggers are those that would fire, by table, where the target cannot silence them.
	Triggers []string `json:"triggers,omitempty"`
	// Notes are what else somebody must know.
	Notes []string `json:"notes,omitempty"`
	// Mapped is how many captured rows have another key in the target, see EachMapping.
	Mapped int64 `json:"mapped,omitempty"`
	// Hash is that of all of the plan.
	Hash string `json:"hash"`

	model     *relational.Model
	changes   *records
	regions   []region // of the batches
	conflicts *records
	mappings  *records
}

// region is where a batch's changes are: pieces of the file.
type region struct{ pieces [][2]int64 }

// TableCounts says how many lines a table has, and what becomes of them.
type TableCounts struct {
	Table     relational.Name `json:"table"`
	Lines     int64           `json:"lines"`
	Inserted  int64           `json:"inserted,omitempty"`
	Updated   int64           `json:"updated,omitempty"`
	Deleted   int64           `json:"deleted,omitempty"`
	Equal     int64           `json:"equal,omitempty"`   // the target has them already
	Left      int64           `json:"left,omitempty"`    // left out by a decision
	Skipped   int64           `json:"skipped,omitempty"` // left out by a policy, or for what they hang on
	Remapped  int64           `json:"remapped,omitempty"`
	Unified   int64           `json:"unified,omitempty"`
	Unwritten int64           `json:"deleted_unapplied,omitempty"` // deleted rows that stay
	Open      int64           `json:"open,omitempty"`
}

// ConflictCount counts conflicts that are alike.
type ConflictCount struct {
	Table  relational.Name `json:"table"`
	Code   Code            `json:"code"`
	Policy Policy          `json:"policy"`
	Count  int64           `json:"count"`
	// Samples are the first of them.
	Samples []*Conflict `json:"samples,omitempty"`
}

// sampleMost is how many conflicts that are alike the plan shows.
const sampleMost = 10

// Mapping tells that a captured row has another key in the target.
type Mapping struct {
	Table relational.Name `json:"table"`
	// Old and New are the keys, as JSON, by the columns of the table's key. Of a row without a key Old is the hash of what was written.
	Old []json.RawMessage `json:"old"`
	New []json.RawMessage `json:"new,omitempty"`
	// Rows tells how many rows of a table without a key were written.
	Rows int64 `json:"rows,omitempty"`
}

// Close removes the files.
func (pl *Plan) Close() error {
	var errs []error
	for _, r := range []*records{pl.changes, pl.conflicts, pl.mappings} {
		if r != nil {
			errs = append(errs, r.close())
		}
	}
	return errors.Join(errs...)
}

// Empty tells that nothing is to be written.
func (pl *Plan) Empty() bool { return len(pl.Batches) == 0 }

// Model is that of the target, by which changes are.
func (pl *Plan) Model() *relational.Model { return pl.model }

// Units are the numbers of the units, in their order.
func (pl *Plan) Units() []int {
	var units []int
	for _, b := range pl.Batches {
		if len(units) == 0 || units[len(units)-1] != b.Unit {
			units = append(units, b.Unit)
		}
	}
	return units
}

// Unit are the batches of a unit.
func (pl *Plan) Unit(unit int) []*relational.Batch {
	var list []*relational.Batch
	for _, b := range pl.Batches {
		if b.Unit == unit {
			list = append(list, b)
		}
	}
	return list
}

// Changes yields the changes of a batch. Batches may be read side by side once the plan is made.
func (pl *Plan) Changes(b *relational.Batch) relational.Changes {
	return func(yield func(*relational.Change) error) error {
		t := pl.model.Table(b.Table)
		if t == nil || b.Number >= len(pl.regions) {
			return fmt.Errorf("batch %d of table %s: %w", b.Number, b.Table, drivers.ErrNotFound)
		}
		for _, piece := range pl.regions[b.Number].pieces {
			err := pl.changes.each(piece[0], piece[1], func(raw []byte) error {
				c, err := decodeChange(t, b, raw)
				if err != nil {
					return err
				}
				return yield(c)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// EachConflict yields every conflict.
func (pl *Plan) EachConflict(yield func(*Conflict) error) error {
	return pl.conflicts.each(0, pl.conflicts.end, func(raw []byte) error {
		var c Conflict
		if err := json.Unmarshal(raw, &c); err != nil {
			return fmt.Errorf("read a conflict: %w: %w", drivers.ErrCorrupt, err)
		}
		return yield(&c)
	})
}

// EachMapping yields every captured row that has another key in the target.
func (pl *Plan) EachMapping(yield func(*Mapping) error) error {
	return pl.mappings.each(0, pl.mappings.end, func(raw []byte) error {
		var m Mapping
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("read a mapping: %w: %w", drivers.ErrCorrupt, err)
		}
		return yield(&m)
	})
}

// old are the columns of a batch whose former values a change carries.
func oldColumns(b *relational.Batch) []string {
	list := slices.Clone(b.Columns)
	for _, k := range b.Key {
		if !slices.Contains(list, k) {
			list = append(list, k)
		}
	}
	return list
}

// appendChange writes a change of a batch.
func appendChange(to []byte, t *relational.Table, b *relational.Batch, c *relational.Change) []byte {
	if b.Kind != relational.ChangeDelete {
		to = relational.AppendValues(to, pick(c.New, t.Indexes(b.Columns)))
	}
	if b.Kind != relational.ChangeInsert {
		to = relational.AppendValues(to, pick(c.Old, t.Indexes(oldColumns(b))))
	}
	return to
}

// decodeChange reads one back. Its values are parts of raw.
func decodeChange(t *relational.Table, b *relational.Batch, raw []byte) (*relational.Change, error) {
	c := &relational.Change{}
	spread := func(columns []string) (list []relational.Value, err error) {
		var values []relational.Value
		if values, raw, err = relational.ReadValues(raw, len(columns)); err != nil {
			return nil, err
		}
		list = make([]relational.Value, len(t.Columns))
		for i, place := range t.Indexes(columns) {
			if place < 0 {
				return nil, fmt.Errorf("column %q of table %s: %w", columns[i], t.Name, drivers.ErrNotFound)
			}
			list[place] = values[i]
		}
		return list, nil
	}
	var err error
	if b.Kind != relational.ChangeDelete {
		if c.New, err = spread(b.Columns); err != nil {
			return nil, err
		}
	}
	if b.Kind != relational.ChangeInsert {
		if c.Old, err = spread(oldColumns(b)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// seal computes the hash.
func (pl *Plan) seal() error {
	h := sha256.New()
	pl.Hash = ""
	if err := pl.write(h); err != nil {
		return err
	}
	pl.Hash = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return nil
}

// Save writes the plan so that Read makes the same of it.
func (pl *Plan) Save(w io.Writer) error { return pl.write(w) }

func (pl *Plan) write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	for _, v := range []any{pl, pl.model} {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("write a plan: %w", err)
		}
		if err := writeBlock(out, int64(len(raw)), func(out io.Writer) error {
			_, err := out.Write(raw)
			return err
		}); err != nil {
			return err
		}
	}
	blocks := []region{{[][2]int64{{0, pl.conflicts.end}}}, {[][2]int64{{0, pl.mappings.end}}}}
	files := []*records{pl.conflicts, pl.mappings}
	for range pl.regions {
		files = append(files, pl.changes)
	}
	for i, r := range append(blocks, pl.regions...) {
		var size int64
		for _, piece := range r.pieces {
			size += piece[1] - piece[0]
		}
		err := writeBlock(out, size, func(out io.Writer) error {
			for _, piece := range r.pieces {
				section, err := files[i].section(piece[0], piece[1])
				if err != nil {
					return err
				}
				if _, err := io.Copy(out, section); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write a plan: %w", err)
	}
	return nil
}

func writeBlock(out io.Writer, size int64, body func(io.Writer) error) error {
	_, err := out.Write(binary.BigEndian.AppendUint64(nil, uint64(size))) //nolint:gosec // a size
	if err == nil {
		err = body(out)
	}
	if err != nil {
		return fmt.Errorf("write a plan: %w", err)
	}
	return nil
}

// Read reads a plan that Save has written; dir is where its files are made. The error wraps [drivers.ErrCorrupt] for what is no plan, or
// not all of it.
func Read(r io.Reader, dir string) (_ *Plan, err error) {
	pl := &Plan{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("read a plan: %w", err), pl.Close())
		}
	}()
	for _, f := range []**records{&pl.changes, &pl.conflicts, &pl.mappings} {
		if *f, err = newRecords(dir); err != nil {
			return nil, err
		}
	}
	in := bufio.NewReaderSize(r, 64<<10)
	for _, v := range []any{pl, &pl.model} {
		size, err := readSize(in)
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(io.LimitReader(in, size))
		if err != nil || int64(len(raw)) != size {
			return nil, errors.Join(errRecord, err)
		}
		if err := json.Unmarshal(raw, v); err != nil {
			return nil, fmt.Errorf("%w: %w", drivers.ErrCorrupt, err)
		}
	}
	if pl.Format != format || pl.model == nil {
		return nil, fmt.Errorf("format %d: %w", pl.Format, drivers.ErrCorrupt)
	}
	if err := pl.model.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", drivers.ErrCorrupt, err)
	}
	files := []*records{pl.conflicts, pl.mappings}
	for range pl.Batches {
		files = append(files, pl.changes)
	}
	for i, f := range files {
		size, err := readSize(in)
		if err != nil {
			return nil, err
		}
		from := f.end
		n, err := io.CopyN(f.out, in, size)
		f.end, f.dirt = f.end+n, true
		if err != nil {
			return nil, errors.Join(errRecord, err)
		}
		if i >= 2 {
			pl.regions = append(pl.regions, region{[][2]int64{{from, f.end}}})
		}
	}
	claimed := pl.Hash
	if err := pl.seal(); err != nil {
		return nil, err
	}
	if pl.Hash != claimed {
		return nil, fmt.Errorf("its hash is another one: %w", drivers.ErrCorrupt)
	}
	return pl, nil
}

func readSize(in io.Reader) (int64, error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, errors.Join(errRecord, err)
	}
	size := int64(binary.BigEndian.Uint64(head[:])) //nolint:gosec // checked
	if size < 0 {
		return 0, errRecord
	}
	return size, nil
}
