package media

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"salvor/drivers"
)

// body reads the extents of a content as one stream, holes as zeros, and hashes it. It ends with io.EOF only if it is as
// long as it has to be; the first other error stays.
type body struct {
	content drivers.ContentReader
	size    int64 // of the whole
	done    int64
	rest    int64 // of the current extent
	hole    bool
	in      bool // an extent with data is not read to its end
	ahead   []nextExtent
	sum     hash.Hash
	err     error
}

// nextExtent is what content.Next said before it was asked for.
type nextExtent struct {
	drivers.Extent
	err error
}

func newBody(content drivers.ContentReader, size int64) *body {
	return &body{content: content, size: size, sum: sha256.New()}
}

// ready goes to the first data. Where the content comes out of a memory that is shared, too, its reader has its place there
// from then on, and who then waits for memory to write it holds nobody up that could give some back.
func (b *body) ready() {
	for b.done == 0 && !b.hole && !b.in {
		extent, err := b.content.Next()
		b.ahead = append(b.ahead, nextExtent{extent, err})
		if err != nil || !extent.Hole {
			return
		}
	}
}

// extent returns what comes next in the content.
func (b *body) extent() (drivers.Extent, error) {
	if len(b.ahead) == 0 {
		return b.content.Next()
	}
	e := b.ahead[0]
	b.ahead = b.ahead[1:]
	return e.Extent, e.err
}

// Read gives the next bytes.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	b.done += int64(n)
	b.sum.Write(p[:n])
	b.err = err
	if n > 0 {
		return n, nil // the error comes with the next call
	}
	return 0, err
}

func (b *body) read(p []byte) (int, error) {
	for {
		switch {
		case b.hole && b.rest > 0:
			n := min(int64(len(p)), b.rest)
			clear(p[:n])
			b.rest -= n
			return int(n), nil
		case b.in:
			n, err := b.content.Read(p)
			if int64(n) > b.rest {
				return 0, b.wrongSize(b.done + int64(n))
			}
			b.rest -= int64(n)
			switch {
			case errors.Is(err, io.EOF) && b.rest > 0:
				return 0, b.wrongSize(b.done + int64(n))
			case errors.Is(err, io.EOF):
				b.in = false
			case err != nil:
				return 0, fmt.Errorf("read content: %w", err)
			}
			if n > 0 {
				return n, nil
			}
		default:
			if err := b.next(); err != nil {
				return 0, err
			}
		}
	}
}

// next goes to the next extent.
func (b *body) next() error {
	extent, err := b.extent()
	switch {
	case errors.Is(err, io.EOF) && b.done == b.size:
		return io.EOF
	case errors.Is(err, io.EOF):
		return b.wrongSize(b.done)
	case err != nil:
		return fmt.Errorf("read content: %w", err)
	case extent.Length < 0 || extent.Length > b.size-b.done:
		return b.wrongSize(b.done + extent.Length)
	}
	b.rest, b.hole, b.in = extent.Length, extent.Hole, !extent.Hole
	return nil
}

// wrongSize refuses content that is not as long as it claims to be.
func (b *body) wrongSize(have int64) error {
	return fmt.Errorf("content ends or goes on at byte %d, the entry says %d bytes: %w", have, b.size, drivers.ErrCorrupt)
}

// copyBody copies a body through a buffer that is no larger than need be, whatever the two sides would rather do: gocloud's
// writers take a megabyte for each object.
func copyBody(to io.Writer, from io.Reader, size int64) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, min(max(size, 512), 128<<10)))
	return err
}

// failure returns what went wrong with the content, if something did.
func (b *body) failure() error {
	if errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}
