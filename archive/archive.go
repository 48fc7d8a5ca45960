package archive

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"gocloud.dev/blob"
)

// Options are what Create and Open may be told.
type Options struct {
	// Memory is the budget in bytes that all writers and readers of the archive share; 0 means 128 MiB. Less than
	// 80 MiB (144 MiB for a bucket) is taken for that: one writer must be able to work.
	Memory int64
	// Version is the program's version, recorded in what is written.
	Version string
	// Bucket is used in place of the one that the location names, which is then only for display. Close leaves it open.
	Bucket *blob.Bucket

	now func() time.Time // for tests
}

// Archive is an opened archive. It is safe for concurrent use.
type Archive struct {
	store    store
	id       string
	location string
	dir      string // "" for a bucket
	version  string
	now      func() time.Time
	memory   *memory
}

// marker is the document that makes a place an archive.
type marker struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Version string    `json:"version,omitempty"`
}

// Create opens the archive at a location (a directory, or a URL: file, s3, gs, azblob), or makes one in an absent or empty
// place. It returns [ErrForeign] where the place holds other things, [ErrNotFound] for a bucket that does not exist,
// [ErrInvalid] for a location that makes no sense. Several processes may create one archive at the same time: they get
// the same one. The caller closes what it gets.
func Create(ctx context.Context, text string, o Options) (*Archive, error) {
	return open(ctx, text, o, func(ctx context.Context, loc location) (store, error) {
		s, err := loc.createStore(ctx, o)
		if err != nil {
			return nil, err
		}
		if err := initialise(ctx, s, o); err != nil {
			return nil, errors.Join(err, s.close())
		}
		return s, nil
	})
}

// Open opens the archive at a location. It returns [ErrNotFound] where the place does not exist, [ErrNotArchive] where it
// holds no archive, [ErrNewerFormat], [ErrAccess], or [ErrCorrupt] where the marker is damaged. The caller closes what it
// gets.
func Open(ctx context.Context, text string, o Options) (*Archive, error) {
	return open(ctx, text, o, func(ctx context.Context, loc location) (store, error) {
		return loc.openStore(ctx, o)
	})
}

func open(ctx context.Context, text string, o Options, get func(context.Context, location) (store, error)) (*Archive, error) {
	loc := location{display: text}
	if o.Bucket == nil {
		var err error
		if loc, err = parseLocation(text); err != nil {
			return nil, err
		}
	}
	s, err := get(ctx, loc)
	if err != nil {
		return nil, placeError(loc, err)
	}
	m, err := readMarker(ctx, s)
	if err != nil {
		return nil, errors.Join(placeError(loc, err), s.close())
	}
	return newArchive(s, loc, m.ID, o), nil
}

func newArchive(s store, loc location, id string, o Options) *Archive {
	if o.now == nil {
		o.now = time.Now
	}
	_, remote := s.(*bucket)
	return &Archive{
		store: s, id: id, location: loc.display, dir: loc.dir, version: o.Version, now: o.now,
		memory: newMemory(o.Memory, remote, runtime.GOMAXPROCS(0)),
	}
}

// placeError says which place an error of opening is about.
func placeError(loc location, err error) error {
	switch {
	case errors.Is(err, errMissing) && !errors.Is(err, ErrCorrupt):
		if loc.url != nil {
			return withHint(fmt.Errorf("%w: %s", ErrNotFound, loc.display), "create the bucket first")
		}
		return fmt.Errorf("%w: %s", ErrNotFound, loc.display)
	case errors.Is(err, ErrNotArchive), errors.Is(err, ErrForeign), errors.Is(err, ErrInvalid):
		return fmt.Errorf("%s: %w", loc.display, err)
	}
	return fmt.Errorf("open archive %s: %w", loc.display, err)
}

