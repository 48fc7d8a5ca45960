package drivers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/internal/secret"
)

// desk is the database of the example: pads of paper, by name. It has what a driver needs of a database: it can be read
// at one moment, and a change of it happens as a whole or not at all.
type desk struct {
	mu   sync.Mutex
	pads map[string]pad
}

type pad struct {
	text string
	// loaded is the restore that wrote the text, until it is finished. A database has it in a table of its own and
	// changes it in the transaction that loads.
	loaded string
}

// kind is what the registry is given.
func (d *desk) kind() drivers.Kind {
	return drivers.Kind{
		Name: "pad", Scheme: "pad", Shape: drivers.ShapeStream, Holds: true,
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			name := spec.Source.Reveal()
			if name == "" {
				return nil, fmt.Errorf("open pad: no name: %w", drivers.ErrInvalid)
			}
			return &source{d, name}, nil // whether it exists, Freeze tells
		},
	}
}

// source is a pad, which need not exist.
type source struct {
	desk *desk
	name string
}

var (
	_ drivers.Stream = (*source)(nil)
	_ drivers.View   = (*view)(nil)
)

// Identities has to be equal for equal places, however they were named.
func (s *source) Identities(context.Context) ([]string, error) { return []string{"pad:" + s.name}, nil }

// Close closes nothing.
func (*source) Close() error { return nil }

// Freeze takes a view, which later changes do not change.
func (s *source) Freeze(ctx context.Context) (drivers.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	p, ok := s.desk.pads[s.name]
	if !ok {
		return nil, fmt.Errorf("freeze pad %s: %w", s.name, drivers.ErrNotFound)
	}
	return &view{text: p.text, open: true}, nil
}

// allows tells whether a restore may write here; the desk is locked. The part's hash is known from the dump, so a pad that
// holds what is to be restored can be told.
func (s *source) allows(target drivers.Target, part drivers.Part) error {
	p := s.desk.pads[s.name]
	if p.text == "" || fmt.Sprintf("%x", sha256.Sum256([]byte(p.text))) == part.SHA256 || p.loaded == target.Run || target.Replace() {
		return nil
	}
	return drivers.WithHint(fmt.Errorf("pad %s is written on: %w", s.name, drivers.ErrNotEmpty),
		"restore to another pad, or allow to overwrite")
}

// CheckTarget changes nothing.
func (s *source) CheckTarget(_ context.Context, target drivers.Target, contents []drivers.Part) error {
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	for _, part := range contents {
		if err := s.allows(target, part); err != nil {
			return err
		}
	}
	return nil
}

// Prepare has nothing to make.
func (*source) Prepare(context.Context, drivers.Target, []drivers.Part) error { return nil }

// Load reads all before it changes anything, because only the end of r tells whether the part is whole. What is too
// large for that is written beside the target, or in a transaction.
func (s *source) Load(ctx context.Context, target drivers.Target, _ drivers.Attempt, part drivers.Part, r io.Reader) error {
	s.desk.mu.Lock()
	done := s.desk.pads[s.name].loaded == target.Run
	s.desk.mu.Unlock()
	if done { // an earlier attempt did it
		return nil
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read part %s: %w", part.Name, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	if s.desk.pads[s.name].loaded == target.Run { // another attempt did it meanwhile
		return nil
	}
	if err := s.allows(target, part); err != nil {
		return err
	}
	s.desk.pads[s.name] = pad{string(data), target.Run}
	return nil
}

// Finish removes what the restore left.
func (s *source) Finish(_ context.Context, target drivers.Target, _ []drivers.Part) error {
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	if p := s.desk.pads[s.name]; p.loaded == target.Run {
		p.loaded = ""
		s.desk.pads[s.name] = p
	}
	return nil
}

// view is a pad at one moment.
type view struct {
	mu   sync.Mutex
	text string
	open bool
}

// Facts are kept in the manifest.
func (v *view) Facts() json.RawMessage { return json.RawMessage(`{"paper":"A4"}`) }

