package captured_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"salvor/archive"
	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/review"
	"salvor/workers/captured"
)

func testModel() *relational.Model {
	t := &relational.Table{
		Name: relational.Name{Schema: "public", Name: "users"},
		Columns: []relational.Column{
			{Name: "id", SQL: "int", Type: relational.TypeInt}, {Name: "name", SQL: "text", Type: relational.TypeText, Nullable: true},
		},
		Primary: &relational.Key{Name: "pk", Columns: []string{"id"}, Order: []relational.Order{relational.OrderInt}},
	}
	other := &relational.Table{Name: relational.Name{Schema: "public", Name: "plans"}, Columns: t.Columns, Primary: t.Primary}
	return &relational.Model{Engine: "postgres", Tables: []*relational.Table{other, t}, Omitted: []relational.Omitted{{Name: relational.Name{Name: "v"}, Reason: "it is a view"}}}
}

func encode(t *testing.T, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// commit makes a capture of two lines in an archive of its own, and a group of two.
func commit(t *testing.T) (*archive.Archive, archive.Capture, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "archive")
	a, err := archive.Create(t.Context(), dir, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	ref := archive.CaptureRef{Set: "site", Capture: "c20261122-043000-7f3a"}
	m := testModel()
	users := m.Tables[1]
	line := func(op relational.Op, id int64) []byte {
		row := []relational.Value{relational.IntValue(id), relational.TextValue("n")}
		l := &relational.Line{Table: users, Op: op, Data: row, Has: []bool{true, true}, Why: relational.WhyDiff}
		if op == relational.OpDeleted {
			l = &relational.Line{Table: users, Op: op, Base: row, HadBase: []bool{true, true}}
		}
		return relational.AppendLine(nil, l)
	}
	put := func(f archive.CaptureFile, lines ...[]byte) archive.CaptureFile {
		w, err := a.CreateCaptureFile(t.Context(), ref, f, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if _, err := w.Write(bytes.Join(lines, nil)); err != nil {
			t.Fatal(err)
		}
		stored, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		return stored
	}
	group := relational.Group{Op: relational.OpDeleted, Rows: 2}
	c := archive.Capture{
		Set: ref.Set, Capture: ref.Capture, Run: "0192", Node: "site/main", Driver: "postgres", Source: "${URL}", Moment: time.Unix(1, 0).UTC(),
		Against: &archive.Ref{Set: "site", Dump: "20261122-043000-7f3a"}, Since: time.Unix(0, 0).UTC(), Margin: 5 * time.Minute,
		Model: encode(t, m), BaseModel: encode(t, m),
		Coverage: encode(t, []relational.Coverage{
			{Table: m.Tables[0].Name, Rows: -1}, {Table: users.Name, Rows: 12345, Diff: true, Identity: []string{"id"}, Created: 2, Silent: 1, Notes: []string{"column x was added since the dump"}},
		}),
		Missing: encode(t, []captured.Missing{{Table: users.Name, Edge: "fk", Parent: m.Tables[0].Name, Rows: 3, Samples: []string{"users id=1"}}}),
		Edges:   json.RawMessage(`[{"table":{"schema":"public","name":"users"},"edges":[{"name":"e","columns":["id"],"parent":{"schema":"public","name":"plans"},"parent_columns":["id"]}]}]`),
		Files: []archive.CaptureFile{
			put(archive.CaptureFile{Schema: "public", Table: "users", Lines: map[string]int64{"c": 2}}, line(relational.OpCreated, 1), line(relational.OpCreated, 2)),
			put(archive.CaptureFile{Schema: "public", Table: "users", Group: 1, Detail: encode(t, group), Lines: map[string]int64{"d": 2}}, line(relational.OpDeleted, 3), line(relational.OpDeleted, 4)),
		},
	}
	if err := a.CommitCapture(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return a, c, filepath.Join(dir, "captures", ref.Set, ref.Capture)
}

// read says in short what the lines of a file are.
func read(t *testing.T, a *archive.Archive, c *captured.Capture, f archive.CaptureFile) (list []string) {
	t.Helper()
	err := c.Lines(t.Context(), a, f, func(number int, l *relational.Line, bad error) error {
		if bad != nil {
			list = append(list, fmt.Sprintf("%d: %v", number, bad))
			return nil
		}
		list = append(list, fmt.Sprintf("%d: %s edited=%v", number, l.Op, l.Edited))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestReadAndEdit(t *testing.T) {
	t.Parallel()
	a, stored, dir := commit(t)
	c, err := captured.Read(t.Context(), a, stored.Ref())
	if err != nil {
		t.Fatal(err)
	}
	if c.Base == nil || len(c.Edges) != 1 || len(c.Missing) != 1 || len(c.Coverage) != 2 || c.Empty() {
		t.Errorf("capture %+v", c)
	}
	if diff := cmp.Diff([]string{"1: c edited=false", "2: c edited=false"}, read(t, a, c, c.Files[0])); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1: d edited=false", "2: d edited=false"}, read(t, a, c, c.Groups()[0])); diff != "" {
		t.Errorf("lines of the group (-want +got):\n%s", diff)
	}

	// As people leave a file: a line changed, one broken, one of another table, an empty one, one without an end.
	name := filepath.Join(dir, "public.users.jsonl")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	text := strings.Replace(lines[0], `"n"`, `""`, 1) + "\r\n" + `{"data":{"id":"x"},"table":"public.users","op":"c"}` + "\n" +
		`{"data":{"id":1},"table":"public.plans","op":"c"}` + "\nnonsense\n" + strings.TrimSuffix(lines[1], "\n")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1: c edited=true", `3: data: column "id": not valid: it is no whole number`, "4: table public.plans: not valid: the file is of table public.users",
		"5: not valid: not an object of JSON", "6: c edited=false",
	}
	got := read(t, a, c, c.Files[0])
	if len(got) != len(want) {
		t.Fatalf("lines: %q", got)
	}
	for i := range want {
		if i == 1 { // how a value is refused is told elsewhere
			if !strings.HasPrefix(got[i], `3: data: column "id"`) {
				t.Errorf("line: %s", got[i])
			}
			continue
		}
		if got[i] != want[i] {
			t.Errorf("line: %s, want %s", got[i], want[i])
		}
	}
	stop := errors.New("stop")
	if err := c.Lines(t.Context(), a, c.Files[0], func(int, *relational.Line, error) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("it does not stop: %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := captured.RawLines(t.Context(), a, c.Ref(), c.Files[0], func(int, []byte) error { return nil }); !errors.Is(err, archive.ErrCorrupt) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	a, stored, _ := commit(t)
	c, err := captured.Read(t.Context(), a, stored.Ref())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Summary(&b); err != nil {
		t.Fatal(err)
	}
	want := `capture  c20261122-043000-7f3a
set      site
node     site/main (postgres)
against  dump 20261122-043000-7f3a
moment   1970-01-01 00:00:01 UTC
since    1970-01-01 00:00:00 UTC, less a margin of 5m0s; times without a zone are UTC
took     0s
run      0192

TABLE           ROWS  CREATED  MODIFIED  DELETED  PARENTS  CHILDREN  LEFT OUT  SEEN BY
public.plans       -        0         0        0        0         0         0  BLIND: new rows are not seen
public.users  12,345        2         0        0        0         0         2  comparison by id

mass changes, left out until decisions.yaml takes them in:
  1  public.users: 2 rows deleted

to know:
  public.users: 1 row changed, by a time that does not say so
  public.users: column x was added since the dump

references that lead nowhere:
  public.users: 3 rows, by fk, to rows of public.plans that are nowhere: users id=1

not looked at:
  v: it is a view
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	questions, err := c.Questions(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if want := "# Group 1: 2 of"; !strings.Contains(string(questions), want) {
		t.Errorf("questions: %s lack %q", questions, want)
	}
	groups, err := c.ReviewGroups()
	if err != nil {
		t.Fatal(err)
	}
	d, err := review.Parse(questions, review.Options{Model: c.Model, Groups: groups})
	if err != nil || len(d.Undecided()) != 1 {
		t.Errorf("something is decided: %v", err)
	}
}

// What a document holds is checked before it is used.
func TestHostileDocument(t *testing.T) {
	t.Parallel()
	_, good, _ := commit(t)
	if _, err := captured.Of(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*archive.Capture){
		"a model that is none": func(c *archive.Capture) { c.Model = json.RawMessage(`[]`) },
		"no model":             func(c *archive.Capture) { c.Model = json.RawMessage(`null`) },
		"a key of a column that is not there": func(c *archive.Capture) {
			c.Model = json.RawMessage(strings.ReplaceAll(string(c.Model), `"columns":["id"]`, `"columns":["nope"]`))
		},
		"a base model that is none": func(c *archive.Capture) { c.BaseModel = json.RawMessage(`1`) },
		"coverage that is none":     func(c *archive.Capture) { c.Coverage = json.RawMessage(`{}`) },
		"edges that are none":       func(c *archive.Capture) { c.Edges = json.RawMessage(`{}`) },
		"rows of an unknown table":  func(c *archive.Capture) { c.Model = json.RawMessage(`{"engine":"x","tables":[]}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good
			spoil(&c)
			if _, err := captured.Of(c); !errors.Is(err, archive.ErrCorrupt) {
				t.Errorf("it is taken: %v", err)
			}
		})
	}
	c, err := captured.Of(good)
	if err != nil {
		t.Fatal(err)
	}
	f := c.Groups()[0]
	f.Detail = json.RawMessage(`"x"`)
	if _, err := c.GroupText(f); !errors.Is(err, archive.ErrCorrupt) {
		t.Errorf("a group that is none: %v", err)
	}
}

// FuzzLines reads any text as lines: each is a line or an error, and none is both.
func FuzzLines(f *testing.F) {
	m := testModel()
	f.Add([]byte("{\"data\":{\"id\":1},\"table\":\"public.users\",\"op\":\"c\"}\n\n{}"))
	f.Add([]byte("\n\r\n \t\n"))
	f.Add([]byte(`{"data":null,"op":"d","table":"users","pk":[1,2],"base":{"id":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		last := 0
		err := captured.EachLine(bytes.NewReader(data), func(number int, raw []byte) error {
			if number <= last || len(raw) == 0 || bytes.ContainsRune(raw, '\n') {
				t.Errorf("line %d after %d: %q", number, last, raw)
			}
			last = number
			l, bad := m.ParseLine(raw)
			if bad != nil {
				if !errors.Is(bad, drivers.ErrInvalid) && !errors.Is(bad, drivers.ErrNotFound) {
					t.Errorf("%q: %v", raw, bad)
				}
				return nil
			}
			again, err := m.ParseLine(relational.AppendLine(nil, l))
			if err != nil || again.Edited {
				t.Errorf("%q is written as what is read otherwise: %v", raw, err)
			}
			return nil
		})
		if err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}
