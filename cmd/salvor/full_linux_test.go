package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"salvor/internal/testenv"
)

// envNamespace tells the test binary that it runs as root of a namespace of its own.
const envNamespace = "SALVOR_TEST_NAMESPACE"

// privately runs a test in a user and mount namespace of its own, where that is needed to mount anything. It tells whether
// the caller is to go on; else the test was run, and has the same outcome.
func privately(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("salvor-test", dir, "tmpfs", 0, "size=64k")
	if err == nil {
		err = unix.Unmount(dir, unix.MNT_DETACH)
	}
	if err == nil {
		return true
	}
	if os.Getenv(envNamespace) != "" {
		t.Fatalf("mount in a namespace: %v", err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), envNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
	case len(out) > 0:
		t.Errorf("in a namespace: %v\n%s", err, out)
	case os.Getuid() == 0 && os.Getenv(testenv.Require) == "all":
		t.Fatalf("a file system can be mounted neither here nor in a namespace: %v", err)
	default:
		t.Skipf("a file system can be mounted neither here nor in a namespace: %v", err)
	}
	return false
}

// disk is a small file system in memory.
type disk struct{ path string }

func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{t.TempDir()}
	if err := unix.Mount("salvor-test", d.path, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(d.path, unix.MNT_DETACH) })
	return d
}

// set changes the disk: "size=64k", "ro,size=1m".
func (d disk) set(t *testing.T, options string) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if rest, ok := strings.CutPrefix(options, "ro,"); ok {
		flags, options = flags|unix.MS_RDONLY, rest
	}
	if err := unix.Mount("", d.path, "", flags, options); err != nil {
		t.Fatal(err)
	}
}

// leftovers returns the names below the disk that begin as temporary ones do.
func (d disk) leftovers(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "find", d.path, "-name", ".*salvor-*").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// plainly replaces what differs from run to run.
func plainly(text string, places map[string]string) string {
	for place, name := range places {
		text = strings.ReplaceAll(text, place, name)
	}
	for _, r := range [][2]string{
		{`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`, "RUN"},
		{`\d{8}-\d{6}-[0-9a-f]{4}`, "DUMP"},
		{`[0-9a-f]{64}`, "HASH"},
		{`/[0-9a-f]{2}/`, "/XX/"},
		{`\.salvor-tmp-\w+`, "TEMP"},
		{`database-[0-9a-fx]+\.`, "database-TOKEN."},
		{`has \d+ bytes free and needs \d+`, "has FREE and needs SIZE"},
		// Which of them meets a full disk first is chance.
		{`packs/XX/HASH\.zip`, "objects/XX/HASH"},
		{`packs/XX/TEMP`, "objects/XX/TEMP"},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return text
}

// fails runs a command that must fail with a code and say just that.
func fails(t *testing.T, places map[string]string, code int, want string, args ...string) {
	t.Helper()
	stdout, stderr, got := call(t, append(args, "--quiet")...)
	if got != code || stdout != "" {
		t.Errorf("salvor %s: exit code %d, want %d; stdout %q", strings.Join(args, " "), got, code, stdout)
	}
	if diff := cmp.Diff(want, plainly(stderr, places)); diff != "" {
		t.Errorf("salvor %s says (-want +got):\n%s", strings.Join(args, " "), diff)
	}
}

// sources is a database and a directory, of which neither can be made smaller by compressing.
type sources struct{ dir, database, files string }

func newSources(t *testing.T) sources {
	t.Helper()
	dir := t.TempDir()
	s := sources{dir, filepath.Join(dir, "site.db"), filepath.Join(dir, "files")}
	db, err := openDB(s.database)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t AS SELECT randomblob(100000) AS a"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		writeFile(t, filepath.Join(s.files, fmt.Sprint("small", i)), noise(i, 5000))
	}
	writeFile(t, filepath.Join(s.files, "vast"), noise(99, bigFile))
	return s
}

func (s sources) args(args ...string) []string {
	return append(args, "site=sqlite:"+s.database, "files=dir:"+s.files)
}

func (s sources) restored(t *testing.T, archive string) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "target")
	mustCall(t, "restore", "--archive", archive, "--into", "site="+target+".db", "--into", "files="+target)
	sameAsSource(t, s.database, target+".db", describeDB)
	sameAsSource(t, s.files, target, describeTree)
}

// again is the last line of a run that can be taken up.
const again = "salvor: hint: salvor resume RUN goes on with it\n"

