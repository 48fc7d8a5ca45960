package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Two restores that run onto one target at the same time: what is there in the end is one of the two dumps, whole, and who
// did not make it is told.
func TestTwoRestoresOntoOneTarget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	archive := filepath.Join(dir, "archive")
	var ids [2]string
	var want [2]map[string]string
	for i := range ids {
		database, files := filepath.Join(dir, fmt.Sprint(i)+".db"), filepath.Join(dir, fmt.Sprint(i))
		db, err := openDB(database)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf("CREATE TABLE t%d AS SELECT randomblob(300000) AS a", i)); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		for n := range 600 {
			writeFile(t, filepath.Join(files, fmt.Sprintf("%d-%04d", (n+i)%2, n)), fmt.Appendf(nil, "%d %d", i, n))
		}
		ids[i] = strings.TrimSpace(mustCall(t, "dump", "--archive", archive, "--quiet", "--full", "site=sqlite:"+database, "files=dir:"+files))
		want[i] = restored(t, files)
		if want[i][".db"] == "" {
			t.Fatal("the database is not there")
		}
	}
	for _, rule := range []string{"", "--mirror"} {
		t.Run("rule"+rule, func(t *testing.T) {
			t.Parallel()
			target := filepath.Join(t.TempDir(), "target")
			var codes [2]int
			var says [2]string
			var both sync.WaitGroup
			for i, id := range ids {
				args := []string{"restore", "--archive", archive, id, "--quiet", "--only", "files", "--into", "files=" + target}
				if rule != "" {
					args = append(args, rule)
				}
				both.Go(func() { _, says[i], codes[i] = call(t, args...) })
			}
			both.Wait()
			got := restored(t, target)
			one := false
			for i := range ids {
				files := make(map[string]string)
				for name, digest := range want[i] {
					if name != ".db" {
						files[name] = digest
					}
				}
				one = one || codes[i] == exitOK && cmp.Equal(files, got)
				if codes[i] != exitOK && !strings.Contains(says[i], "another restore is writing there") && !strings.Contains(says[i], "target is not empty") {
					t.Errorf("restore %d ended with %d: %s", i, codes[i], says[i])
				}
			}
			if !one {
				t.Errorf("exit codes %v: what is there is neither dump (%d entries)", codes, len(got))
			}
		})
		t.Run("database"+rule, func(t *testing.T) {
			t.Parallel()
			target := filepath.Join(t.TempDir(), "target")
			var codes [2]int
			var says [2]string
			var both sync.WaitGroup
			for i, id := range ids {
				args := []string{"restore", "--archive", archive, id, "--quiet", "--only", "site", "--into", target + ".db"}
				if rule != "" {
					args = append(args, rule)
				}
				both.Go(func() { _, says[i], codes[i] = call(t, args...) })
			}
			both.Wait()
			got, one := restored(t, target)[".db"], false
			for i := range ids {
				one = one || codes[i] == exitOK && want[i][".db"] == got
				if codes[i] != exitOK && !strings.Contains(says[i], "salvor: hint: ") {
					t.Errorf("restore %d ended with %d: %s", i, codes[i], says[i])
				}
			}
			if !one {
				t.Errorf("exit codes %v: what is there is neither database\n%s%s", codes, says[0], says[1])
			}
		})
	}
}
