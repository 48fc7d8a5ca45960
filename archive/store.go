package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// store is where objects are kept. Keys are valid by validKey. All methods are safe for concurrent use; errors wrap
// errMissing, ErrExists, ErrAccess or ErrNoSpace where they are that.
type store interface { //nolint:interfacebloat // all that a place must do, in one seam; parts of it are never used alone
	// put writes an object at once, replacing what is there.
	put(ctx context.Context, key string, data []byte) error
	// putNew writes an object at once; ErrExists if there is one. Of several callers at most one gets nil.
	putNew(ctx context.Context, key string, data []byte) error
	// create begins an object of unknown length that is published by commit, as by putNew. expected is its likely length.
	create(ctx context.Context, key string, expected int64) (objectWriter, error)
	// open reads length bytes from offset; a negative length reads to the end. Fewer bytes may come if the object is
	// shorter.
	open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// settle makes sure that an object that is there stays: its writer may have died between publishing it and making that
	// durable.
	settle(ctx context.Context, key string) error
	// stat tells an object's length.
	stat(ctx context.Context, key string) (objectInfo, error)
	// list calls yield for the objects below prefix, which is "" or ends in "/", in any order. listLevel
	// goes down one level only, and yields what lies deeper as keys that end in "/".
	list(ctx context.Context, prefix string, depth listDepth, yield func(objectInfo) error) error
	// remove removes an object; one that is absent is no error.
	remove(ctx context.Context, key string) error
	// own tells whether nobody but the process's user can write there, as far as that can be seen.
	own() bool
	// close releases the store.
	close() error
}

type listDepth int

const (
	listLevel listDepth = iota
	listAll
)

type objectInfo struct {
	key      string
	size     int64
	modified time.Time
	// odd is set for what no store writes (a symbolic link, a device).
	odd bool
}

// objectWriter writes one object. Exactly one of commit and abort takes effect; later calls of either do nothing.
type objectWriter interface {
	io.Writer
	commit() error
	abort()
}

// readLimited reads a whole object of at most limit bytes; a longer one is corrupt.
func readLimited(ctx context.Context, s store, key string, limit int64) ([]byte, error) {
	r, err := s.open(ctx, key, 0, limit+1)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	n, err := buf.ReadFrom(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if n > limit {
		return nil, corrupt(key, "longer than %d bytes", limit)
	}
	return buf.Bytes(), nil
}

// readInto fills buf from an object; fewer bytes are corruption.
func readInto(ctx context.Context, s store, key string, offset int64, buf []byte) error {
	r, err := s.open(ctx, key, offset, int64(len(buf)))
	if err != nil {
		return err
	}
	n, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = corrupt(key, "%d bytes at offset %d where %d should be", n, offset, len(buf))
	}
	return errors.Join(err, r.Close())
}

// putSame is putNew that can be repeated: an object with the same content is success. That is also what remains when the
// answer to the first attempt was lost.
func putSame(ctx context.Context, s store, key string, data []byte) error {
	err := s.putNew(ctx, key, data)
	if !errors.Is(err, ErrExists) {
		return err
	}
	have, readErr := readLimited(ctx, s, key, int64(len(data)))
	switch {
	case readErr != nil && !errors.Is(readErr, ErrCorrupt):
		return readErr
	case readErr == nil && bytes.Equal(have, data):
		return s.settle(ctx, key)
	}
	return err
}

// readUpTo reads an object into buf and returns its length; a longer one is corrupt.
func readUpTo(ctx context.Context, s store, key string, buf []byte) (int, error) {
	r, err := s.open(ctx, key, 0, int64(len(buf))+1)
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r, buf)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = nil
	case err == nil:
		var more [1]byte
		if m, _ := io.ReadFull(r, more[:]); m > 0 {
			err = corrupt(key, "longer than %d bytes", len(buf))
		}
	}
	return n, errors.Join(err, r.Close())
}

// ctxError returns why ctx ended, as something that is both its Err and its Cause; nil while it lasts.
func ctxError(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
