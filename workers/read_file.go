package workers

import (
	"context"
	"errors"
	"fmt"
	"io"

	"salvor/archive"
	"salvor/drivers"
)

// errArchive marks errors of the storing side: they fail the task, where an error of the source is the entry's own.
var errArchive = errors.New("store content")

// open opens a file's content: that which was read ahead, if there is one.
func (d *rangeDump) open(ctx context.Context, e drivers.Entry, ahead *early) (drivers.Content, error) {
	if ahead != nil {
		if in, ok, err := ahead.content(); ok {
			return in, err
		}
	}
	return d.tree.Open(ctx, e)
}

// read stores a file's content. When the source fails in between, what was read so far is returned with the error.
func (d *rangeDump) read(ctx context.Context, e drivers.Entry, ahead *early) (c content, err error) {
	in, err := d.open(ctx, e, ahead)
	if err != nil {
		return c, err
	}
	c.read = true
	defer func() {
		closeErr := in.Close()
		c.mixed = errors.Is(closeErr, drivers.ErrChanged)
		err = errors.Join(err, closeErr)
	}()
	for {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		extent, err := in.Next()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return c, fmt.Errorf("read %q: %w", e.Path, err)
		}
		if extent.Hole {
			c.chunks = append(c.chunks, &archive.Chunk{Hole: extent.Length})
			c.size += extent.Length
			continue
		}
		if err := d.readExtent(ctx, in, extent.Length, &c); err != nil {
			return c, fmt.Errorf("read %q: %w", e.Path, err)
		}
	}
}

// readExtent stores the data of one extent, chunk by chunk.
func (d *rangeDump) readExtent(ctx context.Context, in io.Reader, length int64, c *content) error {
	for done := int64(0); ; {
		buf, err := d.content.Buffer(ctx)
		if err != nil {
			return errors.Join(errArchive, err)
		}
		n, err := io.ReadFull(in, buf)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if end {
			err = nil
		}
		chunk, storeErr := d.storeChunk(ctx, buf, n)
		if storeErr != nil {
			return errors.Join(errArchive, storeErr)
		}
		if chunk != nil {
			c.chunks = append(c.chunks, chunk)
			c.size += int64(n)
			done += int64(n)
			d.attempt.bytes.Add(int64(n))
		}
		// The extent's announced end saves another turn; a file that grew is the driver's to notice at Close.
		if err != nil || end || done >= length {
			return err
		}
	}
}

// storeChunk stores the first n bytes of a buffer and gives the buffer back.
func (d *rangeDump) storeChunk(ctx context.Context, buf []byte, n int) (*archive.Chunk, error) {
	if n > archive.SmallSize {
		return d.content.AddLarge(ctx, buf[:n]) // takes the buffer
	}
	defer d.content.Release(buf)
	if n == 0 {
		return nil, nil //nolint:nilnil // nothing was read: nothing to store
	}
	return d.content.AddSmall(ctx, buf[:n])
}
