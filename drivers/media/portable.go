package media

import (
	"context"
	"io"

	"gocloud.dev/blob"

	"salvor/drivers"
)

// portable is a bucket of a provider that is known through gocloud alone. Nothing pins a content there: what was read is
// compared with what is there afterwards.
type portable struct {
	bucket *blob.Bucket
	memory *drivers.Memory
}

var _ store = (*portable)(nil)

func (p *portable) endpoint() string { return "" }

func (p *portable) close() error { return p.bucket.Close() }

// list implements store. Gocloud cannot begin a listing at a key.
func (p *portable) list(prefix, _ string) pages {
	token := blob.FirstPageToken
	return func(ctx context.Context) ([]object, error) {
		if len(token) == 0 {
			return nil, io.EOF
		}
		page, next, err := p.bucket.ListPage(ctx, token, pageSize, &blob.ListOptions{Prefix: prefix})
		if err != nil {
			return nil, err
		}
		token = next
		objects := make([]object, 0, len(page))
		for _, o := range page {
			objects = append(objects, object{key: o.Key, size: o.Size, modified: o.ModTime})
		}
		return objects, nil
	}
}

func (p *portable) head(ctx context.Context, key string) (object, error) {
	a, err := p.bucket.Attributes(ctx, key)
	if err != nil {
		return object{}, err
	}
	return object{
		key: key, size: a.Size, modified: a.ModTime, version: a.ETag, complete: true,
		attributes: attributes{
			headers: headersOf(&a.ContentType, map[string]*string{
				headerCache: &a.CacheControl, headerDisposition: &a.ContentDisposition, headerEncoding: &a.ContentEncoding,
				headerLanguage: &a.ContentLanguage,
			}),
			custom: a.Metadata,
		},
	}, nil
}

func (p *portable) open(ctx context.Context, key, _ string, offset int64) (io.ReadCloser, object, error) {
	before, err := p.head(ctx, key)
	if err != nil {
		return nil, object{}, err
	}
	r, err := p.bucket.NewRangeReader(ctx, key, offset, -1, nil)
	if err != nil {
		return nil, object{}, err
	}
	before.size = r.Size()
	return r, before, nil
}

// put implements store. What has begun is given up by its context: closing it would publish what was written so far.
func (p *portable) put(ctx context.Context, o object, body io.Reader, ifAbsent bool) error {
	sent, err := partsOf(ctx, p.memory, o.size, partSize)
	if err != nil {
		return err
	}
	defer sent.release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := p.bucket.NewWriter(ctx, o.key, &blob.WriterOptions{
		ContentType: o.headers[headerType], CacheControl: o.headers[headerCache],
		ContentDisposition: o.headers[headerDisposition], ContentEncoding: o.headers[headerEncoding],
		ContentLanguage: o.headers[headerLanguage], Metadata: o.custom,
		BufferSize: int(sent.length), MaxConcurrency: sent.atOnce, IfNotExist: ifAbsent,
		DisableContentTypeDetection: true,
	})
	if err != nil {
		return err
	}
	if err := copyBody(w, body, o.size); err != nil {
		cancel()
		_ = w.Close() // says that it was cancelled
		return err
	}
	return w.Close()
}

func (p *portable) remove(ctx context.Context, key string) error { return p.bucket.Delete(ctx, key) }
