package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"salvor/archive"
	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/tasks"
)

// defaultConfig is the config that is read where none is named and it exists.
const defaultConfig = "backupset.yaml"

// maxConfig bounds what is read of a config; the parser refuses less than this.
const maxConfig = 4 << 20

// settings are what a command works on: flag over environment over file over default.
type settings struct {
	set     tasks.BackupSet // of the config; zero where there is none
	hasSet  bool
	archive string // unresolved; "" where none is named
	queue   string // unresolved; "" for one in this process
	setName string // of --set or the config; "" where neither says
}

// place says where something stands that both a flag and the environment can name.
func (a *app) place(flag, env string) string {
	if flag != "" {
		return flag
	}
	value, _ := a.env.lookup(env)
	return value
}

// need says what a command needs of a config.
type need int

const (
	needArchive need = iota // the config is read where it is named, or the archive is not
	needSet                 // the config is read
	needNothing             // no config is read
	needQueue               // the config is read where it is named, or the queue or the archive is not
)

// settings reads the config where the command needs one, and puts flags and environment over it.
func (a *app) settings(n need) (settings, error) {
	s := settings{archive: a.place(a.archive, envArchive), queue: a.place(a.queue, envQueue), setName: a.set}
	named := a.place(a.config, envConfig)
	if n == needSet || n == needArchive && (named != "" || s.archive == "") ||
		n == needQueue && (named != "" || s.queue == "" || s.archive == "") {
		if err := a.readConfig(&s, named); err != nil {
			return s, err
		}
	}
	if s.queue == "" {
		s.queue = s.set.Queue
	}
	if err := tasks.CheckReferences(s.queue); err != nil {
		return s, usagef(hintOf(err), "--queue: %v", err)
	}
	if s.archive == "" {
		s.archive = s.set.Archive
		return s, nil
	}
	return s, completeArchive(&s)
}

// completeArchive checks an archive that was named outside a config, and makes its path absolute.
func completeArchive(s *settings) error {
	if !utf8.ValidString(s.archive) {
		return usagef("name the place through a symbolic link with a plain name", "--archive is not UTF-8 text")
	}
	if err := tasks.CheckReferences(s.archive); err != nil {
		return usagef(hintOf(err), "--archive: %v", err)
	}
	if tasks.HasLiteralSecret(s.archive) {
		return usagef("write ${NAME} in its place and set that variable",
			"--archive holds a secret, and its text is stored with every run")
	}
	if strings.Contains(s.archive, "://") || filepath.IsAbs(s.archive) || strings.HasPrefix(s.archive, "${") {
		return nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the archive's directory: %w", err)
	}
	s.archive = escapeReferences(dir) + "/" + s.archive
	return nil
}

// escapeReferences returns a text that [tasks.Resolve] turns into the given one.
func escapeReferences(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// readConfig reads the named config, or the default one where it exists.
func (a *app) readConfig(s *settings, named string) error {
	name := named
	if name == "" {
		name = defaultConfig
	}
	data, err := readFile(name, maxConfig)
	switch {
	case errors.Is(err, fs.ErrNotExist) && named == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return usagef("name the file that describes the set with --config", "config %s does not exist", quoteName(name))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read config: %w: %w", drivers.ErrAccess, err)
	case err != nil:
		return fmt.Errorf("read config: %w", err)
	}
	s.set, err = tasks.Parse(data, tasks.ParseOptions{File: name, Drivers: taskDrivers(a.registry)})
	if err != nil {
		return err
	}
	s.hasSet = true
	if s.setName == "" {
		s.setName = s.set.Set.Name
	}
	return nil
}

// checkArchive returns the error for a command that was not told where the archive is.
func (s settings) checkArchive() error {
	if s.archive == "" {
		return usagef("name it with --archive, "+envArchive+", or in "+defaultConfig, "which archive?")
	}
	return nil
}

// openArchive opens the archive that the settings name.
func (a *app) openArchive(ctx context.Context, s settings) (*archive.Archive, error) {
	if err := s.checkArchive(); err != nil {
		return nil, err
	}
	return a.archiveAt(ctx, s.archive, archive.Open)
}

type archiveOpener func(context.Context, string, archive.Options) (*archive.Archive, error)

// archiveAt resolves an archive's place and opens (or creates) it.
func (a *app) archiveAt(ctx context.Context, place string, open archiveOpener) (*archive.Archive, error) {
	text, err := a.resolve(place)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	got, err := open(ctx, text.Reveal(), archive.Options{Memory: a.memoryBytes / 2, Version: programVersion().Version})
	if errors.Is(err, archive.ErrNotFound) {
		err = withHint(err, "salvor dump makes an archive in an absent or empty directory")
	}
	return got, err
}

// resolve fills in the references of a text.
func (a *app) resolve(text string) (secret.Text, error) {
	resolved, err := tasks.Resolve(text, a.env.lookup, func(name string) ([]byte, error) { return readFile(name, maxConfig) })
	if err != nil {
		return resolved, &resolveError{err}
	}
	return resolved, nil
}

// resolveError is not to be tried again: the process's variables and its secret files do not come by waiting.
type resolveError struct{ error }

func (e *resolveError) Unwrap() error { return e.error }

// Is tells that the source's text is what is wrong.
func (*resolveError) Is(target error) bool { return target == drivers.ErrInvalid }

// Hint returns what the user can do.
func (e *resolveError) Hint() string {
	if hint := hintOf(e.error); hint != "" {
		return hint
	}
	return "set what the reference names, or correct it"
}

// readFile reads a file of at most limit bytes.
func readFile(name string, limit int64) (_ []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %s", quoteName(name), formatBytes(limit))
	}
	return data, err
}

// manyKey is the option with which a node of any driver that can expand stands for many places.
const manyKey = "databases"

// taskDrivers is what planning and validation need to know of the drivers.
func taskDrivers(r *drivers.Registry) []tasks.Driver {
	var list []tasks.Driver
	for _, k := range r.Kinds() {
		d := tasks.Driver{
			Name: k.Name, Scheme: k.Scheme, Holds: k.Holds, Path: k.Local, Options: k.Options, Check: k.Check,
			Resolve: k.Resolve, SourceKeys: k.SourceKeys, PlaceKeys: k.PlaceKeys, Executes: k.Executes,
		}
		if k.Expand != nil {
			d.Many = manyKey
		}
		list = append(list, d)
	}
	return list
}
