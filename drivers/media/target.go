package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"

	"salvor/drivers"
)

// Target is the writing side of a bucket. It is safe for concurrent use.
type Target struct {
	tree     *Tree
	mu       sync.Mutex
	warnings map[string]int64
}

var _ drivers.TreeTarget = (*Target)(nil)

// Check implements [drivers.TreeTarget]: the bucket is there, can be listed, and can be written where the store tells that
// without a trace.
func (t *Target) Check(ctx context.Context, _ drivers.Target) error { return t.ready(ctx, "check") }

// Prepare implements [drivers.TreeTarget]. A bucket is not made: which one, where and whose is for its owner to say. What
// killed restores left are parts of uploads, which are invisible and which only a lifecycle rule can tell from others' work.
func (t *Target) Prepare(ctx context.Context, _ drivers.Target) error { return t.ready(ctx, "prepare") }

// ready tells whether the bucket can be restored into.
func (t *Target) ready(ctx context.Context, verb string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", verb, t.tree.place.display, err)
	}
	_, err := t.tree.store.list(t.tree.place.prefix, "")(ctx)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if p, ok := t.tree.store.(prober); ok && err == nil {
		// Credentials that may only read would fail with every entry, after an hour.
		if err = p.probe(ctx, t.tree.place.prefix); !errors.Is(translate(ctx, err), drivers.ErrAccess) {
			err = ctx.Err()
		}
	}
	if err == nil {
		return nil
	}
	err = t.tree.fail(ctx, verb, err)
	if errors.Is(err, drivers.ErrNotFound) {
		return drivers.WithHint(err, "a restore makes no buckets: create it first")
	}
	return err
}

// Same implements [drivers.TreeTarget]. A bucket holds no directories, so any is the same; times are its own.
func (t *Target) Same(want, have drivers.Entry) bool {
	if want.Type != have.Type || have.Err != nil {
		return false
	}
	if want.Type != drivers.TypeFile {
		return true
	}
	held, _ := t.tree.store.hold(attributesOf(want.Meta))
	return want.Size == have.Size && held.same(attributesOf(have.Meta))
}

func attributesOf(m drivers.Meta) attributes { return attributes{headers: m.Headers, custom: m.Custom} }

// The kinds of warnings beside those of what a store cannot hold.
const (
	warnDirectory = "directory not kept: a bucket has none"
	warnSpecial   = "entry that is no file not kept: "
	warnFile      = "mode and owner of a file not kept"
	warnRoot      = "marker of the prefix's folder not kept: the target has no prefix"
)

func (t *Target) warn(kinds ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, kind := range kinds {
		t.warnings[kind]++
	}
}

// Warnings implements [drivers.TreeTarget].
func (t *Target) Warnings() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := maps.Clone(t.warnings)
	clear(t.warnings)
	return taken
}

// Put implements [drivers.TreeTarget]. An object that is there already and equal, content included, is left as it is. What
// a bucket cannot hold of an entry is counted.
func (t *Target) Put(ctx context.Context, target drivers.Target, attempt drivers.Attempt, entry drivers.Entry,
	content drivers.ContentReader,
) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", quote(entry.Path), err)
	}
	if err := checkPut(attempt, entry); err != nil {
		return err
	}
	switch entry.Type {
	case drivers.TypeFile:
	case drivers.TypeDir:
		t.warn(warnDirectory)
		return nil
	default:
		t.warn(warnSpecial + string(entry.Type))
		return nil
	}
	key := t.tree.place.prefix + entry.Path
	if key == "" && entry.Size == 0 {
		t.warn(warnRoot)
		return nil
	}
	if err := checkKey(key); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	if content == nil {
		return fmt.Errorf("put %s: no content: %w", quote(entry.Path), drivers.ErrInvalid)
	}
	p := put{Target: t, entry: entry, body: newBody(content, entry.Size)}
	var lost []string
	p.object = object{key: key, size: entry.Size}
	p.object.attributes, lost = t.tree.store.hold(attributesOf(entry.Meta))
	if _, ok := p.object.headers[headerType]; !ok {
		p.object.headers[headerType] = typeOf(key)
	}
	if entry.Meta.Mode != 0 || entry.Meta.UID != nil {
		lost = append(lost, warnFile)
	}
	if err := p.put(ctx, target.Replace()); err != nil {
		if failure := p.body.failure(); failure != nil && ctx.Err() == nil {
			err = failure // what the store made of it says less
		}
		return fmt.Errorf("put %s: %w", quote(entry.Path), translate(ctx, err))
	}
	t.warn(lost...)
	return nil
}

