package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"salvor/drivers"
)

// readTries is how often a content is opened again after a connection was lost, without a byte more than the time before.
const readTries = 3

// Open implements [drivers.Tree].
func (t *Tree) Open(ctx context.Context, entry drivers.Entry) (drivers.Content, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %s: %w", quote(entry.Path), err)
	}
	if entry.Type != drivers.TypeFile {
		return nil, fmt.Errorf("open %s: a %s has no content: %w", quote(entry.Path), entry.Type, drivers.ErrInvalid)
	}
	key := t.place.prefix + entry.Path
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	open := t.open
	if entry.Size == drivers.AnySize {
		open = t.openAny
	}
	c, err := open(ctx, key, entry.Size, entry.Version)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", quote(entry.Path), translate(ctx, err))
	}
	return c, nil
}

func (t *Tree) open(ctx context.Context, key string, size int64, version string) (*content, error) {
	c := &content{ctx: ctx, tree: t, key: key, size: size, version: version, tag: tagOf(version)}
	return c, c.open()
}

// openAny opens an object as it is by now. It is pinned like any other: what is replaced meanwhile is looked at again.
func (t *Tree) openAny(ctx context.Context, key string, _ int64, _ string) (*content, error) {
	for try := 1; ; try++ {
		o, err := t.find(ctx, key)
		if err != nil {
			return nil, err
		}
		c, err := t.open(ctx, key, o.size, o.version)
		if err == nil || try == readTries || !errors.Is(translate(ctx, err), drivers.ErrChanged) {
			return c, err
		}
	}
}

// tagOf returns the tag in a version: all before the length, and before the S3 version that may follow an ETag.
func tagOf(version string) string {
	i := strings.LastIndexByte(version, '/')
	if i < 0 {
		return ""
	}
	tag := version[:i]
	if i := strings.LastIndex(tag, `"@`); i >= 0 {
		tag = tag[:i+1]
	}
	return tag
}

// content is an opened object. Its context is Open's: a lost connection is made again while it lasts.
type content struct {
	ctx     context.Context //nolint:containedctx // a reader has no other way to get its caller's context
	tree    *Tree
	key     string
	size    int64
	version string
	tag     string

	body   io.ReadCloser
	offset int64
	begun  bool
	ended  bool
	closed bool
}

var _ drivers.Content = (*content)(nil)

// open opens the body at the offset, and refuses another object than the entry says.
func (c *content) open() error {
	body, have, err := c.tree.store.open(c.ctx, c.key, c.tag, c.offset)
	if err != nil {
		return err
	}
	changed := have.size >= 0 && have.size != c.size
	if c.tag != "" { // some servers leave the version out here
		changed = changed || have.tag != "" && have.tag != c.tag
	} else {
		changed = changed || c.version != "" && have.version != "" && have.version != c.version
	}
	if changed {
		_ = body.Close() // nothing of it is used
		return drivers.ErrChanged
	}
	if c.version == "" {
		c.version, c.tag = have.version, have.tag
	}
	c.body = body
	return nil
}

// Next implements [drivers.Content].
func (c *content) Next() (drivers.Extent, error) {
	if c.closed {
		return drivers.Extent{}, c.fail(fmt.Errorf("the content is closed: %w", drivers.ErrInvalid))
	}
	if c.begun || c.size == 0 {
		c.ended = true
		return drivers.Extent{}, io.EOF
	}
	c.begun = true
	return drivers.Extent{Length: c.size}, nil
}

// Read implements [drivers.Content].
func (c *content) Read(p []byte) (int, error) {
	switch {
	case c.closed:
		return 0, c.fail(fmt.Errorf("the content is closed: %w", drivers.ErrInvalid))
	case !c.begun || c.offset >= c.size:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	p = p[:min(int64(len(p)), c.size-c.offset)]
	var lost error
	for range readTries {
		if c.body == nil {
			if err := c.open(); err != nil {
				return 0, c.fail(err)
			}
		}
		n, err := c.body.Read(p)
		c.offset += int64(n)
		if n > 0 || err == nil {
			return n, nil // an error comes again, or the rest is read anew
		}
		lost = err
		_ = c.body.Close() // the body is lost
		c.body = nil
		if c.ctx.Err() != nil {
			break
		}
	}
	if errors.Is(lost, io.EOF) || errors.Is(lost, io.ErrUnexpectedEOF) {
		lost = fmt.Errorf("ended after %d of %d bytes: %w", c.offset, c.size, drivers.ErrChanged)
	}
	return 0, c.fail(lost)
}

func (c *content) fail(err error) error {
	return fmt.Errorf("read %s: %w", quote(c.tree.path(c.key)), translate(c.ctx, err))
}

// Close implements [drivers.Content].
func (c *content) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	if c.body != nil {
		_ = c.body.Close() // all that was asked for has come
	}
	if c.tag != "" || !c.ended || c.version == "" {
		return nil // the store gave what was asked for, or nothing
	}
	// Nothing pinned the content.
	after, err := c.tree.store.head(c.ctx, c.key)
	if err = translate(c.ctx, err); errors.Is(err, drivers.ErrNotFound) || err == nil && after.version != c.version {
		err = drivers.ErrChanged
	}
	if err != nil {
		return c.fail(err)
	}
	return nil
}
