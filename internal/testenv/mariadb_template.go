//go:build unix

package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// dataTemplate is a new data directory, as it is after the server's own program made it, which takes a second. It is kept in
// memory, so that nothing is left to remove when the tests end.
type dataTemplate struct {
	once  sync.Once
	err   error
	files []templateFile
}

// templateFile is a file or a directory. Of a file, which is mostly zeros, the blocks are kept that are not.
type templateFile struct {
	path   string
	mode   fs.FileMode
	size   int64
	blocks map[int64][]byte
}

const templateBlock = 16 << 10 // a page of InnoDB

//nolint:gochecknoglobals // what it holds is the same for all tests of the process, and made once
var dataTemplates sync.Map

// copyTemplate makes a data directory for a new server.
func (s *MariaDBServer) copyTemplate(to string) error {
	// These count when a directory is made, and ever after.
	var settings []string
	for _, setting := range s.options.Settings {
		name, _, _ := strings.Cut(strings.ReplaceAll(setting, "-", "_"), "=")
		if name == "lower_case_table_names" || name == "innodb_page_size" {
			settings = append(settings, "--"+setting)
		}
	}
	key := s.program + " " + strings.Join(settings, " ")
	found, _ := dataTemplates.LoadOrStore(key, &dataTemplate{})
	template, ok := found.(*dataTemplate)
	if !ok {
		return fmt.Errorf("the template is a %T", found)
	}
	template.once.Do(func() { template.files, template.err = s.makeTemplate(settings) })
	if template.err != nil {
		return template.err
	}
	for _, f := range template.files {
		if err := f.copy(to, s.user); err != nil {
			return fmt.Errorf("copy new data directory: %w", err)
		}
	}
	return nil
}

// makeTemplate lets the server's program make a data directory, and reads it. It does so for all tests: the end of one does
// not stop it.
func (s *MariaDBServer) makeTemplate(settings []string) (files []templateFile, err error) {
	dir, err := makeDir(s.user)
	if err != nil {
		return nil, err
	}
	defer dir.remove()
	data := filepath.Join(dir.path, "data")
	args := append([]string{"--no-defaults", "--datadir=" + data}, fastMariaDB()...)
	args = append(args, settings...)
	program := s.program
	if s.MySQL {
		args = append(args, "--initialize-insecure", "--tmpdir="+dir.path)
	} else {
		program = filepath.Join(s.options.Bin, "mariadb-install-db")
		args = append(args, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--skip-log-bin")
	}
	p, err := startAs(s.user, dir.path, program, args...)
	if err != nil {
		return nil, err
	}
	<-p.exited
	if !p.cmd.ProcessState.Success() {
		return nil, fmt.Errorf("make new data directory: %s: %s", p.cmd.ProcessState, p.log)
	}
	err = filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Name() == "auto.cnf" {
			return nil // it holds the identity of one MySQL server
		}
		name, err := filepath.Rel(data, path)
		if err != nil {
			return err
		}
		f, err := readTemplateFile(path, name)
		files = append(files, f)
		return err
	})
	return files, err
}

func readTemplateFile(path, name string) (f templateFile, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return f, err
	}
	f = templateFile{path: name, mode: info.Mode(), size: info.Size(), blocks: make(map[int64][]byte)}
	if info.IsDir() {
		return f, nil
	}
	in, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	zeros := make([]byte, templateBlock)
	for at := int64(0); at < f.size; at += templateBlock {
		block := make([]byte, min(templateBlock, f.size-at))
		if _, err := io.ReadFull(in, block); err != nil {
			return f, err
		}
		if !bytes.Equal(block, zeros[:len(block)]) {
			f.blocks[at] = block
		}
	}
	return f, nil
}

// copy makes the file in a directory.
func (f templateFile) copy(dir string, u *user) (err error) {
	path := filepath.Join(dir, f.path)
	if f.mode.IsDir() {
		return errors.Join(os.Mkdir(path, f.mode.Perm()), u.own(path))
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.mode.Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close(), u.own(path)) }()
	for at, block := range f.blocks {
		if _, err := out.WriteAt(block, at); err != nil {
			return err
		}
	}
	return out.Truncate(f.size)
}