// readMarker tells a place that is absent (errMissing) from one that holds no archive.
func readMarker(ctx context.Context, s store) (marker, error) {
	var m marker
	data, err := readLimited(ctx, s, markerKey, maxMarker)
	if errors.Is(err, errMissing) {
		// A bucket that does not exist says so now; a directory was opened already.
		if err := s.list(ctx, "", listLevel, func(objectInfo) error { return errStop }); err != nil && !errors.Is(err, errStop) {
			return m, err
		}
		// Who has lost the marker must not be told that there was no archive.
		sets, err := (&Archive{store: s}).Sets(ctx)
		if err != nil {
			return m, err
		}
		if len(sets) > 0 {
			return m, withHint(needed(markerKey, errMissing), "there are dumps: put the file back from a copy of the archive; that of any other archive does")
		}
		return m, withHint(ErrNotArchive, "an archive has a file "+markerKey+" at its top")
	}
	if err != nil {
		return m, err
	}
	err = decodeDocument(markerKey, typeArchive, data, &m)
	return m, err
}

const maxMarker = 64 << 10

// errStop ends a list early.
var errStop = errors.New("stop")

// initialise makes an archive of an empty place, and completes one whose making was interrupted.
func initialise(ctx context.Context, s store, o Options) error {
	_, err := readMarker(ctx, s)
	if errors.Is(err, ErrNotArchive) {
		err = writeMarker(ctx, s, o)
	}
	if err != nil {
		return err
	}
	if _, err = s.stat(ctx, readmeKey); errors.Is(err, errMissing) {
		if err = s.putNew(ctx, readmeKey, []byte(readme)); errors.Is(err, ErrExists) {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return s.settle(ctx, markerKey) // whoever wrote it may have died before it was durable
}

func writeMarker(ctx context.Context, s store, o Options) error {
	if err := checkEmpty(ctx, s); err != nil {
		if _, statErr := s.stat(ctx, markerKey); statErr == nil {
			return nil // another process made the archive between the look for the marker and this one
		}
		return err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("make archive id: %w", err)
	}
	now := time.Now
	if o.now != nil {
		now = o.now
	}
	data, err := encodeDocument(struct {
		envelope
		marker
	}{envelope{typeArchive, Format}, marker{ID: id.String(), Created: now().UTC(), Version: o.Version}})
	if err != nil {
		return err
	}
	if err = s.putNew(ctx, markerKey, data); errors.Is(err, ErrExists) {
		return nil // another process was faster: its archive is this one
	}
	return err
}

// checkEmpty refuses a place that holds anything but what a new file system or an interrupted Create leaves.
func checkEmpty(ctx context.Context, s store) error {
	var found []string
	err := s.list(ctx, "", listLevel, func(o objectInfo) error {
		if o.key == "lost+found/" || o.key == markerKey || strings.HasPrefix(o.key, tempPrefix) {
			return nil
		}
		if found = append(found, o.key); len(found) == 3 {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	if len(found) > 0 {
		return withHint(fmt.Errorf("%w: %s", ErrForeign, strings.Join(found, ", ")), "name an empty or a new directory (or prefix of a bucket)")
	}
	return nil
}

// Close releases the archive. Writers and readers must have been closed before.
func (a *Archive) Close() error { return a.store.close() }

// ID is the archive's own id, a UUID that never changes.
func (a *Archive) ID() string { return a.id }

// Location is the archive's place, for display: an absolute path, or a URL without credentials.
func (a *Archive) Location() string { return a.location }

// Path returns the directory that holds the archive, symbolic links resolved; "" for a bucket.
func (a *Archive) Path() string {
	if resolved, err := filepath.EvalSymlinks(a.dir); a.dir != "" && err == nil {
		return resolved
	}
	return a.dir
}

// document reads and decodes a document. errMissing is left for the caller to judge.
func (a *Archive) document(ctx context.Context, key, typ string, v any) ([]byte, error) {
	data, err := readLimited(ctx, a.store, key, maxDocument)
	if err != nil {
		return nil, err
	}
	return data, decodeDocument(key, typ, data, v)
}
