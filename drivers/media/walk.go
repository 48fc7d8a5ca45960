package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
)

// batchSize is how many objects are looked at before they are yielded, where a listing leaves out attributes: few, so that what
// is read soon after is not old.
const batchSize = 128

// Walk implements [drivers.Tree]. An object that vanishes between listing and looking is passed over. The root is no entry.
func (t *Tree) Walk(ctx context.Context, r drivers.Range, yield func(drivers.Entry) error) error {
	return t.walk(ctx, walker{tree: t, r: r, yield: yield})
}

// List implements [drivers.Bucket].
func (t *Tree) List(ctx context.Context, r drivers.Range, yield func(drivers.Entry) error) error {
	return t.walk(ctx, walker{tree: t, r: r, yield: yield, listed: true})
}

func (t *Tree) walk(ctx context.Context, w walker) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("walk %s: %w", t.place.display, err)
	}
	r := w.r
	if r.To == r.From+"\x00" {
		return w.one(ctx, r.From)
	}
	next := t.store.list(t.place.prefix, t.place.prefix+r.From)
	for !w.done {
		page, err := next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return t.fail(ctx, "list", err)
		}
		if page, err = w.sift(page); err != nil {
			return err
		}
		for len(page) > 0 {
			n := min(batchSize, len(page))
			if err := w.batch(ctx, page[:n]); err != nil {
				return err
			}
			page = page[n:]
		}
	}
	return nil
}

// walker is one walk.
type walker struct {
	tree  *Tree
	r     drivers.Range
	yield func(drivers.Entry) error
	// listed tells that what the listing says is enough.
	listed bool
	last   string // the key that was listed last
	begun  bool
	done   bool   // the range's end was reached
	stand  string // see standIn
}

// one walks a range of a single path.
func (w *walker) one(ctx context.Context, path string) error {
	t := w.tree
	key := t.place.prefix + path
	if key == "" || t.exclude.MatchKey(path) || checkKey(key) != nil {
		return nil //nolint:nilerr // an absent path has no entry
	}
	o, err := t.find(ctx, key)
	if err == nil {
		return w.yield(t.entry(o))
	}
	err = t.fail(ctx, "look at "+quote(path)+" in", err)
	if errors.Is(err, drivers.ErrNotFound) {
		return nil
	}
	if ctx.Err() == nil && ownError(err) {
		return w.yield(drivers.Entry{Path: path, Type: drivers.TypeFile, Err: err})
	}
	return err
}

// sift holds a page to the order, and leaves out what does not belong to the range.
func (w *walker) sift(page []object) ([]object, error) {
	t := w.tree
	kept := page[:0]
	for _, o := range page {
		if !strings.HasPrefix(o.key, t.place.prefix) {
			return nil, fmt.Errorf("list %s: the store lists %s, which does not begin with the prefix: %w",
				t.place.display, quote(o.key), drivers.ErrInvalid)
		}
		if w.begun && o.key <= w.last {
			return nil, drivers.WithHint(fmt.Errorf("list %s: the store lists %s after %s, not in the order of their bytes: %w",
				t.place.display, quote(o.key), quote(w.last), drivers.ErrInvalid),
				"S3 directory buckets and Azure accounts with a hierarchical namespace list in an order of their own")
		}
		w.begun, w.last = true, o.key
		path := t.path(o.key)
		if w.r.To != "" && path >= w.r.To {
			w.done = true
			break
		}
		if path >= w.r.From && !t.exclude.MatchKey(path) {
			kept = append(kept, o)
		}
	}
	return kept, nil
}

// batch looks at some objects together and yields them in their order.
func (w *walker) batch(ctx context.Context, objects []object) error {
	entries := make([]drivers.Entry, len(objects))
	there := make([]bool, len(objects))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(w.tree.atOnce)
	for i, o := range objects {
		if (o.complete || w.listed) && checkKey(o.key) == nil {
			entries[i], there[i] = w.tree.entry(o), true
			continue
		}
		group.Go(func() (err error) {
			entries[i], there[i], err = w.look(groupCtx, o)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("walk %s: %w", w.tree.place.display, err)
	}
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("walk %s: %w", w.tree.place.display, err)
		}
		if !there[i] || w.standIn(&entries[i]) {
			continue
		}
		if err := w.yield(entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// look makes the entry of a listed object. There is none if it vanished.
func (w *walker) look(ctx context.Context, listed object) (e drivers.Entry, there bool, err error) {
	t := w.tree
	path := t.path(listed.key)
	o, err := listed, checkKey(listed.key)
	if err == nil {
		o, err = t.store.head(ctx, listed.key)
	}
	// Something else: it was replaced just now, or the server takes the key for another.
	if err == nil && isRisky(listed.key) && !listed.isLike(o) {
		o, err = t.find(ctx, listed.key)
	}
	if err == nil {
		return t.entry(o), true, nil
	}
	err = fmt.Errorf("look at %s: %w", quote(path), translate(ctx, err))
	switch {
	case errors.Is(err, drivers.ErrNotFound):
		if isRisky(listed.key) && t.isListed(ctx, listed.key) {
			return drivers.Entry{Path: path, Type: drivers.TypeFile, Err: fmt.Errorf("%w: %w", errTakesForAnother, err)}, true, nil
		}
		return e, false, nil
	case ctx.Err() == nil && ownError(err):
		return drivers.Entry{Path: path, Type: drivers.TypeFile, Err: err}, true, nil
	default:
		return e, false, err
	}
}

// ownError tells errors that are one object's own: the next one may be well.
func ownError(err error) bool {
	return errors.Is(err, drivers.ErrAccess) || errors.Is(err, drivers.ErrInvalid) || errors.Is(err, drivers.ErrUnsafePath) ||
		errors.Is(err, drivers.ErrNotFound)
}

// standIn gives an entry whose path holds NUL, which no entry may, another path in its place, so that it is reported. It
// tells that such an entry was yielded already: one stands for all that begin alike.
func (w *walker) standIn(e *drivers.Entry) (yielded bool) {
	i := strings.IndexByte(e.Path, 0)
	if i < 0 {
		return false
	}
	stand := e.Path[:i] + "\x01"
	e.Err = fmt.Errorf("%w; all keys that begin with it are left out", e.Err)
	e.Path = stand
	yielded = w.stand == stand || !w.r.Contains(stand)
	w.stand = stand
	return yielded
}
