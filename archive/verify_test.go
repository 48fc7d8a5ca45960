package archive

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every object of a dump, damaged in every way, is named, with what it belongs to; and reading the dump back fails.
func TestVerifyNamesEveryDamage(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(t, a) {
			if key == readmeKey {
				continue
			}
			good := object(t, a, key)
			for what, stored := range damages(good, len(good)/2) {
				if key == markerKey && stored == nil {
					continue // then it is no archive
				}
				damage(t, a, key, stored)
				checkDamage(t, a, s, key, what)
				overwrite(t, a, key, good)
			}
		}
		if sum, findings := verify(t, a); !sum.OK() || len(findings) > 0 {
			t.Errorf("the repaired archive: %+v", findings)
		}
	})
}

func damage(t *testing.T, a *Archive, key string, stored []byte) {
	t.Helper()
	if stored != nil {
		overwrite(t, a, key, stored)
	} else if err := a.store.remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func checkDamage(t *testing.T, a *Archive, s *sample, key, what string) {
	t.Helper()
	sum, findings := verify(t, a)
	if what == "gone" && strings.HasPrefix(key, runsDir) {
		// No restore needs a report.
		if !sum.OK() || sum.Notices != 1 || findings[0].Key != key || findings[0].Dump != s.ref.Dump {
			t.Errorf("%s %s: %+v", key, what, findings)
		}
		return
	}
	i := slices.IndexFunc(findings, func(f Finding) bool { return f.Key == key })
	if i < 0 || sum.OK() {
		t.Errorf("%s %s is not found: %+v", key, what, findings)
		return
	}
	f := findings[i]
	if want := map[bool]FindingKind{true: Missing, false: Damaged}[what == "gone"]; f.Kind != want {
		t.Errorf("%s %s is %s: %s", key, what, f.Kind, f.Message)
	}
	shared := strings.HasPrefix(key, packsDir) || strings.HasPrefix(key, objectsDir)
	if (shared || strings.HasPrefix(key, dumpsDir)) && (f.Set != s.ref.Set || f.Dump != s.ref.Dump || shared && f.Node == "") {
		t.Errorf("%s %s belongs to %q, %q", key, what, f.Set, f.Dump)
	}
	if strings.Contains(key, "/data/") && (f.Node == "" || f.Part == "" && f.Entries == 0) {
		t.Errorf("%s %s: finding says too little: %+v", key, what, f)
	}
	if shared && what != "longer" && (what == "gone" || what == "empty" || what == "other") && (f.Entries == 0 || len(f.Paths) == 0) {
		t.Errorf("%s %s: finding names no entries: %+v", key, what, f)
	}
	// Whatever verify finds, a restore refuses; but for what it does not need.
	needed := !strings.HasPrefix(key, runsDir) && key != markerKey && !strings.HasSuffix(key, "plan.json") && (!shared || what != "longer")
	if err := s.check(t.Context(), a); strings.HasSuffix(key, "/manifest.json") && what == "gone" {
		wantError(t, err, ErrNoDump)
	} else if needed && shared && what == "flipped" {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s %s: reading says %v", key, what, err) // the flipped bit may be in the pack's directory
		}
	} else if needed != errors.Is(err, ErrCorrupt) {
		t.Errorf("%s %s: reading says %v", key, what, err)
	}
}

func TestVerifySaysWhichEntriesAreLost(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		s := newSample(testRef)
		if err := s.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		second := newSample(Ref{"site", "20261123-043000-0000"})
		second.run = "second"
		if err := second.put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.files, func(f file) bool { return f.entry.Path == "same" })
		c := s.files[i].entry.Chunks[0]
		good := object(t, a, c.key())
		flipped := bytes.Clone(good)
		flipped[c.Offset] ^= 1
		overwrite(t, a, c.key(), flipped)
		sum, findings := verify(t, a)
		if len(findings) != 1 || sum.Damaged != 1 || sum.Dumps != 2 {
			t.Fatalf("findings are %+v", findings)
		}
		f := findings[0]
		slices.Sort(f.Paths)
		if diff := cmp.Diff([]string{"dir-a", "same"}, f.Paths); diff != "" || f.Entries != 4 {
			t.Errorf("%d entries are lost (-want +got):\n%s", f.Entries, diff)
		}
		// One dump alone.
		sum, findings = verify(t, a, second.ref)
		if len(findings) != 1 || sum.Dumps != 1 || findings[0].Entries != 2 || findings[0].Dump != second.ref.Dump {
			t.Errorf("findings of one dump are %+v", findings)
		}
		// A pack that is whole but does not hold what the entries say.
		overwrite(t, a, c.key(), good)
		var moved SegmentRecord
		m := must(a.Manifest(t.Context(), testRef))(t)
		n := must(a.Node(t.Context(), testRef, m.Nodes[1]))(t)
		moved = n.Segments[1]
		c.Offset++
		data := must(encodeSegment(must(newEncoder())(t), testRef, SegmentName{Node: n.Path, Index: 1, Token: testToken, From: string(moved.From)},
			entriesOf(s.files[len(s.files)/2:]), &moved))(t)
		overwrite(t, a, moved.Key, data)
		v := testVerifier(a)
		if err := v.segment(t.Context(), moved, false, owner{ref: testRef, node: n.Path}); err != nil {
			t.Fatal(err)
		}
		if f := v.losses[c.key()]; f == nil || f.Kind != Damaged || f.Entries != 1 {
			t.Errorf("losses are %+v", v.losses)
		}
	})
}

