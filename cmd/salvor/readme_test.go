package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadmeTranscript runs the first transcript of the README and compares what is printed, but for what differs from run to
// run.
func TestReadmeTranscript(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## A dump and its restore\n")
	parts := strings.SplitN(section, "```\n", 3)
	if !found || len(parts) < 3 {
		t.Fatal("the README has no transcript")
	}
	dir := t.TempDir()
	site := filepath.Join(dir, "site")
	makeReadmeSite(t, site)
	places := strings.NewReplacer("/backup", filepath.Join(dir, "backup"), "/tmp/", filepath.Join(dir, "new")+"/")
	shown := strings.NewReplacer(filepath.Join(dir, "backup"), "/backup", filepath.Join(dir, "new")+"/", "/tmp/")

	var got strings.Builder
	commands := 0
	for line := range strings.Lines(parts[1]) {
		command, ok := strings.CutPrefix(line, "$ salvor ")
		if !ok {
			continue
		}
		if commands++; commands > 1 {
			got.WriteByte('\n')
		}
		got.WriteString(line)
		cmd := exec.CommandContext(t.Context(), "salvor", strings.Fields(places.Replace(command))...)
		cmd.Dir = site
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		got.WriteString(shown.Replace(string(out)))
	}
	if commands < 4 {
		t.Fatalf("the transcript has %d commands", commands)
	}
	if diff := cmp.Diff(lasting(parts[1]), lasting(got.String())); diff != "" {
		t.Errorf("the README's transcript (-README +program):\n%s", diff)
	}
}

// lasting returns a transcript without what differs from run to run: names, times, and sizes that are compressed.
func lasting(transcript string) string {
	for _, r := range [][2]string{
		{`(?m)^(dump|restore) \S+: \d+ %.*\n`, ""}, // a slow machine says how far it is
		{`\d{8}-\d{6}-[0-9a-f]{4}`, "DUMP"},
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "TIME"},
		{`[\d.]+ s\b`, "SECONDS"},
		{`[\d.,]+ ([KM]i)?B`, "SIZE"},
		{` +`, " "}, // the columns are as wide as the sizes
	} {
		transcript = regexp.MustCompile(r[0]).ReplaceAllString(transcript, r[1])
	}
	return transcript
}

// makeReadmeSite makes the site that the README speaks of.
func makeReadmeSite(t *testing.T, site string) {
	t.Helper()
	const photos = 1000
	folder := filepath.Join(site, "uploads", "2026")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range photos {
		number := strconv.Itoa(i + 1)
		content := strings.Repeat("photo "+number+"\n", 1000)
		if err := os.WriteFile(filepath.Join(folder, number+".jpg"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := openDB(filepath.Join(site, "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(t.Context(), `CREATE TABLE photo (id INTEGER PRIMARY KEY, file TEXT);
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
		INSERT INTO photo SELECT i, '2026/' || i || '.jpg' FROM n`)
	if err != nil {
		t.Fatal(err)
	}
}