// A full disk under the archive: nothing is committed, nothing is left half, and the next dump is whole.
func TestFullArchive(t *testing.T) {
	t.Parallel()
	if !privately(t) {
		return
	}
	s := newSources(t)
	const end = "salvor: hint: make room, and run it again\n"
	const failed = end + "salvor: error: dump failed, nothing was committed, run RUN\n" + again
	full := func(key string) string {
		return "no space left: write DISK/archive/" + key + "TEMP: no space left on device\n"
	}
	for size, want := range map[string]string{
		"8k":   "salvor: error: open archive DISK/archive: write README.txt: " + full("") + end,
		"28k":  "salvor: error: begin dump DUMP: write dumps/default/DUMP/plan.json: " + full("dumps/default/DUMP/") + end,
		"80k":  "salvor: error: store part database of node default/site: write dumps/default/DUMP/data/default/site/database-TOKEN.sqlite.zst: " + full("dumps/default/DUMP/data/default/site/") + failed,
		"600k": "salvor: error: store contents of node default/files: write objects/XX/HASH: " + full("objects/XX/") + failed,
	} {
		d := newDisk(t)
		archive := filepath.Join(d.path, "archive")
		d.set(t, "size="+size)
		t.Run(size, func(t *testing.T) {
			fails(t, map[string]string{d.path: "DISK"}, exitFailed, want, s.args("dump", "--archive", archive)...)
			if got := d.leftovers(t); len(got) > 0 {
				t.Errorf("it left %v", got)
			}
			if list, stderr, code := call(t, "list", "--archive", archive, "--json"); list != "" || code != exitOK {
				t.Errorf("there is a dump: %s%s", list, stderr)
			}
			mustCall(t, "verify", "--archive", archive)
			d.set(t, "size=64m")
			mustCall(t, s.args("dump", "--archive", archive)...)
			mustCall(t, "verify", "--archive", archive)
			s.restored(t, archive)
		})
	}
	// What is in a full archive, or in one that cannot be written, can be restored.
	d := newDisk(t)
	archive := filepath.Join(d.path, "archive")
	mustCall(t, s.args("dump", "--archive", archive)...)
	filler, err := os.Create(filepath.Join(d.path, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 1000))
	}
	if closeErr := filler.Close(); closeErr != nil || !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err, closeErr)
	}
	for _, readOnly := range []bool{false, true} {
		if readOnly {
			d.set(t, "ro,size=64m")
		}
		s.restored(t, archive)
		mustCall(t, "verify", "--archive", archive)
	}
	fails(t, map[string]string{d.path: "DISK"}, exitAccess, "salvor: error: begin dump DUMP: write runs/RUN.open: access denied: openat runs/TEMP: read-only file system\n"+
		"salvor: hint: its file system is mounted for reading only: mount it for writing, or name another place\n", s.args("dump", "--archive", archive)...)
}

// A full disk under a target: the restore fails, and the next one goes on from there.
func TestFullTarget(t *testing.T) {
	t.Parallel()
	if !privately(t) {
		return
	}
	s := newSources(t)
	archive := filepath.Join(s.dir, "archive")
	mustCall(t, s.args("dump", "--archive", archive)...)
	d := newDisk(t)
	target := filepath.Join(d.path, "target")
	const failed = "salvor: hint: make room, and run it again\nsalvor: error: restore failed, run RUN\n" + again
	d.set(t, "size=600k")
	files := []string{"restore", "--archive", archive, "--only", "files", "--into", target}
	fails(t, map[string]string{d.path: "DISK"}, exitFailed,
		"salvor: error: restore node default/files: write \"vast\": no space left (no space left on device)\n"+failed, files...)
	if got := d.leftovers(t); len(got) > 0 {
		t.Errorf("it left %v", got)
	}
	for name, digest := range restored(t, target) {
		if want, err := hashFile(s.files + name); err != nil || want != digest {
			t.Errorf("it left a wrong %s (%v)", name, err)
		}
	}
	d.set(t, "size=64m")
	mustCall(t, files...)
	sameAsSource(t, s.files, target, describeTree)

	d = newDisk(t)
	database := filepath.Join(d.path, "new.db")
	writeFile(t, database, []byte("something else"))
	d.set(t, "size=64k")
	site := []string{"restore", "--archive", archive, "--only", "site", "--into", database, "--overwrite"}
	fails(t, map[string]string{d.path: "DISK"}, exitFailed, "salvor: error: prepare target of node default/site: prepare target DISK/new.db: "+
		"DISK/.new.db.salvor-RUN has FREE and needs SIZE: no space left\n"+failed, site...)
	if text, err := os.ReadFile(database); err != nil || string(text) != "something else" || len(d.leftovers(t)) > 0 {
		t.Errorf("what was there is %q, %v; it left %v", text, err, d.leftovers(t))
	}
	d.set(t, "size=64m")
	mustCall(t, site...)
	sameAsSource(t, s.database, database, describeDB)

	// A target that is mounted for reading only.
	d.set(t, "ro,size=64m")
	const denied = "salvor: hint: its file system is mounted for reading only: mount it for writing, or name another place\n" +
		"salvor: error: restore failed, run RUN\n"
	fails(t, map[string]string{d.path: "DISK"}, exitAccess, "salvor: error: check target of node default/files: write \"DISK/\": access denied (read-only file system)\n"+denied,
		"restore", "--archive", archive, "--only", "files", "--into", filepath.Join(d.path, "other"))
	fails(t, map[string]string{d.path: "DISK"}, exitAccess, "salvor: error: check target of node default/site: check target DISK/other.db: access denied: write to directory DISK: read-only file system\n"+denied,
		"restore", "--archive", archive, "--only", "site", "--into", filepath.Join(d.path, "other.db"))
}
