package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	joined  int // parts that were read through a joined view
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

func openSource(t *testing.T, url, options string) *Source {
	t.Helper()
	spec := drivers.Spec{Node: "site/db", Source: secret.New(url), Scratch: t.TempDir()}
	if options != "" {
		spec.Options = json.RawMessage(options)
	}
	s, err := open(spec)
	requireNoError(t, "open "+url, err)
	return s
}

// ticketOf returns what another process needs to join a view.
func ticketOf(t *testing.T, v drivers.View) json.RawMessage {
	t.Helper()
	shared, ok := v.(drivers.Shared)
	if !ok {
		t.Fatalf("a %T cannot be joined", v)
	}
	return shared.Ticket()
}

// dumpDatabase dumps a database by several readers, every second of which has joined the view from elsewhere. during, if
// not nil, is called while the view is open.
func dumpDatabase(t *testing.T, url, options string, during func()) *stash {
	t.Helper()
	ctx := t.Context()
	source := openSource(t, url, options)
	held, err := source.Freeze(ctx)
	requireNoError(t, "freeze", err)
	ticket := ticketOf(t, held)
	joined, err := openSource(t, url, options).Join(ctx, ticket)
	requireNoError(t, "join", err)
	if during != nil {
		during()
	}
	d := &stash{content: make(map[string][]byte)}
	if err := json.Unmarshal(held.Facts(), &d.facts); err != nil {
		t.Fatal(err)
	}
	var parts []drivers.Part
	requireNoError(t, "list parts", held.Parts(ctx, func(p drivers.Part) error {
		parts = append(parts, p)
		return nil
	}))
	results := make([]objects, len(parts))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, p := range parts {
		view := held
		if i%2 == 1 {
			view = joined
			d.joined++
		}
		group.Go(func() error {
			counts, err := view.Dump(gctx, p, &results[i])
			if err != nil {
				return fmt.Errorf("dump %s: %w", p.Name, err)
			}
			return results[i].Split(counts)
		})
	}
	requireNoError(t, "dump", group.Wait())
	requireNoError(t, "end joined view", joined.End(ctx))
	requireNoError(t, "end view", held.End(ctx))
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
	return d
}

// part returns a part by its name.
func (d *stash) part(t *testing.T, name string) drivers.Part {
	t.Helper()
	i := slices.IndexFunc(d.parts, func(p drivers.Part) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no part %s", name)
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

// open gives the content of a part.
func (d *stash) open(p drivers.Part) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(d.content[p.Name])), nil
}

// selected are the parts that the rules take.
func (d *stash) selected(rules drivers.Target) []drivers.Part {
	if len(rules.Only) == 0 {
		return d.parts
	}
	return slices.DeleteFunc(slices.Clone(d.parts), func(p drivers.Part) bool {
		name, _, _ := strings.Cut(p.Name, "/")
		return !p.Base && !slices.Contains(rules.Only, name)
	})
}

