package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	sqlite3 "modernc.org/sqlite/lib"

	"salvor/drivers"
)

// publish gives a checked image the target's name, unless an attempt of this run already did. See work for the steps.
func (s *Source) publish(ctx context.Context, w work, target drivers.Target, want ref, image *os.File) (err error) {
	release, err := w.acquire(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return errOver
	}
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, release()) }()
	s.at("locked")
	if done, err := w.loaded(); err != nil || done {
		return classify(err)
	}
	// The restore may have been finished, and begun anew, while this attempt slept.
	if ok, err := isAt(image, image.Name()); err != nil {
		return classify(err)
	} else if !ok {
		return errOver
	}
	info, err := s.lookAt()
	if err != nil {
		return err
	}
	done, err := s.alreadyThere(ctx, w, image, info)
	if err != nil {
		return err
	}
	if !done {
		if err := s.mayReplace(ctx, target, info); err != nil {
			return err
		}
		if err := s.replace(w, want, image, info); err != nil {
			return err
		}
	}
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		return classify(err)
	}
	s.at("placed")
	if err := w.mark("loaded", ""); err != nil {
		return classify(err)
	}
	s.at("marked")
	return nil
}

// alreadyThere tells whether the target is the image: an earlier attempt put it there, or it never was another.
func (s *Source) alreadyThere(ctx context.Context, w work, image *os.File, info fs.FileInfo) (bool, error) {
	if info == nil {
		return false, nil
	}
	if ours, err := w.published(info); err != nil || ours {
		return ours, classify(err)
	}
	imageInfo, err := image.Stat()
	if err != nil {
		return false, classify(err)
	}
	if imageInfo.Size() != info.Size() || !quiescent(s.path) {
		return false, nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return false, classify(err)
	}
	same, err := sameContent(withContext(ctx, f), io.NewSectionReader(image, 0, info.Size()+1))
	return same, classify(errors.Join(err, f.Close()))
}

// mayReplace tells whether what is there may be moved aside now.
func (s *Source) mayReplace(ctx context.Context, target drivers.Target, info fs.FileInfo) error {
	if info == nil {
		return nil
	}
	if !target.Replace() {
		if empty, err := emptyDatabase(ctx, s.path, info); err != nil {
			return err
		} else if !empty {
			return errNotEmpty()
		}
	}
	return s.checkUnused(ctx)
}

// checkUnused takes the database's exclusive lock for a moment. In WAL mode that shows any process that has it open,
// otherwise only one that is reading or writing; SQLite itself refuses writes to a database that was moved away
// (SQLITE_READONLY_DBMOVED). What is not a database, or is damaged, cannot be in use as one; it is left alone, because
// SQLite would take the journal of an encrypted database for garbage and remove it.
func (s *Source) checkUnused(ctx context.Context) error {
	if plain, err := s.hasMagic(); err != nil || !plain {
		return classify(err)
	}
	c, err := connect(s.path, modeWrite)
	if err != nil {
		return nil //nolint:nilerr // cannot be opened at all, for which it may be replaced
	}
	err = c.exec(ctx, "PRAGMA busy_timeout=2000", "PRAGMA locking_mode=exclusive", "BEGIN EXCLUSIVE", "ROLLBACK")
	// As the last user of the database, this connection brings what is in its log into its file as it closes.
	closeErr := c.close()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case hasCode(err, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
		return drivers.WithHint(fmt.Errorf("the database that is to be replaced is in use: %w", err),
			"stop the application that uses it, then restore again")
	case err == nil && closeErr != nil:
		return fmt.Errorf("close the database that is to be replaced: %w", closeErr)
	}
	return nil
}

// hasMagic tells whether the file is empty or begins as a database does.
func (s *Source) hasMagic() (bool, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return false, err
	}
	head := make([]byte, len(magic))
	n, err := io.ReadFull(f, head)
	if atEnd(err) {
		err = nil
	}
	return n == 0 || string(head) == magic, errors.Join(err, f.Close())
}

// replace moves what is there aside and gives the image its name.
func (s *Source) replace(w work, want ref, image *os.File, info fs.FileInfo) error {
	if err := s.dress(w, want, image, info); err != nil {
		return classify(err)
	}
	imageInfo, err := image.Stat()
	if err != nil {
		return classify(err)
	}
	id, ok := inodeOf(imageInfo)
	if !ok {
		return errors.New("the system does not number files")
	}
	if err := w.mark("published", id+"\n"); err != nil {
		return classify(err)
	}
	s.at("recorded")
	err = s.moveAside(w)
	if err == nil {
		s.at("moved aside")
		err = moveNew(image.Name(), s.path)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		err = drivers.WithHint(fmt.Errorf("%s was made by others while it was restored: %w", s.path, err),
			"stop the application that uses it, then restore again")
	}
	return errors.Join(classify(err), s.putBack(w))
}

// dress gives the image the mode and owner of the file that it replaces, or else of the one that was dumped, and makes it
// durable.
func (s *Source) dress(w work, want ref, image *os.File, info fs.FileInfo) error {
	if info == nil {
		// An interrupted attempt may have moved it aside.
		old, err := os.Stat(w.aside(""))
		if err == nil {
			info = old
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	mode, uid, gid := fs.FileMode(want.Mode), want.UID, want.GID
	if info != nil {
		mode = info.Mode()
		uid, gid = ownerOf(info)
	}
	if mode.Perm() == 0 {
		mode = 0o600
	}
	if uid != nil && gid != nil {
		// Only root may give files away; a user may at most keep the group.
		if err := image.Chown(int(*uid), int(*gid)); errors.Is(err, fs.ErrPermission) {
			err = image.Chown(-1, int(*gid))
			if err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	if err := image.Chmod(mode.Perm()); err != nil {
		return err
	}
	return image.Sync()
}

// moveAside moves the old database, and what belongs to it or to one that vanished, out of the way: a log or journal
// that is left beside the new database would be played into it.
func (s *Source) moveAside(w work) error {
	if err := os.Mkdir(w.path("old"), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	moved := false
	// The main file first: a crash leaves a log without database, which nobody can open, not a database without its log.
	for _, suffix := range append([]string{""}, sidecars()...) {
		err := moveNew(s.path+suffix, w.aside(suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, fs.ErrExist) && suffix != "" {
			// The old database has its own already; this one belongs to none.
			err = os.Remove(s.path + suffix)
		}
		if err != nil {
			return err
		}
		moved = true
		s.at("moved aside " + suffix)
	}
	if !moved {
		return nil
	}
	return errors.Join(syncDir(w.path("old")), syncDir(w.dir), syncDir(filepath.Dir(s.path)))
}

// putBack undoes moveAside: what belongs to the database first, then the database.
func (s *Source) putBack(w work) error {
	if there, err := exists(s.path); err != nil || there {
		return classify(err)
	}
	for _, suffix := range append(sidecars(), "") {
		err := moveNew(w.aside(suffix), s.path+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put the old database back: %w", classify(err))
		}
	}
	return classify(syncDir(filepath.Dir(s.path)))
}
