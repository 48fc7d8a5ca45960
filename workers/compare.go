package workers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"salvor/archive"
	"salvor/drivers"
)

// lookUp returns the entry of one path, if there is one.
func lookUp(ctx context.Context, tree drivers.Tree, path string) (found drivers.Entry, ok bool, err error) {
	err = tree.Walk(ctx, drivers.Range{From: path, To: path + "\x00"}, func(e drivers.Entry) error {
		found, ok = e, true
		return nil
	})
	if errors.Is(err, drivers.ErrNotFound) {
		return found, false, nil
	}
	return found, ok, err
}

// isEmpty tells whether a tree holds nothing, or does not exist.
func isEmpty(ctx context.Context, tree drivers.Tree) (bool, error) {
	err := list(ctx, tree, drivers.Range{}, func(e drivers.Entry) error {
		if e.Path != "" {
			return errFound
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, drivers.ErrNotFound):
		return true, nil
	case errors.Is(err, errFound):
		return false, nil
	}
	return false, err
}

// sameContent tells whether a file of a tree has the content of a stored entry, by the hash of each chunk.
func sameContent(ctx context.Context, tree drivers.Tree, have drivers.Entry, stored archive.Entry) (_ bool, err error) {
	in, err := tree.Open(ctx, have)
	if errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrChanged) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("compare %q: %w", have.Path, err)
	}
	defer func() {
		closeErr := in.Close()
		if !errors.Is(closeErr, drivers.ErrChanged) {
			err = errors.Join(err, closeErr)
		}
	}()
	flat := &flatReader{content: in}
	for _, c := range stored.Chunks {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		same, err := sameChunk(flat, c)
		if err != nil || !same {
			return false, err
		}
	}
	n, err := flat.Read(make([]byte, 1))
	if n > 0 {
		return false, nil
	}
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

func sameChunk(r io.Reader, c *archive.Chunk) (bool, error) {
	if c.Hole > 0 {
		return onlyZeros(r, c.Hole)
	}
	h := sha256.New()
	n, err := io.CopyN(h, r, c.Size)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return n == c.Size && hex.EncodeToString(h.Sum(nil)) == c.SHA256, nil
}

// onlyZeros tells whether the next n bytes are zeros, without reading those that are a hole on both sides.
func onlyZeros(r io.Reader, n int64) (bool, error) {
	if f, ok := r.(*flatReader); ok {
		skipped, err := f.skipHole(n)
		if err != nil {
			return false, err
		}
		n -= skipped
	}
	buf := make([]byte, 64<<10)
	for n > 0 {
		k, err := r.Read(buf[:min(int64(len(buf)), n)])
		for _, b := range buf[:k] {
			if b != 0 {
				return false, nil
			}
		}
		n -= int64(k)
		if errors.Is(err, io.EOF) {
			return n == 0, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// flatReader reads a content as one stream, holes as zeros.
type flatReader struct {
	content drivers.Content
	hole    int64 // zeros still to give
	data    bool  // an extent with data is open
	done    bool
}

// Read gives the next bytes of the content.
func (f *flatReader) Read(p []byte) (int, error) {
	for {
		switch {
		case f.done:
			return 0, io.EOF
		case f.hole > 0:
			n := int(min(f.hole, int64(len(p))))
			clear(p[:n])
			f.hole -= int64(n)
			return n, nil
		case f.data:
			n, err := f.content.Read(p)
			if errors.Is(err, io.EOF) {
				f.data = false
				err = nil
			}
			if n > 0 || err != nil {
				return n, err
			}
		default:
			if err := f.next(); err != nil {
				return 0, err
			}
		}
	}
}

func (f *flatReader) next() error {
	extent, err := f.content.Next()
	if errors.Is(err, io.EOF) {
		f.done = true
		return nil
	}
	if err != nil {
		return err
	}
	if extent.Hole {
		f.hole = extent.Length
	} else {
		f.data = true
	}
	return nil
}

// skipHole skips up to n zeros that are a hole here and returns how many.
func (f *flatReader) skipHole(n int64) (int64, error) {
	if !f.data && f.hole == 0 && !f.done {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	skipped := min(f.hole, n)
	f.hole -= skipped
	return skipped, nil
}