func testVerifier(a *Archive) *verifier {
	v := &verifier{
		archive: a, workers: make(chan *ContentReader, 1), packs: map[packID]packState{}, objects: map[objectID]objectState{},
		flights: map[string]chan struct{}{}, losses: map[string]*Finding{}, directories: map[packID]packPlaces{},
	}
	r := &ContentReader{archive: a}
	if err := r.open(); err != nil {
		panic(err)
	}
	v.workers <- r
	return v
}

// Directories that fell out of memory are read again, alone.
func TestVerifyReadsDirectoriesAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		w := a.NewContentWriter(t.Context())
		files := []file{{data: text(1, 1000)}, {data: noise(1, 1000)}}
		err := storeFiles(t.Context(), w, files)
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		v := testVerifier(a)
		for range 2 {
			for _, f := range files {
				if err := v.chunk(t.Context(), f.entry.Chunks[0], owner{}); err != nil {
					t.Error(err)
				}
			}
			if v.summary.Objects != 1 {
				t.Errorf("%d objects were read", v.summary.Objects)
			}
			clear(v.directories)
		}
		wrong := *files[1].entry.Chunks[0]
		wrong.Offset--
		wantError(t, v.chunk(t.Context(), &wrong, owner{}), ErrCorrupt)
	})
}

func TestVerifyListsStraysAndForeignObjects(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		ctx := t.Context()
		s := newSample(testRef)
		if err := s.put(ctx, a); err != nil {
			t.Fatal(err)
		}
		open := newSample(Ref{"site", "20261123-043000-0000"})
		open.run = "open"
		if err := a.Begin(ctx, open.ref, open.run, []byte(`{}`), nil); err != nil {
			t.Fatal(err)
		}
		rec := must(open.putPart(ctx, a, PartName{Node: "n", Name: "database", Token: "t"}))(t)
		want := map[string]FindingKind{
			open.ref.dir() + "plan.json":            Stray,
			rec.Key:                                 Stray,
			dataDir(testRef, "n") + "x-t2.sql.zst":  Stray,
			packKey(sha([]byte("p"))):               Stray,
			objectKey(sha([]byte("o")), true):       Stray,
			"packs/00/" + sha([]byte("p")) + ".zip": Foreign, // not its place
			"objects/readme":                        Foreign,
			"dumps/notes.txt":                       Foreign,
			"dumps/site/notes.txt":                  Foreign,
			testRef.dir() + "notes.txt":             Foreign,
			"runs/notes.txt":                        Foreign,
			"notes.txt":                             Foreign,
			"more/":                                 Foreign,
		}
		for key, kind := range want {
			switch {
			case key == "more/":
				overwrite(t, a, "more/x", nil)
			case key != rec.Key && key != open.ref.dir()+"plan.json":
				overwrite(t, a, key, []byte(kind))
			}
		}
		sum, findings := verify(t, a)
		got := map[string]FindingKind{}
		for _, f := range findings {
			got[f.Key] = f.Kind
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
		if !sum.OK() || sum.Strays != 5 || sum.Foreign != 8 {
			t.Errorf("summary is %+v", sum)
		}
		// One dump alone is not asked for what it does not need.
		if _, findings := verify(t, a, testRef); len(findings) != 0 {
			t.Errorf("findings of one dump are %+v", findings)
		}
	})
}

func TestVerifyProgressAndCancel(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a *Archive) {
		if err := newSample(testRef).put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		var last [2]int64
		_, err := a.Verify(t.Context(), nil, VerifyOptions{Progress: func(done, total int64) {
			if done < last[0] || done > total {
				t.Errorf("progress goes from %v to %d of %d", last, done, total)
			}
			last = [2]int64{done, total}
		}})
		if err != nil || last[0] < 1<<20 {
			t.Errorf("progress ended at %v: %v", last, err)
		}
		_, err = a.Verify(t.Context(), []Ref{{"site", "20200101-000000-0000"}}, VerifyOptions{})
		wantError(t, err, ErrNoDump)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		calls := 0
		_, err = a.Verify(ctx, nil, VerifyOptions{
			Progress: func(int64, int64) { calls++; cancel() },
			Report:   func(f Finding) { t.Errorf("cancelling made a finding: %+v", f) },
		})
		wantError(t, err, context.Canceled)
		if !a.memory.budget.TryAcquire(a.memory.total) {
			t.Error("memory was not given back")
		}
	})
}
