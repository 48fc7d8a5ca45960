package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"salvor/drivers"
)

// gcs is a bucket of Google Cloud Storage.
type gcs struct {
	client *storage.Client
	bucket *storage.BucketHandle
	part   int64 // the length of the chunks of a session
	memory *drivers.Memory
}

var _ store = (*gcs)(nil)

func (g *gcs) endpoint() string {
	if host := os.Getenv("STORAGE_EMULATOR_HOST"); host != "" {
		return hostOf(host)
	}
	return "google"
}

func (g *gcs) close() error { return g.client.Close() }

func newGCS(client *storage.Client, bucket string, m *drivers.Memory) *gcs {
	return &gcs{client: client, bucket: client.Bucket(bucket), part: partSize, memory: m}
}

// openGCS opens a bucket with the parameters that gocloud has for it. Gocloud's own opener is not used: where there are no
// credentials it says so on stdout, and goes on without.
func openGCS(ctx context.Context, l location, m *drivers.Memory) (store, error) {
	var options []option.ClientOption
	for name, values := range l.url.Query() {
		switch value := values[0]; name {
		case "anonymous":
			yes, err := strconv.ParseBool(value)
			if err != nil {
				return nil, fmt.Errorf("open %s: parameter %s must be true or false: %w", l.display, name, drivers.ErrInvalid)
			}
			if yes {
				options = append(options, option.WithoutAuthentication())
			}
		case "universe_domain":
			options = append(options, option.WithUniverseDomain(value))
		default:
			return nil, fmt.Errorf("open %s: unknown parameter %q (have anonymous, prefix, universe_domain): %w",
				l.display, name, drivers.ErrInvalid)
		}
	}
	client, err := storage.NewClient(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", l.display, translate(ctx, err))
	}
	return newGCS(client, l.bucket, m), nil
}

// pageSize is how many objects a page of a listing holds at most, where the client asks.
const pageSize = 1000

// list implements store.
func (g *gcs) list(prefix, from string) pages {
	q := &storage.Query{Prefix: prefix, Projection: storage.ProjectionNoACL}
	if from > prefix {
		q.StartOffset, _ = startAfter(prefix, from)
	}
	var pager *iterator.Pager
	done := false
	return func(ctx context.Context) ([]object, error) {
		if done {
			return nil, io.EOF
		}
		if pager == nil {
			pager = iterator.NewPager(g.bucket.Objects(ctx, q), pageSize, "")
		}
		var page []*storage.ObjectAttrs
		next, err := pager.NextPage(&page)
		if err != nil {
			return nil, err
		}
		done = next == ""
		objects := make([]object, 0, len(page))
		for _, a := range page {
			objects = append(objects, gcsObject(a))
		}
		return objects, nil
	}
}

func gcsObject(a *storage.ObjectAttrs) object {
	o := object{
		key: a.Name, size: a.Size, modified: a.Updated, complete: true,
		attributes: attributes{
			headers: headersOf(&a.ContentType, map[string]*string{
				headerCache: &a.CacheControl, headerDisposition: &a.ContentDisposition, headerEncoding: &a.ContentEncoding,
				headerLanguage: &a.ContentLanguage,
			}),
			custom: a.Metadata,
		},
	}
	if a.Generation > 0 {
		o.tag = strconv.FormatInt(a.Generation, 10)
		o.version = o.tag + "/" + strconv.FormatInt(o.size, 10)
	}
	return o
}

func (g *gcs) head(ctx context.Context, key string) (object, error) {
	a, err := g.bucket.Object(key).Attrs(ctx)
	if err != nil {
		return object{}, err
	}
	return gcsObject(a), nil
}

// open implements store. The content is as it is stored: what has Content-Encoding: gzip is not unpacked on the way.
func (g *gcs) open(ctx context.Context, key, tag string, offset int64) (io.ReadCloser, object, error) {
	handle := g.bucket.Object(key).ReadCompressed(true)
	if tag != "" {
		generation, err := strconv.ParseInt(tag, 10, 64)
		if err != nil {
			return nil, object{}, fmt.Errorf("generation %q: %w", tag, drivers.ErrInvalid)
		}
		handle = handle.Generation(generation)
	}
	r, err := handle.NewRangeReader(ctx, offset, -1)
	if errors.Is(err, storage.ErrObjectNotExist) && tag != "" {
		// The generation is gone; is the object?
		if _, errHead := g.head(ctx, key); errHead != nil {
			return nil, object{}, errHead
		}
		err = drivers.ErrChanged
	}
	if err != nil {
		return nil, object{}, err
	}
	o := object{key: key, size: r.Attrs.Size}
	if r.Attrs.Generation > 0 {
		o.tag = strconv.FormatInt(r.Attrs.Generation, 10)
		o.version = o.tag + "/" + strconv.FormatInt(o.size, 10)
	}
	return r, o, nil
}

// put implements store. A small object is one request, which is sent when its content is known to be whole; a larger one is
// a session, which is given up by its context: closing the writer would publish what was written so far.
func (g *gcs) put(ctx context.Context, o object, body io.Reader, ifAbsent bool) error {
	// What is read first is copied into a chunk. A session takes any number of them.
	release, err := g.memory.Take(ctx, min(2*min(o.size, g.part), g.memory.Size()))
	if err != nil {
		return err
	}
	defer release()
	first, err := readFirst(body, o.size, g.part)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handle := g.bucket.Object(o.key)
	if ifAbsent {
		handle = handle.If(storage.Conditions{DoesNotExist: true})
	}
	w := handle.NewWriter(ctx)
	w.ChunkSize = int(g.part)
	if o.size <= g.part {
		w.ChunkSize = int((o.size/chunkUnit + 1) * chunkUnit)
	}
	w.ContentType, w.ForceEmptyContentType = o.headers[headerType], o.headers[headerType] == ""
	w.CacheControl, w.ContentDisposition = o.headers[headerCache], o.headers[headerDisposition]
	w.ContentEncoding, w.ContentLanguage = o.headers[headerEncoding], o.headers[headerLanguage]
	w.Metadata = o.custom
	if err := copyBody(w, io.MultiReader(bytes.NewReader(first), body), o.size); err != nil {
		cancel()
		_ = w.Close() // says that it was cancelled
		return err
	}
	return w.Close()
}

// chunkUnit is what the length of a session's chunks is a multiple of.
const chunkUnit = 256 << 10

func (g *gcs) remove(ctx context.Context, key string) error { return g.bucket.Object(key).Delete(ctx) }