// checkPut refuses calls that make no sense.
func checkPut(attempt drivers.Attempt, entry drivers.Entry) error {
	bad := func(why string) error {
		return fmt.Errorf("put %s: %s: %w", quote(entry.Path), why, drivers.ErrInvalid)
	}
	if strings.IndexByte(entry.Path, 0) >= 0 {
		return fmt.Errorf("put: %w", checkKey(entry.Path))
	}
	if !isToken(attempt.Token) {
		return bad(fmt.Sprintf("the attempt's token %q is not letters and digits", attempt.Token))
	}
	switch entry.Type {
	case drivers.TypeFile, drivers.TypeDir, drivers.TypeSymlink, drivers.TypeFIFO, drivers.TypeSocket, drivers.TypeDevice:
		return nil
	default:
		return bad(fmt.Sprintf("unknown type %q", entry.Type))
	}
}

// isToken tells what an attempt's token may be: letters and digits.
func isToken(token string) bool {
	for i := range len(token) {
		c := token[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return token != ""
}

// put is one call of Put.
type put struct {
	*Target
	entry  drivers.Entry
	object object
	body   *body
}

// put writes the object. The look before saves sending what cannot be taken, tells keys that the server takes for others,
// and stands in for the condition where a server ignores it.
func (p *put) put(ctx context.Context, replace bool) error {
	if !replace || isRisky(p.object.key) {
		have, err := p.tree.find(ctx, p.object.key)
		if err != nil && !errors.Is(translate(ctx, err), drivers.ErrNotFound) {
			return err
		}
		if err == nil && !replace {
			return p.compare(ctx, have)
		}
	}
	p.body.ready()
	err := p.tree.store.put(ctx, p.object, p.body, !replace)
	if err == nil {
		return p.confirm(ctx)
	}
	if replace || p.body.failure() != nil || ctx.Err() != nil || !errors.Is(translate(ctx, err), errExists) {
		return err
	}
	// Another writer was faster: an earlier attempt that still lives writes the same.
	have, errFind := p.tree.find(ctx, p.object.key)
	if errFind != nil {
		return errors.Join(err, errFind)
	}
	return p.compare(ctx, have)
}

// compare tells whether an object that is there is what was to be put; [drivers.ErrNotEmpty] if not.
func (p *put) compare(ctx context.Context, have object) error {
	there := p.tree.entry(have)
	if !p.Same(p.entry, there) {
		return fmt.Errorf("another object is there already: %w", drivers.ErrNotEmpty)
	}
	if err := copyBody(io.Discard, p.body, p.entry.Size); err != nil { // the sum is of all of it, however much was sent
		return err
	}
	content, err := p.tree.Open(ctx, there)
	if err != nil {
		return err
	}
	sum := sha256.New()
	err = copyBody(sum, newBody(content, there.Size), there.Size)
	if errClose := content.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), p.body.sum.Sum(nil)) {
		return fmt.Errorf("an object with another content is there already: %w", drivers.ErrNotEmpty)
	}
	return nil
}

// confirm looks whether an object with a risky key is where it should be. Nothing was under that key before, whatever the
// server takes it for, or it would not have been written; so what was written is removed where it is.
func (p *put) confirm(ctx context.Context) error {
	if !isRisky(p.object.key) {
		return nil
	}
	have, err := p.tree.find(ctx, p.object.key)
	elsewhere := errors.Is(translate(ctx, err), drivers.ErrNotFound) || errors.Is(err, errTakesForAnother)
	if elsewhere || err == nil && have.size != p.object.size {
		return errors.Join(errTakesForAnother, p.tree.store.remove(ctx, p.object.key))
	}
	return err
}

// Remove implements [drivers.TreeTarget]. It removes the one object: what a key says to lie below it has a key of its own.
func (t *Target) Remove(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("remove %s: %w", quote(path), err)
	}
	key := t.tree.place.prefix + path
	if err := checkKey(key); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	if isRisky(key) {
		// What the server takes for another must not take that one along.
		_, err := t.tree.find(ctx, key)
		if err = translate(ctx, err); err != nil {
			if errors.Is(err, drivers.ErrNotFound) {
				return nil
			}
			return fmt.Errorf("remove %s: %w", quote(path), err)
		}
	}
	err := translate(ctx, t.tree.store.remove(ctx, key))
	if err != nil && !errors.Is(err, drivers.ErrNotFound) {
		return fmt.Errorf("remove %s: %w", quote(path), err)
	}
	return nil
}

// Settle implements [drivers.TreeTarget]. There is nothing to do: an object is whole when it is put.
func (t *Target) Settle(ctx context.Context, _ drivers.Target, attempt drivers.Attempt, entry drivers.Entry) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("settle %s: %w", quote(entry.Path), err)
	}
	return checkPut(attempt, entry)
}

// Sync implements [drivers.TreeTarget]. There is nothing to do: what a store has taken is durable.
func (t *Target) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sync %s: %w", t.tree.place.display, err)
	}
	return nil
}
