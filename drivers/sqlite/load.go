package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"salvor/drivers"
)

// imageSuffix ends the names of images that are being written.
const imageSuffix = ".new"

// Load writes the image beside the target, checks it, and gives it the target's name.
func (s *Source) Load(ctx context.Context, target drivers.Target, attempt drivers.Attempt, part drivers.Part, r io.Reader) error {
	if err := s.load(ctx, target, attempt, part, r); err != nil {
		return fmt.Errorf("load database %s: %w", s.path, err)
	}
	return nil
}

func (s *Source) load(ctx context.Context, target drivers.Target, attempt drivers.Attempt, part drivers.Part, r io.Reader) (err error) {
	want, err := parseRef(part)
	if err != nil {
		return err
	}
	if err := checkID(attempt.Token); err != nil {
		return fmt.Errorf("token %q: %w", attempt.Token, err)
	}
	w, err := s.work(target.Run)
	if err != nil {
		return err
	}
	if there, err := exists(w.dir); err != nil {
		return classify(err)
	} else if !there {
		return errOver
	}
	if done, err := w.loaded(); err != nil || done {
		return classify(err)
	}
	if err := w.sweep(); err != nil {
		return classify(err)
	}
	f, err := w.newImage(attempt.Token)
	if err != nil {
		err = classify(err)
		if final(ctx, err) {
			err = errors.Join(err, w.discard())
		}
		return err
	}
	defer func() {
		// An attempt whose image was removed by others is late: the directory may be that of the run's next beginning.
		there, statErr := isAt(f, f.Name())
		// If it was published, its name here is gone, and nothing is removed.
		err = errors.Join(err, statErr, w.remove(f), f.Close())
		if there && final(ctx, err) {
			err = errors.Join(err, w.discard())
		}
	}()
	s.at("created")
	if err := receive(ctx, f, want, r); err != nil {
		return err
	}
	s.at("received")
	if err := verify(ctx, f.Name()); err != nil {
		return err
	}
	s.at("verified")
	return s.publish(ctx, w, target, want, f)
}

