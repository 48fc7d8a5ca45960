package postgres

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"salvor/drivers"
)

// TestBuildersMeet lets a loader find the index of its table in the hands of another session: one of an earlier attempt at
// the same task is ended, one of another task is left alone, and not waited for.
func TestBuildersMeet(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	const table = "shop.customer"
	part := d.part(t, table)
	for name, c := range map[string]struct {
		holder string // the task of the session that is met
		built  string // whether the loader builds the indexes itself
	}{
		"earlier attempt": {"load:1", "2"},
		"other task":      {"load:2", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := s.NewName()
			target := openSource(t, s.URL(db), "")
			rules := d.rules()
			requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
			holder, err := target.begin(t.Context(), rules, c.holder, "old")
			requireNoError(t, "begin", err)
			defer holder.close(t.Context())
			list, err := holder.statements(t.Context(), phaseTable, table)
			requireNoError(t, "statements", err)
			_, err = holder.claim(t.Context(), []string{list[0].item()}, table, waitForOthers)
			requireNoError(t, "claim", err)

			started := time.Now()
			attempt := drivers.Attempt{Run: rules.Run, Task: "load:1", Token: "new"}
			requireNoError(t, "load", target.Load(t.Context(), rules, attempt, part, bytes.NewReader(d.content[part.Name])))
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("the load took %v", took)
			}
			if got := s.Query(db, "SELECT count(*) FROM pg_index WHERE indrelid = 'shop.customer'::regclass"); got != c.built {
				t.Errorf("%s indexes after the load, want %s", got, c.built)
			}
			_, err = holder.text(t.Context(), "SELECT 1")
			if alive := err == nil; alive != (c.built == "0") {
				t.Errorf("the other session lives: %v", alive)
			}
			// Finish comes after all loads: it ends what they left, and builds what they did not.
			requireNoError(t, "restore", d.restore(t.Context(), target, rules))
			if got := s.Query(db, "SELECT count(*) FROM pg_index WHERE indrelid = 'shop.customer'::regclass"); got != "2" {
				t.Errorf("%s indexes after the restore, want 2", got)
			}
		})
	}
}

// TestStoppedTwins leaves a Prepare and a Finish in the middle of a transaction, as a process does that was stopped: the next
// attempt ends them, and is not kept waiting.
func TestStoppedTwins(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	for _, c := range []struct{ task, sql string }{
		{taskPrepare, "BEGIN; CREATE SCHEMA salvor_progress; " + progressSQL},
		{taskFinish, "BEGIN; DROP SCHEMA salvor_progress CASCADE"},
	} {
		t.Run(c.task, func(t *testing.T) {
			t.Parallel()
			db := s.NewDatabase()
			target := openSource(t, s.URL(db), "")
			rules := d.rules()
			if c.task == taskFinish {
				requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
			}
			stopped, err := target.begin(t.Context(), rules, c.task, "old")
			requireNoError(t, "begin", err)
			defer stopped.close(t.Context())
			requireNoError(t, "begin", stopped.exec(t.Context(), c.sql))
			if c.task == taskFinish {
				if err := target.Finish(t.Context(), rules, d.parts); !errors.Is(err, drivers.ErrFailed) || !strings.Contains(err.Error(), "is not in the target") {
					t.Errorf("finish before the loads: %v", err)
				}
			}
			requireNoError(t, "restore", d.restore(t.Context(), target, rules))
			if _, err := stopped.text(t.Context(), "SELECT 1"); err == nil {
				t.Error("the stopped session lives")
			}
			proof, err := target.Prove(t.Context(), rules, d.parts)
			if err != nil || len(proof.Differences) > 0 {
				t.Errorf("proof %v, %v", proof, err)
			}
		})
	}
}

// TestLateLoad has a load go on that connected before the end of its run, when another run is at work in the database: it must take
// nothing from that one.
func TestLateLoad(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	db := s.NewDatabase()
	target, rules := openSource(t, s.URL(db), ""), d.rules()
	late, err := target.begin(t.Context(), rules, "load:1", "late")
	requireNoError(t, "begin", err)
	defer late.close(t.Context())
	rules.Run = "another"
	requireNoError(t, "prepare", target.Prepare(t.Context(), rules, d.parts))
	part := d.part(t, "shop.customer")
	loaded := false
	err = late.once(t.Context(), part.Name, "shop.customer", func() error {
		loaded = true
		return nil
	})
	if !errors.Is(err, drivers.ErrFailed) || loaded {
		t.Errorf("a load of an earlier run: %v, loaded: %t", err, loaded)
	}
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	proof, err := target.Prove(t.Context(), rules, d.parts)
	if err != nil || len(proof.Differences) > 0 {
		t.Errorf("proof %v, %v", proof, err)
	}
}

// TestLateTwin has a Prepare that was stopped after its look go on when the run is over.
func TestLateTwin(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "", nil)
	db := s.NewDatabase()
	target, rules := openSource(t, s.URL(db), ""), d.rules()
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	c, err := readContents(d.parts, nil)
	requireNoError(t, "read contents", err)
	twin, err := target.beginTask(t.Context(), rules, taskPrepare)
	requireNoError(t, "begin", err)
	defer twin.close(t.Context())
	if err := twin.beginRun(t.Context(), place{}, stateEmpty, c); !errors.Is(err, errChanged) {
		t.Errorf("begin again: %v", err)
	}
	if got := s.Query(db, "SELECT count(*) FROM pg_namespace WHERE nspname = 'salvor_progress'"); got != "0" {
		t.Error("the restored database looks as if a restore went on in it")
	}
}
