package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"salvor/drivers"
)

// maxKey is the longest key, in bytes: the same for S3, Google Cloud Storage and (in characters) Azure.
const maxKey = 1024

// quote shows a key in a message, shortened if it is too long to be one.
func quote(key string) string {
	if len(key) > maxKey {
		return strconv.Quote(key[:80]) + "…"
	}
	return strconv.Quote(key)
}

// checkKey refuses what cannot be an object's key, or an entry's path.
func checkKey(key string) error {
	switch {
	case strings.IndexByte(key, 0) >= 0:
		return fmt.Errorf("key %s: holds NUL: %w", quote(key), drivers.ErrUnsafePath)
	case key == "":
		return fmt.Errorf("key %s: empty: %w", quote(key), drivers.ErrInvalid)
	case len(key) > maxKey:
		return fmt.Errorf("key %s: longer than %d bytes: %w", quote(key), maxKey, drivers.ErrInvalid)
	case !utf8.ValidString(key):
		return fmt.Errorf("key %s: not UTF-8: %w", quote(key), drivers.ErrInvalid)
	}
	return nil
}

// isRisky tells keys that a server, or what lies before it, may take for another one's: as paths of URLs they are not in
// normal form.
func isRisky(key string) bool {
	if strings.IndexByte(key, '\\') >= 0 {
		return true
	}
	for name := range strings.SplitSeq(key, "/") {
		if name == "" || name == "." || name == ".." {
			return true
		}
	}
	return false
}

// errTakesForAnother is why some keys cannot be used with some servers.
var errTakesForAnother = fmt.Errorf("the server takes this key for another: %w", drivers.ErrInvalid)

// isLike tells whether a listed object and one that was looked at are the same, as far as the listing says.
func (o object) isLike(seen object) bool {
	return o.size == seen.size && (o.tag == "" || seen.tag == "" || o.tag == seen.tag)
}

// find returns the object of a key with all its attributes; [drivers.ErrNotFound] if there is none. Keys that the server
// may take for another are compared with its listing, where they are no paths.
func (t *Tree) find(ctx context.Context, key string) (object, error) {
	const tries = 3 // it may be replaced between the two looks
	for try := 1; ; try++ {
		var listed object
		var errList error
		if isRisky(key) {
			listed, errList = t.listed(ctx, key)
			if errList != nil && !errors.Is(errList, drivers.ErrNotFound) {
				return object{}, errList
			}
		}
		o, err := t.store.head(ctx, key)
		found := err == nil
		switch {
		case !isRisky(key):
			return o, err
		case err != nil && !errors.Is(translate(ctx, err), drivers.ErrNotFound):
			return object{}, err
		case !found && errList != nil:
			return object{}, errList
		case found && errList == nil && listed.isLike(o):
			return o, nil
		case try == tries:
			return object{}, fmt.Errorf("key %s: %w", quote(key), errTakesForAnother)
		}
	}
}

// listed returns the object of a key as the listing shows it.
func (t *Tree) listed(ctx context.Context, key string) (object, error) {
	next := t.store.list(key, key)
	for {
		page, err := next(ctx)
		if errors.Is(err, io.EOF) {
			return object{}, fmt.Errorf("key %s: %w", quote(key), drivers.ErrNotFound)
		}
		if err != nil {
			return object{}, err
		}
		if len(page) == 0 {
			continue
		}
		if page[0].key == key { // the first of all that begin with it
			return page[0], nil
		}
		return object{}, fmt.Errorf("key %s: %w", quote(key), drivers.ErrNotFound)
	}
}

func (t *Tree) isListed(ctx context.Context, key string) bool {
	_, err := t.listed(ctx, key)
	return err == nil
}
