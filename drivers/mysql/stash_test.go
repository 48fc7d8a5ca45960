package mysql

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/internal/testenv"
)

// stash is a dump in memory.
type stash struct {
	parts   []drivers.Part
	content map[string][]byte
	facts   facts
}

// objects is a Splitter that keeps what it is given.
type objects struct {
	bytes.Buffer
	done []object
}

type object struct {
	data   []byte
	counts drivers.Counts
}

func (o *objects) Split(counts drivers.Counts) error {
	o.done = append(o.done, object{bytes.Clone(o.Bytes()), counts})
	o.Reset()
	return nil
}

var errNone = errors.New("none")

func requireNoError(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v (hint %q)", what, err, hintText(err))
	}
}

func hintText(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// server starts a server that takes what the tests do to it.
func server(t *testing.T, settings ...string) *testenv.MariaDBServer {
	t.Helper()
	return testenv.MariaDB(t, testenv.MariaDBOptions{Settings: settings})
}

func openSource(t *testing.T, url, options string) *Source { return openLimited(t, url, options, 0) }

// openLimited opens a source of a node with a limit.
func openLimited(t *testing.T, url, options string, limit int) *Source {
	t.Helper()
	spec := drivers.Spec{Node: "site/db", Source: secret.New(url), Scratch: t.TempDir(), Limit: limit}
	if options != "" {
		spec.Options = json.RawMessage(options)
	}
	s, err := open(spec)
	requireNoError(t, "open "+url, err)
	return s
}

// dumpDatabase dumps a database by several readers.
func dumpDatabase(t *testing.T, url, options string) *stash {
	t.Helper()
	return dumpSource(t, openSource(t, url, options), nil)
}

// dumpSource is dumpDatabase of a source. during, if not nil, is called while the view is open.
func dumpSource(t *testing.T, source *Source, during func()) *stash {
	t.Helper()
	v, err := source.Freeze(t.Context())
	requireNoError(t, "freeze", err)
	if during != nil {
		during()
	}
	d, err := dumpView(t.Context(), v)
	requireNoError(t, "dump", err)
	return d
}

// dumpView dumps a view by several readers and ends it.
func dumpView(ctx context.Context, v drivers.View) (_ *stash, err error) {
	defer func() { err = errors.Join(err, v.End(context.WithoutCancel(ctx))) }()
	d := &stash{content: make(map[string][]byte)}
	if err := json.Unmarshal(v.Facts(), &d.facts); err != nil {
		return nil, err
	}
	var parts []drivers.Part
	if err := v.Parts(ctx, func(p drivers.Part) error {
		parts = append(parts, p)
		return nil
	}); err != nil {
		return nil, err
	}
	results := make([]objects, len(parts))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, p := range parts {
		group.Go(func() error {
			counts, err := v.Dump(gctx, p, &results[i])
			if err != nil {
				return fmt.Errorf("dump %s: %w", p.Name, err)
			}
			return results[i].Split(counts)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, p := range parts {
		for n, o := range results[i].done {
			q := p
			if n > 0 {
				q.Name = fmt.Sprintf("%s/%d", p.Name, n)
			}
			q.Rows, q.Digest, q.Size = o.counts.Rows, o.counts.Digest, int64(len(o.data))
			q.SHA256 = fmt.Sprintf("%x", sha256.Sum256(o.data))
			d.parts = append(d.parts, q)
			d.content[q.Name] = o.data
		}
	}
	return d, nil
}

// part returns the first part of a table.
func (d *stash) part(t *testing.T, name string) drivers.Part {
	t.Helper()
	i := slices.IndexFunc(d.parts, func(p drivers.Part) bool { return p.Name == name || strings.HasPrefix(p.Name, name+"/") })
	if i < 0 {
		t.Fatalf("no part of %s", name)
	}
	return d.parts[i]
}

// rules are those of a restore that makes its database.
func (d *stash) rules() drivers.Target {
	return drivers.Target{
		Run: "019aa000-0000-7000-8000-000000000002", Create: true,
		Open: func(_ context.Context, p drivers.Part) (io.ReadCloser, error) {
			data, ok := d.content[p.Name]
			if !ok {
				return nil, errNone
			}
			return io.NopCloser(bytes.NewReader(data)), nil
		},
	}
}

// selected are the parts that the rules take.
func (d *stash) selected(rules drivers.Target) []drivers.Part {
	if len(rules.Only) == 0 {
		return d.parts
	}
	return slices.DeleteFunc(slices.Clone(d.parts), func(p drivers.Part) bool {
		return !p.Base && !slices.ContainsFunc(rules.Only, func(name string) bool { return p.Name == name || strings.HasPrefix(p.Name, name+"/") })
	})
}

// restore restores a dump by several loaders.
func (d *stash) restore(ctx context.Context, s *Source, rules drivers.Target) error {
	parts := d.selected(rules)
	if err := s.CheckTarget(ctx, rules, parts); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if err := s.Prepare(ctx, rules, parts); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, p := range parts {
		if p.Base {
			continue
		}
		group.Go(func() error {
			for try := 1; ; try++ {
				attempt := drivers.Attempt{Run: rules.Run, Task: fmt.Sprint(i), Token: fmt.Sprintf("token%d.%d", i, try)}
				err := s.Load(gctx, rules, attempt, p, bytes.NewReader(d.content[p.Name]))
				if !isCode(err, codeDeadlock) || try == 10 { // a worker would try again, too
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.Finish(ctx, rules, parts); err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	return nil
}

// mustProve restores into a new database and proves it.
func (d *stash) mustProve(t *testing.T, s *testenv.MariaDBServer, name string) drivers.Proof {
	t.Helper()
	requireNoError(t, "restore", d.restore(t.Context(), openSource(t, s.URL(name), ""), d.rules()))
	return d.mustBeProved(t, s, name)
}

// mustBeProved proves a database that was restored, and looks for what the restore left.
func (d *stash) mustBeProved(t *testing.T, s *testenv.MariaDBServer, name string) drivers.Proof {
	t.Helper()
	proof, err := openSource(t, s.URL(name), "").Prove(t.Context(), d.rules(), d.parts)
	requireNoError(t, "prove", err)
	if len(proof.Differences) > 0 {
		t.Fatalf("proof: %q", proof.Differences)
	}
	if left := leftovers(t, s, name); left != "" {
		t.Fatalf("leftovers: %s", left)
	}
	return proof
}

// leftovers lists what a restore did not remove.
func leftovers(t *testing.T, s *testenv.MariaDBServer, name string) string {
	t.Helper()
	return s.Query("", `SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables WHERE table_name LIKE 'salvor%' AND table_schema = `+literal(name)+`
		UNION ALL SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'salvor%'`)
}

// loadAfterStopped loads a part while an earlier attempt hangs within it, after some of the bytes, and lets that one fail then.
func (d *stash) loadAfterStopped(t *testing.T, target *Source, rules drivers.Target, part drivers.Part, some, of int) {
	t.Helper()
	content := d.content[part.Name]
	attempt := drivers.Attempt{Run: rules.Run, Task: "t", Token: "stopped"}
	hanging, release := io.Pipe()
	stuck := make(chan error, 1)
	go func() { stuck <- target.Load(t.Context(), rules, attempt, part, hanging) }()
	_, err := release.Write(content[:len(content)*some/of])
	requireNoError(t, "write", err)
	attempt.Token = "second"
	requireNoError(t, "load", target.Load(t.Context(), rules, attempt, part, bytes.NewReader(content)))
	_ = release.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-stuck; err == nil {
		t.Error("the stopped attempt says it loaded the part too")
	}
}