// Parts yields the parts, here the only one.
func (v *view) Parts(_ context.Context, yield func(drivers.Part) error) error {
	return yield(drivers.Part{Name: "text", Ext: "txt", Size: int64(len(v.text))})
}

// Dump writes the text in pieces, so that it can be cancelled.
func (v *view) Dump(ctx context.Context, part drivers.Part, w io.Writer) (drivers.Counts, error) {
	if err := v.Alive(ctx); err != nil {
		return drivers.Counts{}, err
	}
	if part.Name != "text" {
		return drivers.Counts{}, fmt.Errorf("dump part %s: no such part: %w", part.Name, drivers.ErrInvalid)
	}
	for r := strings.NewReader(v.text); r.Len() > 0; {
		if err := ctx.Err(); err != nil {
			return drivers.Counts{}, err
		}
		if _, err := io.CopyN(w, r, min(4096, int64(r.Len()))); err != nil {
			return drivers.Counts{}, err
		}
	}
	return drivers.Counts{}, ctx.Err()
}

// Alive tells whether the view lasts.
func (v *view) Alive(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.open {
		return drivers.ErrViewLost
	}
	return nil
}

// End ends the view.
func (v *view) End(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open = false
	return nil
}

// A driver of one's own: registered, opened, dumped. TestExampleDriver, below it, holds it to the contracts.
func Example() {
	d := &desk{pads: map[string]pad{"todo": {text: "buy milk"}}}
	registry := &drivers.Registry{}
	registry.Register(d.kind())
	if err := printAll(context.Background(), registry, "pad", "todo"); err != nil {
		fmt.Println(err)
	}
	// Output: text.txt: buy milk
}

// printAll does what a worker does for a node of a set.
func printAll(ctx context.Context, registry *drivers.Registry, driver, place string) (err error) {
	kind, err := registry.Lookup(driver)
	if err != nil {
		return err
	}
	opened, err := kind.Open(ctx, drivers.Spec{Node: "site/it", Source: secret.New(place)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	stream, ok := opened.(drivers.Stream)
	if !ok {
		return errors.New("not a stream")
	}
	view, err := stream.Freeze(ctx)
	if err != nil {
		return err
	}
	err = view.Parts(ctx, func(part drivers.Part) error {
		var b bytes.Buffer
		_, err := view.Dump(ctx, part, &b)
		fmt.Printf("%s.%s: %s\n", part.Name, part.Ext, &b)
		return err
	})
	return errors.Join(err, view.End(ctx)) // nil proves that the view lasted
}

// TestExampleDriver runs the suite that every driver passes.
func TestExampleDriver(t *testing.T) {
	t.Parallel()
	d := &desk{pads: make(map[string]pad)}
	pads := 0
	place := func(text string, exists bool) string {
		d.mu.Lock()
		defer d.mu.Unlock()
		pads++
		name := fmt.Sprintf("pad %d", pads)
		if exists {
			d.pads[name] = pad{text: text}
		}
		return name
	}
	text := strings.Repeat("a line\n", 5000)
	read := func(name string) pad {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.pads[name]
	}
	drivertest.Stream(t, drivertest.StreamHarness{
		Kind:   d.kind(),
		New:    func(*testing.T) string { return place(text, true) },
		Absent: func(*testing.T) string { return place("", false) },
		Empty:  func(*testing.T) string { return place("", true) },
		Mutate: func(_ context.Context, name string) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			p := d.pads[name]
			p.text += "more\n"
			d.pads[name] = p
			return nil
		},
		Contents: func(_ *testing.T, name string) string { return read(name).text },
		Consistent: func(contents string) error {
			if more, ok := strings.CutPrefix(contents, text); !ok || strings.ReplaceAll(more, "more\n", "") != "" {
				return errors.New("lines are missing")
			}
			return nil
		},
		Leftovers: func(_ *testing.T, name string) []string {
			if run := read(name).loaded; run != "" {
				return []string{"loaded by " + run}
			}
			return nil
		},
	})
}
