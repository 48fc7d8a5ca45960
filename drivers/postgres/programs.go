package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"salvor/drivers"
)

// program is one of PostgreSQL's own programs, as it is installed here.
type program struct {
	path    string
	version int
	input   *os.File // that it finds at inputPath; nil for none
}

// inputPath is where a program finds the file that it is started with.
const inputPath = "/dev/fd/3"

// BinVariable names the environment variable that tells where PostgreSQL's programs are; without it they are looked for on
// the PATH and where the distributions keep them.
const BinVariable = "SALVOR_POSTGRES_BIN"

// findPrograms lists the installed versions of a program, the newest first.
func findPrograms(ctx context.Context, name string) ([]program, error) {
	var paths []string
	if dir := os.Getenv(BinVariable); dir != "" {
		paths = append(paths, filepath.Join(dir, name))
	} else {
		if path, err := exec.LookPath(name); err == nil && !isWrapper(path) {
			paths = append(paths, path)
		}
		for _, pattern := range []string{
			"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*", "/usr/local/pgsql*/bin",
			"/opt/homebrew/opt/postgresql@*/bin", "/opt/homebrew/opt/libpq/bin", "/usr/local/opt/libpq/bin",
		} {
			found, err := filepath.Glob(filepath.Join(pattern, name))
			if err == nil {
				paths = append(paths, found...)
			}
		}
	}
	var list []program
	for _, path := range paths {
		out, err := exec.CommandContext(ctx, path, "--version").Output() //nolint:gosec // where the programs are is the environment's to say
		if err != nil {
			continue // no program, or none for this machine
		}
		words := strings.Fields(string(out)) // pg_dump (PostgreSQL) 15.18 (Debian …)
		if len(words) >= 3 {
			list = append(list, program{path: path, version: versionOf(words[2])})
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	slices.SortStableFunc(list, func(a, b program) int { return b.version - a.version })
	return list, nil
}

// isWrapper tells whether a program is Debian's script that chooses among those that are looked for here by themselves: it
// takes longer than what it starts.
func isWrapper(path string) bool {
	target, err := filepath.EvalSymlinks(path)
	return err == nil && filepath.Base(target) == "pg_wrapper"
}

// findProgram returns the newest installed version of a program that can be used with a server: an older pg_dump does not
// know what a newer server has.
func findProgram(ctx context.Context, name string, server int) (program, error) {
	list, err := findPrograms(ctx, name)
	if err != nil {
		return program{}, err
	}
	hint := fmt.Sprintf("install the client programs of PostgreSQL %d or newer (Debian: postgresql-client-%d), or set %s to their directory",
		server/10000, server/10000, BinVariable)
	if len(list) == 0 {
		return program{}, drivers.WithHint(fmt.Errorf("%s is not installed: %w", name, drivers.ErrInvalid), hint)
	}
	if list[0].version/10000 < server/10000 {
		return program{}, drivers.WithHint(
			fmt.Errorf("%s %s is older than the server, which is PostgreSQL %d: %w", name, versionText(list[0].version), server/10000, drivers.ErrInvalid), hint)
	}
	return list[0], nil
}

func versionText(v int) string { return fmt.Sprintf("%d.%d", v/10000, v%10000) }

// run runs a program and hands its output on. Its last words are the error.
func (s *Source) run(ctx context.Context, p program, out io.Writer, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env = s.env(os.Environ())
	cmd.WaitDelay = 5 * time.Second
	ownGroup(cmd)
	if p.input != nil {
		cmd.ExtraFiles = []*os.File{p.input}
	}
	errs := &lastWords{}
	sink := &stopWriter{out: out, cancel: cancel}
	cmd.Stdout, cmd.Stderr = sink, errs
	err := cmd.Run()
	switch {
	case sink.err != nil:
		return sink.err
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	name := filepath.Base(p.path)
	if words := errs.String(); words != "" {
		return classifyWords(name, words, err)
	}
	return fmt.Errorf("run %s: %w", name, err)
}

// classifyWords gives what one of the programs said the class that the server's error had.
func classifyWords(name, words string, err error) error {
	class := error(nil)
	switch {
	case snapshotGone(words):
		class = drivers.ErrViewLost
	case strings.Contains(words, "no matching tables were found"), strings.Contains(words, "no matching schemas were found"):
		class = drivers.ErrNotFound
	case strings.Contains(words, "permission denied"), strings.Contains(words, "password authentication failed"):
		class = drivers.ErrAccess
	case strings.Contains(words, "query would be affected by row-level security"):
		class = drivers.ErrAccess
	case strings.Contains(words, "server version mismatch"):
		class = drivers.ErrInvalid
	}
	if class != nil {
		return fmt.Errorf("%s: %w: %s", name, class, words)
	}
	return fmt.Errorf("%s: %w: %s", name, err, words)
}

// snapshotGone tells whether pg_dump could not join a snapshot, and not because its connection broke. The server's own words
// may be of any language, those around them are pg_dump's and libpq's, which are told to speak English.
func snapshotGone(words string) bool {
	_, said, ok := strings.Cut(words, "query failed: ")
	_, query, told := strings.Cut(said, "uery was: ")
	if !ok || !told || !strings.HasPrefix(query, "SET TRANSACTION SNAPSHOT") {
		return false
	}
	for _, broken := range []string{"server closed the connection", "connection to server", "SSL connection", "SSL error", "could not receive data", "could not send data"} {
		if strings.Contains(said, broken) {
			return false
		}
	}
	return true
}

// stopWriter hands output on and ends the program at the first error.
type stopWriter struct {
	out    io.Writer
	cancel context.CancelFunc
	err    error
}

func (w *stopWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.out.Write(p)
	if err != nil {
		w.err = err
		w.cancel()
	}
	return n, err
}

// lastWords keeps the end of what a program says on its standard error.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

const lastWordsLength = 4 << 10

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if extra := len(l.text) - lastWordsLength; extra > 0 {
		l.text = append(l.text[:0], l.text[extra:]...)
	}
	return len(p), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.ToValidUTF8(strings.TrimSpace(string(l.text)), "?"), "\n")
	return strings.Join(lines, "; ")
}

// errHeader tells that an archive of pg_dump does not begin as one.
var errHeader = errors.New("not an archive of pg_dump")

// fixedTime is a writer that sets the time in the header of pg_dump's custom format: a schema that is dumped twice in one
// view is the same twice.
type fixedTime struct {
	out  io.Writer
	at   time.Time
	head []byte
	done bool
}

// headerLength is enough to hold the time: magic (5), version (3), sizes (2), format (1), compression (1 or 5), 7 integers.
const headerLength = 11 + 5 + 7*9

func (f *fixedTime) Write(p []byte) (int, error) {
	if f.done {
		return f.out.Write(p)
	}
	f.head = append(f.head, p...)
	if len(f.head) < headerLength {
		return len(p), nil
	}
	if err := f.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes the header.
func (f *fixedTime) flush() error {
	if f.done {
		return nil
	}
	f.done = true
	if len(f.head) < headerLength || !bytes.HasPrefix(f.head, []byte("PGDMP\x01")) {
		return errHeader
	}
	minor, size := f.head[6], int(f.head[8])
	at := 11 + 1 + size // the compression is an integer ...
	if minor >= 15 {
		at = 11 + 1 // ... or, since 1.15, a byte
	}
	t := f.at.UTC()
	for _, n := range []int{t.Second(), t.Minute(), t.Hour(), t.Day(), int(t.Month()) - 1, t.Year() - 1900, 0} {
		if size < 1 || at+1+size > len(f.head) {
			return errHeader
		}
		clear(f.head[at : at+1+size])
		f.head[at+1] = byte(n) //nolint:gosec // the year fits until 2155
		at += 1 + size
	}
	_, err := f.out.Write(f.head)
	f.head = nil
	return err
}
