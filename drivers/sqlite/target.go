package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"salvor/drivers"
)

// CheckTarget accepts a place where no file is, an empty database, the database that is to be restored, and any other if
// the target may be replaced.
func (s *Source) CheckTarget(ctx context.Context, target drivers.Target, contents []drivers.Part) error {
	if err := s.checkTarget(ctx, target, contents); err != nil {
		return fmt.Errorf("check target %s: %w", s.path, err)
	}
	return nil
}

func (s *Source) checkTarget(ctx context.Context, target drivers.Target, contents []drivers.Part) error {
	image, err := describe(contents)
	if err != nil {
		return err
	}
	w, err := s.work(target.Run)
	if err != nil {
		return err
	}
	info, err := s.lookAt()
	if err != nil {
		return err
	}
	if err := writable(filepath.Dir(s.path)); err != nil {
		return classify(err)
	}
	if info == nil || image == nil || target.Replace() {
		return nil
	}
	if ours, err := w.published(info); err != nil || ours {
		return classify(err)
	}
	ok, err := image.looksLike(ctx, s.path, info)
	if err != nil {
		return classify(err)
	}
	if !ok {
		ok, err = emptyDatabase(ctx, s.path, info)
	}
	if err != nil || ok {
		return err
	}
	return errNotEmpty()
}

func errNotEmpty() error {
	return drivers.WithHint(fmt.Errorf("another database is there: %w", drivers.ErrNotEmpty),
		"restore to another path, or allow to overwrite; the old database is kept until the new one is in its place")
}

// describe returns the description of the image among the parts of a dump; nil where nothing is to be restored.
func describe(contents []drivers.Part) (*ref, error) {
	switch len(contents) {
	case 0:
		return nil, nil //nolint:nilnil // nothing to restore is an answer
	case 1:
		r, err := parseRef(contents[0])
		return &r, err
	}
	return nil, fmt.Errorf("a sqlite dump has one part, not %d: %w", len(contents), drivers.ErrInvalid)
}

// looksLike tells whether a file may be the image: for sure if the dump has its hash, else as far as its header tells.
// Load compares all of it.
func (r ref) looksLike(ctx context.Context, path string, info fs.FileInfo) (same bool, err error) {
	if info.Size() != r.size() || !quiescent(path) {
		return false, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	head := make([]byte, len(r.Header))
	if _, err := f.ReadAt(head, 0); err != nil || !bytes.Equal(head, r.Header) {
		return false, err
	}
	if r.SHA256 == "" {
		return true, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, withContext(ctx, f)); err != nil {
		return false, err
	}
	return hex.EncodeToString(h.Sum(nil)) == r.SHA256, nil
}

// emptyDatabase tells whether a file is a database without anything in it. It changes nothing: a database that would
// need recovery first is not empty.
func emptyDatabase(ctx context.Context, path string, info fs.FileInfo) (empty bool, err error) {
	if !quiescent(path) {
		return false, nil
	}
	if info.Size() == 0 {
		return true, nil
	}
	c, err := connect(path, modeImmutable)
	if err != nil {
		return false, classify(err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	n, err := c.int(ctx, "SELECT count(*) FROM sqlite_schema")
	if errors.Is(classify(err), drivers.ErrCorrupt) || errors.Is(classify(err), drivers.ErrInvalid) {
		return false, nil // whatever it is, it is something
	}
	return n == 0, classify(err)
}

// Prepare makes the directories that are missing and the one for the restore's own files, removes what restores that died
// left beside the target, and checks the free space.
func (s *Source) Prepare(ctx context.Context, target drivers.Target, contents []drivers.Part) error {
	if err := s.prepare(ctx, target, contents); err != nil {
		return fmt.Errorf("prepare target %s: %w", s.path, classify(err))
	}
	return nil
}

func (s *Source) prepare(ctx context.Context, target drivers.Target, contents []drivers.Part) (err error) {
	image, err := describe(contents)
	if err != nil {
		return err
	}
	w, err := s.work(target.Run)
	if err != nil {
		return err
	}
	if err := makeDirs(filepath.Dir(s.path)); err != nil {
		return err
	}
	if err := w.create(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.discard())
		}
	}()
	s.at("prepared")
	if err := w.sweep(); err != nil {
		return err
	}
	returned, err := s.reclaim(w)
	if err != nil {
		return err
	}
	if returned {
		// The target was absent when it was checked.
		if err := s.checkTarget(ctx, target, contents); err != nil {
			return fmt.Errorf("the database that an interrupted restore had moved aside was put back: %w", err)
		}
	}
	if done, err := w.loaded(); err != nil || done || image == nil {
		return err
	}
	return checkSpace(w.dir, image.size())
}

// Finish removes what the restore left beside the database, and the database that it replaced.
func (s *Source) Finish(ctx context.Context, target drivers.Target, contents []drivers.Part) error {
	if err := s.finish(ctx, target, contents); err != nil {
		return fmt.Errorf("finish target %s: %w", s.path, classify(err))
	}
	return nil
}

func (s *Source) finish(ctx context.Context, target drivers.Target, contents []drivers.Part) (err error) {
	w, err := s.work(target.Run)
	if err != nil {
		return err
	}
	if there, err := exists(w.dir); err != nil || !there {
		return err
	}
	release, err := w.acquire(ctx)
	if errors.Is(err, errOver) || errors.Is(err, fs.ErrNotExist) {
		// A later restore may have removed it since: then there is as little left to do as where it is not there.
		if there, lookErr := exists(w.dir); lookErr != nil || !there {
			return lookErr
		}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	done, err := w.loaded()
	if err != nil {
		return err
	}
	if old, err := exists(w.path("old")); err != nil {
		return err
	} else if old && !done && len(contents) > 0 {
		return fmt.Errorf("the database was not loaded, the old one is in %s", w.path("old"))
	}
	// Restores that were alive when this one began may have died since.
	dead, err := s.others(w)
	if err != nil {
		return err
	}
	for _, other := range dead {
		if err := s.reclaimOne(other); err != nil && !errors.Is(err, errKept) {
			return fmt.Errorf("remove what an interrupted restore left in %s: %w", other.dir, err)
		}
	}
	// The old database goes before the mark that allows it to go.
	if err := os.RemoveAll(w.path("old")); err != nil {
		return err
	}
	s.at("old removed")
	if err := os.RemoveAll(w.dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(w.dir))
}