// restore restores a dump by several loaders.
func (d *stash) restore(ctx context.Context, s *Source, rules drivers.Target) error {
	rules.Only, _ = Kind().Selected(d.parts, rules.Only)
	parts := d.selected(rules)
	if err := s.CheckTarget(ctx, rules, parts); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if err := s.Prepare(ctx, rules, parts); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	loads := slices.DeleteFunc(slices.Clone(parts), func(p drivers.Part) bool { return p.Base })
	for i, list := range s.Bundle(loads, 2) {
		bundle := make([]drivers.Part, len(list))
		for k, at := range list {
			bundle[k] = loads[at]
		}
		group.Go(func() error {
			attempt := drivers.Attempt{Run: rules.Run, Task: fmt.Sprint(i), Token: fmt.Sprintf("token%d", i)}
			return s.LoadBundle(gctx, rules, attempt, bundle, d.open)
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
func (d *stash) mustProve(t *testing.T, s *testenv.PostgresServer, name string) drivers.Proof {
	t.Helper()
	target := openSource(t, s.URL(name), "")
	requireNoError(t, "restore", d.restore(t.Context(), target, d.rules()))
	proof, err := target.Prove(t.Context(), d.rules(), d.parts)
	requireNoError(t, "prove", err)
	if len(proof.Differences) > 0 {
		t.Fatalf("proof: %q", proof.Differences)
	}
	if left := s.Query(name, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'salvor%'"); left != "" {
		t.Fatalf("leftovers: %s", left)
	}
	return proof
}

// sameAsVanilla compares a restored database with a copy made by pg_dump and pg_restore, by the lines of pg_dump.
func sameAsVanilla(t *testing.T, s *testenv.PostgresServer, source, restored string) {
	t.Helper()
	vanilla := s.NewDatabase()
	file := t.TempDir() + "/vanilla.dump"
	s.Tool(source, "pg_dump", "-Fc", "-f", file)
	s.Tool(vanilla, "pg_restore", "-d", vanilla, file)
	if diff := cmp.Diff(lines(t, s, vanilla), lines(t, s, restored)); diff != "" {
		t.Errorf("pg_dump of the restored database (-of a copy by pg_restore +of ours):\n%s", diff)
	}
}

func TestChinook(t *testing.T) {
	t.Parallel()
	file := testenv.RealData(t, "chinook", "Chinook_PostgreSql.sql")
	s := server(t)
	// The script drops and makes its database, and connects to it.
	s.Load("postgres", file)
	d := dumpDatabase(t, s.URL("chinook"), `{"chunk": 65536}`, nil)
	name := s.NewName()
	proof := d.mustProve(t, s, name)
	if proof.Tables != 11 || proof.Rows != 15607 {
		t.Errorf("proof of %d rows in %d tables, want 15607 in 11", proof.Rows, proof.Tables)
	}
	if diff := cmp.Diff(lines(t, s, "chinook"), lines(t, s, name)); diff != "" {
		t.Errorf("pg_dump (-source +restored):\n%s", diff)
	}
	s.Exec(name, "UPDATE track SET composer = 'somebody' WHERE track_id = 7")
	proof, err := openSource(t, s.URL(name), "").Prove(t.Context(), d.rules(), d.parts)
	requireNoError(t, "prove", err)
	if len(proof.Differences) != 1 || !strings.Contains(proof.Differences[0], "public.track") {
		t.Errorf("proof of a changed row: %q", proof.Differences)
	}
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	s := server(t, "wal_level = logical", "max_locks_per_transaction = 256")
	s.Exec("postgres", "CREATE DATABASE features TEMPLATE template0")
	s.Exec("postgres", "CREATE ROLE reader; CREATE ROLE \"Odd Owner\"; ALTER DATABASE features SET work_mem = '5MB'; "+
		"ALTER DATABASE features SET search_path = public, \"Odd\"; COMMENT ON DATABASE features IS 'it''s all'; GRANT CREATE ON DATABASE features TO reader")
	s.Load("features", "testdata/features.sql")
	for _, options := range []string{`{}`, `{"chunk": 65536}`} {
		d := dumpDatabase(t, s.URL("features"), options, nil)
		name := s.NewName()
		d.mustProve(t, s, name)
		sameAsVanilla(t, s, "features", name)
		for _, query := range []string{
			`SELECT datcollate, datctype, pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'),
				ARRAY(SELECT a::text FROM unnest(datacl) a ORDER BY 1) FROM pg_database WHERE datname = current_database()`,
			"SELECT setconfig FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()",
			"SELECT oid, pg_get_userbyid(lomowner), lomacl, md5(lo_get(oid)), obj_description(oid, 'pg_largeobject') FROM pg_largeobject_metadata ORDER BY oid",
			`SELECT * FROM "Odd".sums ORDER BY 1`, `SELECT * FROM "Odd".sums2`,
			"SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2",
		} {
			if want, got := s.Query("features", query), s.Query(name, query); want != got {
				t.Errorf("%s\ngives %s\nin the source %s", query, got, want)
			}
		}
		if got := s.Query(name, "SELECT count(*) FROM pg_stat_user_tables WHERE last_analyze IS NULL AND n_live_tup > 0"); got != "0" {
			t.Errorf("%s tables were not analyzed", got)
		}
	}
}