// final tells an error after which the run makes no other attempt, which would need the work directory: one of a class
// that is not retried, or a context that ended with a cause that says so. A context that just ends does not: a worker
// that stops leaves the load to another.
func final(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	for _, class := range []error{
		drivers.ErrCorrupt, drivers.ErrNoSpace, drivers.ErrNotEmpty, drivers.ErrAccess, drivers.ErrInvalid, drivers.ErrNotFound,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	over, ok := errors.AsType[interface {
		error
		RunOver() bool
	}](context.Cause(ctx))
	return ok && over.RunOver()
}

// newImage makes the file that an attempt writes, locked for as long as it is open.
func (w work) newImage(token string) (*os.File, error) {
	path := w.path(token + imageSuffix)
	for range 10 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		// Another attempt's sweep may have come between: then the file is not there any more.
		locked, err := tryLock(f)
		if err == nil && locked {
			if locked, err = isAt(f, path); err == nil && locked {
				return f, nil
			}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		if err := w.removeDead(path); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("make %s: removed by others again and again", path)
}

// receive writes the image from r. An error of r is not classified: it says nothing about the target.
func receive(ctx context.Context, f *os.File, want ref, r io.Reader) error {
	head := make([]byte, 0, headerSize)
	buf := make([]byte, 1<<20)
	hash := sha256.New()
	r = withContext(ctx, r)
	var size int64
	for idle := 0; ; {
		n, readErr := r.Read(buf)
		if want.SHA256 != "" {
			hash.Write(buf[:n])
		}
		head = append(head, buf[:min(n, headerSize-len(head))]...)
		size += int64(n)
		if size > want.size() {
			return fmt.Errorf("image is longer than the %d bytes of the dump: %w", want.size(), drivers.ErrCorrupt)
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return fmt.Errorf("write image: %w", classify(err))
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return fmt.Errorf("read image: %w", readErr)
		}
		if n > 0 {
			idle = 0
		} else if idle++; idle == 100 {
			return fmt.Errorf("read image: %w", io.ErrNoProgress)
		}
	}
	if size != want.size() {
		return fmt.Errorf("image has %d bytes, the dump says %d: %w", size, want.size(), drivers.ErrCorrupt)
	}
	if err := checkHeader(head, size); err != nil {
		return err
	}
	if len(want.Header) > 0 && !bytes.Equal(head, want.Header) ||
		want.SHA256 != "" && want.SHA256 != hex.EncodeToString(hash.Sum(nil)) {
		return fmt.Errorf("image is not the database that was dumped: %w", drivers.ErrCorrupt)
	}
	if size > 0 && headerPageSize(head) != want.PageSize {
		return fmt.Errorf("image has pages of %d bytes, the dump says %d: %w", headerPageSize(head), want.PageSize, drivers.ErrCorrupt)
	}
	return nil
}

// verify checks the structure of an image that nobody else writes: pages, records, indexes. Rows that break a rule of
// their table (a CHECK, a NOT NULL, a declared type) are let through: an application may have written them, and a
// restore gives back what there was.
func verify(ctx context.Context, path string) (err error) {
	c, err := connect(path, modeImmutable)
	if err != nil {
		return fmt.Errorf("check image: %w", classify(err))
	}
	defer func() { err = errors.Join(err, c.close()) }()
	err = c.exec(ctx,
		"PRAGMA query_only=1",
		"PRAGMA trusted_schema=0", // a schema from elsewhere must not run functions with side effects
		"PRAGMA cell_size_check=1",
		"PRAGMA cache_size=-16384",
		"PRAGMA temp_store=memory",
	)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("check image: %w", classify(err))
	}
	for _, pragma := range []string{"integrity_check", "quick_check"} {
		var problem string
		if problem, err = c.firstProblem(ctx, pragma); err == nil && problem != "ok" {
			return fmt.Errorf("image fails its %s: %s: %w", pragma, problem, drivers.ErrCorrupt)
		}
		// An index with a collation or a function that only its application has cannot be checked.
		if !hasCode(err, sqlite3.SQLITE_ERROR) {
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if hasCode(err, sqlite3.SQLITE_ERROR) {
		return nil
	}
	if hasCode(err, sqlite3.SQLITE_NOTADB) {
		return fmt.Errorf("check image: %w: %w", drivers.ErrCorrupt, err)
	}
	if err != nil {
		return fmt.Errorf("check image: %w", classify(err))
	}
	return nil
}

// firstProblem returns the first problem of structure that a check finds, or "ok". Up to the first row that the check
// reports, which is its end if all is well, ctx interrupts it; after that between two rows.
func (c *conn) firstProblem(ctx context.Context, pragma string) (problem string, err error) {
	// Without a limit it would stop after 100 rows, all of which might be of the kind that is let through.
	rows, err := c.raw.QueryContext(ctx, "PRAGMA "+pragma+"(2147483647)", nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	dest := make([]driver.Value, 1)
	for {
		switch err := rows.Next(dest); {
		case errors.Is(err, io.EOF):
			return "ok", nil
		case err != nil:
			return "", err
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		}
		if problem := fmt.Sprint(dest[0]); !ruleBroken(problem) {
			return problem, nil
		}
	}
}

// ruleBroken tells whether a message of integrity_check is about a value, not about the structure that holds it.
func ruleBroken(message string) bool {
	for _, prefix := range []string{"NULL value in ", "NUMERIC value in ", "TEXT value in ", "CHECK constraint failed in "} {
		if strings.HasPrefix(message, prefix) {
			return true
		}
	}
	// "non-INT value in t.a", but not "non-unique entry in index i".
	return strings.HasPrefix(message, "non-") && !strings.HasPrefix(message, "non-unique entry ") && strings.Contains(message, " value in ")
}
