// Package media is the driver for buckets of objects: a [drivers.Tree] over S3, Google Cloud Storage, Azure Blob Storage and
// whatever else gocloud knows, with each object's headers and own metadata. A plain directory is taken for a bucket too.
//
// # Keys
//
// An entry's path is the object's key after the prefix, byte for byte. A bucket has no directories: "a", "a/", "a//b" and
// "../a" are four objects, and all are kept. Because gocloud gives some keys another spelling (control characters, "../"),
// the three big stores are used through their own clients ([blob.Bucket.As]); see store. Some servers take such keys for
// others; that is found out before anything is read or written under a wrong one.
//
// # Reading
//
// A listing is read page by page, in bytewise order, and begins at a range's start; the memory is one page. A store that
// lists out of order is refused: a range would miss objects. S3 does not list headers and metadata, so each object is looked
// at, some at a time. A content is pinned to the entry's version: what was replaced meanwhile is [drivers.ErrChanged].
//
// # Writing
//
// An object is written only if there is none of its key, unless the rules allow to replace it; the store itself decides
// where it can (If-None-Match), so that two writers cannot both win. Nothing is published of a content that ends in an error.
// What is held of it in memory comes out of what all writers of the process have together ([drivers.Memory]).
//
// # Directories
//
// A source that is a path, or a file:// URL, goes through package filesystem. Its directories are no entries here, as a
// bucket has none: so a bucket can be restored into a directory and a directory into a bucket.
package media

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"salvor/drivers"
	"salvor/drivers/internal/exclude"
)

// Kind returns the driver of media.
func Kind() drivers.Kind {
	return drivers.Kind{
		Name:    "media",
		Scheme:  "media",
		Place:   "URL-or-DIR",
		Shape:   drivers.ShapeTree,
		Local:   isLocal,
		Options: []string{optionExclude},
		Check: func(raw json.RawMessage) error {
			_, err := parseOptions(raw)
			return err
		},
		Open: func(ctx context.Context, spec drivers.Spec) (drivers.Source, error) { return Open(ctx, spec) },
	}
}

// Open returns the bucket or directory that spec.Source names, which need not exist. No request is sent to a bucket, but
// where credentials come from may be asked. A source or an option that makes no sense is [drivers.ErrInvalid].
func Open(ctx context.Context, spec drivers.Spec) (drivers.Tree, error) {
	o, err := parseOptions(spec.Options)
	if err != nil {
		return nil, fmt.Errorf("open media of %s: %w", spec.Node, err)
	}
	place, err := parseLocation(spec.Source.Reveal())
	if err != nil {
		return nil, fmt.Errorf("open media of %s: %w", spec.Node, err)
	}
	if place.dir != "" {
		return openDirectory(spec, place.dir, o)
	}
	store, err := place.openStore(ctx, spec.Memory)
	if err != nil {
		return nil, err
	}
	t := newTree(place, store, o.exclude)
	t.keep(spec.Limit)
	return t, nil
}

// Tree is a bucket, or what has a prefix in one. It is safe for concurrent use.
type Tree struct {
	place   location
	store   store
	exclude exclude.List
	target  *Target
	atOnce  int
	close   func() error
}

var _ drivers.Bucket = (*Tree)(nil)

func newTree(place location, s store, leftOut exclude.List) *Tree {
	t := &Tree{place: place, store: s, exclude: leftOut, close: sync.OnceValue(s.close), atOnce: requestsAtOnce}
	t.target = &Target{tree: t, warnings: make(map[string]int64)}
	return t
}

// Identities returns the bucket's provider, endpoint, name and prefix.
func (t *Tree) Identities(_ context.Context) ([]string, error) {
	return []string{"bucket:" + t.place.provider + ":" + t.store.endpoint() + "/" + t.place.bucket + "/" + t.place.prefix}, nil
}

// AtOnce implements [drivers.Bucket].
func (t *Tree) AtOnce() int { return t.atOnce }

// Target returns the writing side; always the same.
func (t *Tree) Target() drivers.TreeTarget { return t.target }

// Close releases the bucket's client.
func (t *Tree) Close() error {
	if err := t.close(); err != nil {
		return fmt.Errorf("close %s: %w", t.place.display, err)
	}
	return nil
}

// path returns the entry's path of a key.
func (t *Tree) path(key string) string { return strings.TrimPrefix(key, t.place.prefix) }

// fail says what was done to which place, and of which class the store's error is.
func (t *Tree) fail(ctx context.Context, verb string, err error) error {
	return fmt.Errorf("%s %s: %w", verb, t.place.display, translate(ctx, err))
}
