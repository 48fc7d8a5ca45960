package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"salvor/drivers"
)

// program is what is run: argv without a shell, in a directory, with variables added to this process's environment.
type program struct {
	argv   []string
	dir    string // "" is this process's working directory
	env    map[string]string
	lines  int      // of its errors that are shown
	hidden []string // in messages
}

// program returns the program of an argument list. A relative path is relative to the node's directory.
func (s *Source) program(argv []string) (program, error) {
	p := program{argv: slices.Clone(argv), dir: s.options.Dir, env: s.options.Env, lines: s.options.StderrLines, hidden: s.hidden}
	if strings.Contains(argv[0], "/") && !filepath.IsAbs(argv[0]) {
		path, err := filepath.Abs(filepath.Join(p.dir, argv[0]))
		if err != nil {
			return p, fmt.Errorf("find program %s: %w", argv[0], err)
		}
		p.argv[0] = path
	}
	return p, nil
}

// name is what messages call the program. Its arguments may hold secrets.
func (p program) name() string { return hide(p.argv[0], p.hidden) }

// environ is the environment of this process with the program's own variables, which win.
func (p program) environ() []string {
	env := os.Environ()
	names := make([]string, 0, len(p.env))
	for name := range p.env {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		env = append(env, name+"="+p.env[name])
	}
	return env
}

// find returns the path of the program, searching where the program itself would be told to search. Unlike
// exec.LookPath it tells a program that is not there from one that may not be run.
func (p program) find() (string, error) {
	if err := p.checkDir(); err != nil {
		return "", err
	}
	name := p.argv[0]
	if strings.Contains(name, "/") {
		if err := executable(name); err != nil {
			return "", p.explain(err)
		}
		return name, nil
	}
	path, ok := p.env["PATH"]
	if !ok {
		path = os.Getenv("PATH")
	}
	missing := fs.ErrNotExist
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) { // what lies in a working directory is not to be run by its bare name
			continue
		}
		file := filepath.Join(dir, name)
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			missing = err
		}
	}
	return "", p.explain(missing)
}

func (p program) checkDir() error {
	if p.dir == "" {
		return nil
	}
	dir := hide(p.dir, p.hidden)
	switch info, err := os.Stat(p.dir); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory %s of program %s: %w", dir, p.name(), drivers.ErrNotFound)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("directory %s of program %s: %w", dir, p.name(), drivers.ErrAccess)
	case err != nil:
		return fmt.Errorf("directory %s of program %s: %w", dir, p.name(), withoutPath(err))
	case !info.IsDir():
		return fmt.Errorf("directory %s of program %s: not a directory: %w", dir, p.name(), drivers.ErrInvalid)
	}
	return nil
}

func executable(file string) error {
	info, err := os.Stat(file) //nolint:gosec // the set says which programs are run
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "run", Path: file, Err: syscall.EACCES}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "run", Path: file, Err: err}
	}
	return nil
}

// explain adds the class to an error of finding or starting the program.
func (p program) explain(err error) error {
	name := p.name()
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return drivers.WithHint(fmt.Errorf("program %s: %w", name, drivers.ErrNotFound),
			"install it on this host, add its directory to PATH, or name it by its full path; a script's interpreter must be there too")
	case errors.Is(err, fs.ErrPermission):
		return drivers.WithHint(fmt.Errorf("program %s: %w: %w", name, drivers.ErrAccess, withoutPath(err)), "make it executable for this user (chmod +x)")
	case errors.Is(err, syscall.ENOEXEC):
		return drivers.WithHint(fmt.Errorf("program %s: %w: %w", name, drivers.ErrInvalid, withoutPath(err)),
			"a script begins with #! and its interpreter; a binary must be made for this machine")
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("program %s: %w: arguments and environment are too long", name, drivers.ErrInvalid)
	}
	return fmt.Errorf("program %s: %w", name, withoutPath(err))
}

// withoutPath returns what is wrong with a file without its path, which can hold what messages must not show.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
