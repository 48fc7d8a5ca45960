package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
)

// mostDifferences bounds how many are named.
const mostDifferences = 100

// errDiffers ends a comparison at the first difference.
var errDiffers = errors.New("target differs")

// expected adds up what the dump says of a table, or of a list of large objects.
func expected(parts []loadPart) (*rows.Digest, error) {
	d := &rows.Digest{}
	for _, p := range parts {
		if err := d.AddText(p.Digest, p.Rows); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// scan counts and hashes what a COPY gives.
func (w *wire) scan(ctx context.Context, sql string) (*rows.Digest, error) {
	d := &rows.Digest{}
	err := w.copyOut(ctx, sql, func(p []byte) error {
		d.Write(p)
		return nil
	})
	return d, err
}

// reader opens a session that reads the target.
func (s *Source) reader(ctx context.Context, what string) (*wire, error) {
	c, err := s.connect(ctx, what)
	if err != nil {
		return nil, s.explain(err)
	}
	if err := c.exec(ctx, "SET default_transaction_read_only = on"); err != nil {
		c.close(ctx)
		return nil, fmt.Errorf("prepare session: %w", classify(err))
	}
	return newWire(ctx, c)
}

// compareTable tells how a table differs from the dump; "" where it does not.
func (s *Source) compareTable(ctx context.Context, t *table, parts []loadPart) (string, error) {
	if t == nil {
		return parts[0].ref.Schema + "." + parts[0].ref.Table + " is not there", nil
	}
	w, err := s.reader(ctx, "compare")
	if err != nil {
		return "", err
	}
	defer w.close()
	return w.compareTable(ctx, parts)
}

func (w *wire) compareTable(ctx context.Context, parts []loadPart) (string, error) {
	want, err := expected(parts)
	if err != nil {
		return "", err
	}
	r := *parts[0].ref
	r.Ranges = 1
	have, err := w.scan(ctx, r.copySQL())
	name := r.Schema + "." + r.Table
	switch {
	case isCode(err, codeNoTable, codeNoSchema):
		return name + " is not there", nil
	case isCode(err, "42703"):
		return name + " has other columns", nil
	case err != nil:
		return "", fmt.Errorf("compare table %s: %w", name, classify(told(ctx, err)))
	}
	return have.Difference(name, want), nil
}

// compareObjects does the same for large objects. The parts of one list (an object that was split) belong together.
func (w *wire) compareObjects(ctx context.Context, v *view, parts []loadPart) (string, error) {
	want, err := expected(parts)
	if err != nil {
		return "", err
	}
	have, err := v.dumpObjects(ctx, w, parts[0].ref, io.Discard)
	if isCode(err, codeNoObject) {
		return "a large object is not there", nil
	}
	if err != nil {
		return "", err
	}
	got := &rows.Digest{}
	if err := got.AddText(have.Digest, have.Rows); err != nil {
		return "", err
	}
	return got.Difference("large objects", want), nil
}

// Prove compares every table, the large objects and the sequences with the dump.
func (s *Source) Prove(ctx context.Context, target drivers.Target, parts []drivers.Part) (drivers.Proof, error) {
	c, err := readContents(parts, target.Only)
	if err != nil {
		return drivers.Proof{}, err
	}
	proof := drivers.Proof{}
	for _, list := range c.tables {
		proof.Tables++
		for _, p := range list {
			proof.Rows += p.Rows
		}
	}
	var mu sync.Mutex
	err = s.compareAll(ctx, target, c, func(text string) error {
		mu.Lock()
		defer mu.Unlock()
		if len(proof.Differences) < mostDifferences {
			proof.Differences = append(proof.Differences, text)
		}
		return nil
	})
	if err != nil {
		return proof, told(ctx, err)
	}
	if len(target.Only) == 0 {
		if text, err := s.compareSequences(ctx, target, c); err != nil {
			return proof, told(ctx, err)
		} else if text != "" {
			proof.Differences = append(proof.Differences, text)
		}
	}
	slices.Sort(proof.Differences)
	return proof, nil
}

// compareAll compares tables and large objects, the largest first, by several sessions.
func (s *Source) compareAll(ctx context.Context, target drivers.Target, c *contents, report func(string) error) error {
	type job struct {
		parts   []loadPart
		objects bool
		size    int64
	}
	var jobs []job
	for _, list := range compared(target, c) {
		j := job{parts: list}
		for _, p := range list {
			j.size += p.Size
		}
		jobs = append(jobs, j)
	}
	byList := make(map[string][]loadPart)
	for _, p := range c.objects {
		key := fmt.Sprint(p.ref.From)
		byList[key] = append(byList[key], p)
	}
	for _, list := range byList {
		jobs = append(jobs, job{parts: list, objects: true})
	}
	slices.SortFunc(jobs, func(a, b job) int { return int(min(max(b.size-a.size, -1), 1)) })
	group, ctx := errgroup.WithContext(ctx)
	next := make(chan job, len(jobs))
	for _, j := range jobs {
		next <- j
	}
	close(next)
	for range min(sessions(), len(jobs)) {
		group.Go(func() error {
			w, err := s.reader(ctx, "compare")
			if err != nil {
				return err
			}
			defer w.close()
			v := &view{source: s}
			for j := range next {
				var text string
				if j.objects {
					text, err = w.compareObjects(ctx, v, j.parts)
				} else {
					text, err = w.compareTable(ctx, j.parts)
				}
				if err == nil && text != "" {
					err = report(text)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// compareSequences tells whether the sequences' states are those of the dump.
func (s *Source) compareSequences(ctx context.Context, target drivers.Target, c *contents) (string, error) {
	if c.sequences == nil || target.Open == nil {
		return "", nil
	}
	schema, err := s.readSchema(ctx, target, c)
	if err != nil {
		return "", err
	}
	wanted, err := schema.sequences(ctx, target, *c.sequences)
	if err != nil {
		return "", err
	}
	w, err := s.reader(ctx, "compare")
	if err != nil {
		return "", err
	}
	defer w.close()
	var have strings.Builder
	if _, err := (&view{source: s}).dumpSequences(ctx, w, &have); err != nil {
		return "", err
	}
	states, err := splitStatements(have.String(), false)
	if err != nil {
		return "", fmt.Errorf("read sequences: %w", err)
	}
	got := make(map[string]bool, len(states))
	for _, sql := range states {
		got[sql] = true
	}
	for _, st := range wanted {
		if st.defined && !got[st.sql] {
			return "sequences: not all are as in the dump: " + st.sql, nil
		}
	}
	return "", nil
}

// differs tells how the whole database differs from a dump; "" where it does not. What costs little is compared first.
func (s *Source) differs(ctx context.Context, w *conn, target drivers.Target, c *contents) (string, error) {
	tables, err := s.targetTables(ctx, w)
	if err != nil {
		return "", err
	}
	for key, t := range tables {
		if _, ok := c.tables[key]; !ok && t.kind == "r" && !t.noData {
			return "it has " + t.label() + ", which the dump lacks", nil
		}
	}
	for key := range c.tables {
		if tables[key] == nil {
			return "it lacks tables of the dump", nil
		}
	}
	// Where the dump has large objects, its parts stand for all there can be.
	objects, err := s.countLargeObjects(ctx, w)
	if err != nil {
		return "", err
	}
	if objects > 0 && len(c.objects) == 0 {
		return "it has large objects, which the dump lacks", nil
	}
	if text, err := s.compareSequences(ctx, target, c); text != "" || err != nil {
		return text, err
	}
	if text, err := s.compareObjectMetadata(ctx, c); text != "" || err != nil {
		return text, err
	}
	if same, err := s.sameSchema(ctx, target, c); err != nil || !same {
		return "it has another schema", err
	}
	var first string
	var mu sync.Mutex
	err = s.compareAll(ctx, target, c, func(text string) error {
		mu.Lock()
		defer mu.Unlock()
		first = text
		return errDiffers
	})
	if err != nil && !errors.Is(err, errDiffers) {
		return "", err
	}
	return first, nil
}

// sameSchema compares the schema of the database with that of the dump, as sets of lines.
func (s *Source) sameSchema(ctx context.Context, target drivers.Target, c *contents) (bool, error) {
	file, err := s.openSchema(ctx, target, c.schema)
	if err != nil {
		return false, err
	}
	defer file.close()
	want, err := file.lines(ctx, c)
	if err != nil {
		return false, err
	}
	p, err := findProgram(ctx, "pg_dump", c.schemaRef.Version)
	if err != nil {
		return false, err
	}
	present := drivers.Target{Open: func(ctx context.Context, _ drivers.Part) (io.ReadCloser, error) {
		out, in := io.Pipe()
		go func() {
			in.CloseWithError(s.run(ctx, p, in, append(s.dumpArgs(c.schemaRef), "--dbname="+s.tool.public)...))
		}()
		return out, nil
	}}
	other, err := s.openSchema(ctx, present, c.schema)
	if err != nil {
		return false, err
	}
	defer other.close()
	have, err := other.lines(ctx, c)
	if err != nil {
		return false, err
	}
	slices.Sort(want)
	slices.Sort(have)
	return slices.Equal(want, have), nil
}
