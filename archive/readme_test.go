package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needTools skips a test where a program is missing, unless everything is required.
func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("SALVOR_TEST_REQUIRE") == "all" {
				t.Fatalf("%s is not installed", tool)
			}
			t.Skipf("%s is not installed", tool)
		}
	}
}

// shell runs commands in an archive's directory, as README.txt says.
func shell(t *testing.T, dir, commands string, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", commands, "sh"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	err := cmd.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

const runScript = `sed -n '/^#!\/bin\/sh/,/^# end of script/p' README.txt > "$3" && exec sh "$3" . "$1" "$2"`

func TestRestoreByHand(t *testing.T) {
	t.Parallel()
	needTools(t, "sh", "zstd", "unzip", "jq", "sha256sum", "base64", "awk")
	location, o := places["local"](t)
	a := create(t, location, o)
	s := newSample(testRef)
	// A chunked file, and a path that must not be followed out of the target.
	s.files = append(s.files,
		file{entry: Entry{Path: "zz/../../escaped", Type: fileType}, data: []byte("evil")},
		file{entry: Entry{Path: "zz/big", Type: fileType, Meta: []byte(`{"mode":2541}`)}, data: append(text(1, ChunkSize), noise(2, SmallSize+1)...)},
	)
	if err := s.put(t.Context(), a); err != nil {
		t.Fatal(err)
	}

	out, _, _ := shell(t, location, `ls dumps/*/*/manifest.json; f=dumps/site/*/manifest.json
		[ "$(head -n 1 $f | sha256sum | cut -c 1-64)" = "$(tail -n +2 $f)" ] && echo good
		head -n 1 $f | jq -r '.nodes[].key'`)
	dir := testRef.dir()
	if want := dir + "manifest.json\ngood\n" + dir + "nodes/site/databases/main.json\n" + dir + "nodes/site/foo%2Efiles.json\n"; out != want {
		t.Errorf("the catalogue by hand is %q, want %q", out, want)
	}
	out, errs, _ := shell(t, location, `head -n 1 "$1" | jq -r '.parts[] | .key + " " + .stored_sha256 + " " + .sha256' | while read -r part stored sum; do
		[ "$(sha256sum "$part"             # must print the part's stored_sha256
		)" = "$stored  $part" ] && [ "$(zstd -dc "$part" | sha256sum | cut -c 1-64)" = "$sum" ] && echo good; done`, dir+"nodes/site/databases/main.json")
	if strings.Count(out, "good") != 3 {
		t.Errorf("parts by hand: %q %q", out, errs)
	}

	target := filepath.Join(t.TempDir(), "deep", "restored")
	script := filepath.Join(t.TempDir(), "restore-tree.sh")
	out, errs, exit := shell(t, location, runScript, dir+"nodes/site/foo%2Efiles.json", target, script)
	if exit != 3 || out != "" || !strings.Contains(errs, "left out: secret") || !strings.Contains(errs, "left out: zz/../../escaped") ||
		!strings.Contains(errs, "left out: lock.sock (socket)") || strings.Count(errs, "\n") != 3 {
		t.Errorf("exit %d, %s%s", exit, out, errs)
	}
	for _, f := range s.files {
		if f.entry.Type != "socket" && !strings.Contains(f.entry.Path, "..") {
			checkRestored(t, target, f)
		}
	}
	if _, err := os.Lstat(filepath.Join(target, "..", "escaped")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path led out of the target: %v", err)
	}
	_, errs, exit = shell(t, location, runScript, dir+"nodes/site/foo%2Efiles.json", target, script)
	if exit != 1 || !strings.Contains(errs, "is not empty") {
		t.Errorf("a target that is not empty: exit %d, %s", exit, errs)
	}

	// Damage is told, whatever it hits.
	for _, key := range keys(t, a) {
		if !strings.HasPrefix(key, packsDir) && !strings.HasPrefix(key, objectsDir) && !strings.Contains(key, "segment-") {
			continue
		}
		good := object(t, a, key)
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		overwrite(t, a, key, bad)
		_, errs, exit := shell(t, location, runScript, dir+"nodes/site/foo%2Efiles.json", filepath.Join(t.TempDir(), "x"), script)
		if exit == 0 || exit == 3 {
			t.Errorf("with %s damaged the script ends with %d, %s", key, exit, errs)
		}
		overwrite(t, a, key, good)
	}
}

func checkRestored(t *testing.T, target string, f file) {
	t.Helper()
	path := filepath.Join(target, f.entry.Path)
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
		return
	}
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		t.Error(err)
	}
	meta := string(f.entry.Meta)
	switch f.entry.Type {
	case fileType:
		want := append(make([]byte, f.hole), f.data...)
		if got := must(os.ReadFile(path))(t); !bytes.Equal(got, want) {
			t.Errorf("%q has %d bytes of content, want %d", f.entry.Path, len(got), len(want))
		}
		if f.hole > 0 && stat.Blocks*512 >= f.hole {
			t.Errorf("%q takes %d blocks: its hole is filled", f.entry.Path, stat.Blocks)
		}
	case "symlink":
		if link := must(os.Readlink(path))(t); link != "dir/pipe" {
			t.Errorf("%q points to %q", f.entry.Path, link)
		}
		return
	}
	if i := strings.Index(meta, `"mtime":"`); i > 0 {
		want := must(time.Parse(time.RFC3339Nano, strings.TrimSuffix(meta[i+9:], `"}`)))(t)
		if !info.ModTime().Equal(want) {
			t.Errorf("%q has time %s, want %s", f.entry.Path, info.ModTime(), want)
		}
	}
	for text, mode := range map[string]string{"420": "644", "493": "755", "320": "500", "384": "600", "2541": "4755"} {
		if got := fmt.Sprintf("%o", stat.Mode&0o7777); strings.Contains(meta, `"mode":`+text) && got != mode {
			t.Errorf("%q has mode %s, want %s", f.entry.Path, got, mode)
		}
	}
}
