package archive_test

import (
	"context"
	"crypto/sha256"
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
)

// newCapture begins a capture in a directory of its own.
func newCapture(t *testing.T) (*archive.Archive, string, archive.CaptureRef) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "archive")
	a, err := archive.Create(t.Context(), dir, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	id, err := a.NewCaptureID(t.Context(), "site")
	if err != nil {
		t.Fatal(err)
	}
	return a, dir, archive.CaptureRef{Set: "site", Capture: id}
}

func putRows(t *testing.T, a *archive.Archive, ref archive.CaptureRef, f archive.CaptureFile, text string) archive.CaptureFile {
	t.Helper()
	w, err := a.CreateCaptureFile(t.Context(), ref, f, int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	stored, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func captureOf(ref archive.CaptureRef, files ...archive.CaptureFile) archive.Capture {
	return archive.Capture{
		Set: ref.Set, Capture: ref.Capture, Run: "0192", Node: "site/main", Driver: "sqlite", Source: "a.db", Moment: time.Unix(1, 0).UTC(),
		Model: json.RawMessage(`{}`), Coverage: json.RawMessage(`[]`), Files: files,
	}
}

// TestDropCapture: of a capture that was never committed nothing stays, a committed one stays whole.
func TestDropCapture(t *testing.T) {
	t.Parallel()
	a, dir, ref := newCapture(t)
	files := func() (names []string) {
		all, err := filepath.Glob(filepath.Join(dir, "captures", ref.Set, ref.Capture, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range all {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				names = append(names, filepath.Base(path))
			}
		}
		return names
	}
	part, err := a.CreateCapturePart(t.Context(), ref, archive.PartName{Name: "000001-rows", Ext: "jsonl", Token: "x1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Commit(); err != nil {
		t.Fatal(err)
	}
	putRows(t, a, ref, archive.CaptureFile{Schema: "public", Table: "t", Lines: map[string]int64{"c": 1}}, "{}\n")
	if got := files(); len(got) != 2 {
		t.Fatalf("it holds %v", got)
	}
	for range 2 {
		if err := a.DropCapture(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(); len(got) != 0 {
		t.Errorf("%v are left", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "captures", ref.Set, ref.Capture, "capture.json"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.DropCapture(t.Context(), ref); err != nil || len(files()) != 1 {
		t.Errorf("a committed capture was dropped: %v, %v", files(), err)
	}
}

func TestCapture(t *testing.T) {
	t.Parallel()
	a, dir, ref := newCapture(t)
	ctx := t.Context()
	if !strings.HasPrefix(ref.Capture, "c2") {
		t.Fatalf("capture %s", ref.Capture)
	}
	part, err := a.CreateCapturePart(ctx, ref, archive.PartName{Name: "000001-rows", Ext: "jsonl", Token: "x1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write([]byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	record, err := part.Commit()
	if err != nil {
		t.Fatal(err)
	}
	in, err := a.OpenPart(ctx, record)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(in); err != nil || string(data) != "{}\n" {
		t.Errorf("part holds %q, %v", data, err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	own := putRows(t, a, ref, archive.CaptureFile{Schema: "public", Table: "a.b", Lines: map[string]int64{"c": 1}}, "{}\n")
	mass := putRows(t, a, ref, archive.CaptureFile{Schema: "public", Table: "a.b", Group: 1, Lines: map[string]int64{"d": 2}}, "{}\n{}\n")
	if want := "captures/site/" + ref.Capture + "/public.a%2Eb.jsonl"; own.Key != want {
		t.Errorf("key %s, want %s", own.Key, want)
	}
	for name, text := range map[string]string{archive.DecisionsFile: "# nothing\n", archive.SummaryFile: "much\n"} {
		for range 2 { // which does no harm
			if err := a.PutCaptureText(ctx, ref, name, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.PutCaptureText(ctx, ref, "capture.json", nil); !errors.Is(err, archive.ErrInvalid) {
		t.Errorf("a text of another name: %v", err)
	}
	if _, err := a.Capture(ctx, ref); !errors.Is(err, archive.ErrNoCapture) {
		t.Errorf("before the commit: %v", err)
	}
	if list, err := a.Captures(ctx, ""); len(list) > 0 || err != nil {
		t.Errorf("listed before the commit: %v, %v", list, err)
	}
	c := captureOf(ref, own, mass)
	for range 2 {
		if err := a.CommitCapture(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	other := c
	other.Node = "site/other"
	if err := a.CommitCapture(ctx, other); !errors.Is(err, archive.ErrExists) {
		t.Errorf("another capture of that name: %v", err)
	}
	if err := a.SweepCapture(ctx, ref); err != nil {
		t.Fatal(err)
	}
	got, err := a.Capture(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	c.Format, c.Version = 1, got.Version
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("capture (-want +got):\n%s", diff)
	}
	if len(got.Groups()) != 1 || got.Groups()[0].Total() != 2 {
		t.Errorf("groups %+v", got.Groups())
	}

	var findings []string
	verify := func() []string {
		findings = nil
		if _, err := a.Verify(ctx, nil, archive.VerifyOptions{Report: func(f archive.Finding) {
			findings = append(findings, string(f.Kind)+" "+strings.TrimPrefix(f.Key, "captures/site/"+ref.Capture+"/"))
		}}); err != nil {
			t.Fatal(err)
		}
		return findings
	}
	if got := verify(); len(got) > 0 {
		t.Errorf("verify: %q", got)
	}
	// People edit what is made for that, and leave notes; a killed run leaves parts.
	place := filepath.Join(dir, "captures", "site", ref.Capture)
	for name, text := range map[string]string{
		"public.a%2Eb.jsonl": "{\"edited\":1}\n", archive.DecisionsFile: "x", "notes.txt": "x", "part-x-y.jsonl.zst": "x",
	} {
		if err := os.WriteFile(filepath.Join(place, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(place, "mass", "001.jsonl")); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"notice public.a%2Eb.jsonl": true, "foreign notes.txt": true, "stray part-x-y.jsonl.zst": true, "missing mass/001.jsonl": true}
	for _, f := range verify() {
		if !want[f] {
			t.Errorf("verify: %s", f)
		}
		delete(want, f)
	}
	if len(want) > 0 {
		t.Errorf("verify does not find %v", want)
	}
	if edited, err := a.CaptureEdited(ctx, ref, own); !edited || err != nil {
		t.Errorf("edited: %v, %v", edited, err)
	}
	if _, err := a.CaptureEdited(ctx, ref, mass); !errors.Is(err, archive.ErrCorrupt) {
		t.Errorf("a file that is gone: %v", err)
	}
	if text, err := a.CaptureText(ctx, ref, archive.DecisionsFile); string(text) != "x" || err != nil {
		t.Errorf("decisions %q, %v", text, err)
	}
	if err := os.Remove(filepath.Join(place, archive.DecisionsFile)); err != nil {
		t.Fatal(err)
	}
	if text, err := a.CaptureText(ctx, ref, archive.DecisionsFile); text != nil || err != nil {
		t.Errorf("decisions that are gone: %q, %v", text, err)
	}
}

// A file that is there is never overwritten: somebody may have edited it.
func TestCaptureFileStays(t *testing.T) {
	t.Parallel()
	a, _, ref := newCapture(t)
	file := archive.CaptureFile{Table: "t"}
	first := putRows(t, a, ref, file, "{}\n")
	if diff := cmp.Diff(first, putRows(t, a, ref, file, "{}\n")); diff != "" {
		t.Errorf("a repetition (-first +second):\n%s", diff)
	}
	w, err := a.CreateCaptureFile(t.Context(), ref, file, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := io.WriteString(w, "other\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); !errors.Is(err, archive.ErrExists) {
		t.Errorf("another content: %v", err)
	}
}

func TestResolveCapture(t *testing.T) {
	t.Parallel()
	a, _, first := newCapture(t)
	ctx := t.Context()
	if _, err := a.ResolveCapture(ctx, "", archive.Latest); !errors.Is(err, archive.ErrNoCapture) {
		t.Errorf("none: %v", err)
	}
	if err := a.CommitCapture(ctx, captureOf(first)); err != nil {
		t.Fatal(err)
	}
	id, err := a.NewCaptureID(ctx, "site")
	if err != nil {
		t.Fatal(err)
	}
	if id <= first.Capture[:len(first.Capture)-5]+"~" {
		t.Errorf("%s is no later than %s", id, first.Capture)
	}
	second := archive.CaptureRef{Set: "site", Capture: id}
	if err := a.CommitCapture(ctx, captureOf(second)); err != nil {
		t.Fatal(err)
	}
	other := archive.CaptureRef{Set: "other", Capture: "c20200101-000000-0000"}
	if err := a.CommitCapture(ctx, captureOf(other)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		set, name string
		want      archive.CaptureRef
		err       error
	}{
		{"site", archive.Latest, second, nil},
		{"site", first.Capture, first, nil},
		{"", first.Capture, first, nil},
		{"", "c2020", other, nil},
		{"", "site/" + id, second, nil},
		{"site", "c2", archive.CaptureRef{}, archive.ErrAmbiguous},
		{"", archive.Latest, archive.CaptureRef{}, archive.ErrAmbiguous},
		{"site", "2026", archive.CaptureRef{}, archive.ErrNoCapture},
		{"site", "", archive.CaptureRef{}, archive.ErrInvalid},
		{"../x", "c2", archive.CaptureRef{}, archive.ErrInvalid},
	} {
		got, err := a.ResolveCapture(ctx, c.set, c.name)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("ResolveCapture(%q, %q) = %v, %v", c.set, c.name, got, err)
		}
	}
}

// What a document claims is not believed: it must name itself, and files of its own alone.
func TestHostileCapture(t *testing.T) {
	t.Parallel()
	a, dir, ref := newCapture(t)
	file := putRows(t, a, ref, archive.CaptureFile{Table: "t", Lines: map[string]int64{"c": 1}}, "{}\n")
	good := captureOf(ref, file)
	good.Format = 1
	put := func(t *testing.T, c any) {
		t.Helper()
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(line), "{", `{"type":"capture",`, 1) + "\n"
		text += fmt.Sprintf("%x\n", sha256.Sum256([]byte(text)))
		if err := os.WriteFile(filepath.Join(dir, "captures", "site", ref.Capture, "capture.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(t, good)
	if _, err := a.Capture(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*archive.Capture){
		"another's name":       func(c *archive.Capture) { c.Capture = "c20200101-000000-0000" },
		"another set":          func(c *archive.Capture) { c.Set = "other" },
		"a set that leads out": func(c *archive.Capture) { c.Set = "../.." },
		"no run":               func(c *archive.Capture) { c.Run = "" },
		"no node":              func(c *archive.Capture) { c.Node = "a//b" },
		"no dump":              func(c *archive.Capture) { c.Against = &archive.Ref{Set: "site", Dump: "../../x"} },
		"no model":             func(c *archive.Capture) { c.Model = nil },
		"a key that leads out": func(c *archive.Capture) { c.Files[0].Key = "captures/site/" + ref.Capture + "/../../../salvor.json" },
		"a key of a dump":      func(c *archive.Capture) { c.Files[0].Key = "dumps/site/x/manifest.json" },
		"no table":             func(c *archive.Capture) { c.Files[0].Table = "" },
		"another table":        func(c *archive.Capture) { c.Files[0].Table = "u" },
		"a negative size":      func(c *archive.Capture) { c.Files[0].Size = -1 },
		"a negative count":     func(c *archive.Capture) { c.Files[0].Lines = map[string]int64{"c": -1} },
		"no hash":              func(c *archive.Capture) { c.Files[0].SHA256 = "x" },
		"a file twice":         func(c *archive.Capture) { c.Files = append(c.Files, c.Files[0]) },
		"a group that is not the next": func(c *archive.Capture) {
			f := c.Files[0]
			f.Group, f.Key = 2, "captures/site/"+ref.Capture+"/mass/002.jsonl"
			c.Files = append(c.Files, f)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			c.Files = append([]archive.CaptureFile(nil), good.Files...)
			spoil(&c)
			put(t, c)
			if _, err := a.Capture(t.Context(), ref); !errors.Is(err, archive.ErrCorrupt) {
				t.Errorf("it is taken: %v", err)
			}
			list, err := a.Captures(t.Context(), "site")
			if len(list) > 0 || !errors.Is(err, archive.ErrCorrupt) {
				t.Errorf("it is listed: %v, %v", list, err)
			}
		})
	}
	put(t, struct {
		Format int `json:"format"`
	}{2})
	if _, err := a.Capture(t.Context(), ref); !errors.Is(err, archive.ErrNewerFormat) {
		t.Errorf("a newer format: %v", err)
	}
	if err := a.CommitCapture(t.Context(), captureOf(ref, archive.CaptureFile{Table: "t", Key: "salvor.json", SHA256: strings.Repeat("0", 64)})); !errors.Is(err, archive.ErrInvalid) {
		t.Errorf("a commit with a key of another's: %v", err)
	}
	short := file
	short.Size++
	if err := a.CommitCapture(context.WithoutCancel(t.Context()), captureOf(ref, short)); !errors.Is(err, archive.ErrCorrupt) {
		t.Errorf("a commit with a file of another length: %v", err)
	}
}
