package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"salvor/internal/secret"
)

// bucket keeps objects in a gocloud bucket.
type bucket struct {
	b    *blob.Bucket
	keep bool // it belongs to someone else: close leaves it open
}

var _ store = (*bucket)(nil)

const (
	contentType = "application/octet-stream"
	// partConcurrency is how many parts of an upload are in flight; each is held in memory.
	partConcurrency = 2
	minPart         = 8 << 20
	unknownPart     = 32 << 20 // 10,000 of them are 312 GiB
	maxPart         = 1 << 30
)

// partSize returns the size of the parts of an upload: S3 takes at most 10,000. The expected length may be wrong by a
// quarter.
func partSize(expected int64) int64 {
	if expected <= 0 {
		return unknownPart
	}
	return min(max(minPart, (expected+expected/4)/9000), maxPart)
}

func (b *bucket) put(ctx context.Context, key string, data []byte) error {
	return b.write(ctx, key, data, &blob.WriterOptions{})
}

func (b *bucket) putNew(ctx context.Context, key string, data []byte) error {
	// Some stores that speak S3 ignore the condition. This check is not exclusive, but it keeps those from silently
	// replacing what has long been there.
	exists, err := b.b.Exists(ctx, key)
	if err != nil {
		return fmt.Errorf("look at %s: %w", key, bucketError(ctx, err))
	}
	if exists {
		return fmt.Errorf("write %s: %w", key, ErrExists)
	}
	return b.write(ctx, key, data, &blob.WriterOptions{IfNotExist: true})
}

func (b *bucket) write(ctx context.Context, key string, data []byte, o *blob.WriterOptions) error {
	o.BufferSize = max(minPart, len(data)+1) // one request
	o.MaxConcurrency = 1
	w, err := b.begin(ctx, key, o)
	if err != nil {
		return err
	}
	defer w.abort()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.commit()
}

func (b *bucket) create(ctx context.Context, key string, expected int64) (objectWriter, error) {
	return b.begin(ctx, key, &blob.WriterOptions{
		BufferSize: int(partSize(expected)), MaxConcurrency: partConcurrency, IfNotExist: true,
	})
}

func (b *bucket) begin(ctx context.Context, key string, o *blob.WriterOptions) (*bucketWriter, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	o.ContentType = contentType
	ctx, cancel := context.WithCancel(ctx)
	w, err := b.b.NewWriter(ctx, key, o)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("write %s: %w", key, bucketError(ctx, err))
	}
	return &bucketWriter{
		key: key, w: w, cancel: cancel,
		translate: func(err error) error { return bucketError(ctx, err) },
	}, nil
}

type bucketWriter struct {
	key       string
	w         *blob.Writer
	cancel    context.CancelFunc
	translate func(error) error
	err       error
	done      bool
}

func (w *bucketWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(p)
	if err != nil {
		w.err = fmt.Errorf("write %s: %w", w.key, w.translate(err))
	}
	return n, w.err
}

func (w *bucketWriter) commit() error {
	if w.err != nil || w.done {
		w.abort()
		return errors.Join(w.err, fmt.Errorf("write %s: writer is closed", w.key))
	}
	w.done = true
	defer w.cancel()
	if err := w.w.Close(); err != nil {
		w.err = fmt.Errorf("write %s: %w", w.key, w.translate(err))
	}
	return w.err
}

// abort cancels before it closes: closing alone would publish what was written so far.
func (w *bucketWriter) abort() {
	if w.done {
		return
	}
	w.done = true
	w.cancel()
	_ = w.w.Close() // says that it was cancelled
}

func (b *bucket) open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	r, err := b.b.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		if beyondEnd(err) {
			return io.NopCloser(strings.NewReader("")), nil
		}
		return nil, fmt.Errorf("read %s: %w", key, bucketError(ctx, err))
	}
	return &bucketReader{r, key, func(err error) error { return bucketError(ctx, err) }}, nil
}

// beyondEnd tells that a range begins behind the object's end; a file just gives no bytes then.
func beyondEnd(err error) bool {
	var api interface{ ErrorCode() string }
	if errors.As(err, &api) && api.ErrorCode() == "InvalidRange" {
		return true
	}
	var status interface{ HTTPStatusCode() int }
	return errors.As(err, &status) && status.HTTPStatusCode() == http.StatusRequestedRangeNotSatisfiable
}

type bucketReader struct {
	r         *blob.Reader
	key       string
	translate func(error) error
}

func (r *bucketReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself
		err = fmt.Errorf("read %s: %w", r.key, r.translate(err))
	}
	return n, err
}

func (r *bucketReader) Close() error { return r.r.Close() }

// settle has nothing to do: what a bucket shows is durable.
func (b *bucket) settle(ctx context.Context, _ string) error { return ctxError(ctx) }

func (b *bucket) stat(ctx context.Context, key string) (objectInfo, error) {
	if err := checkKey(key); err != nil {
		return objectInfo{}, err
	}
	attrs, err := b.b.Attributes(ctx, key)
	if err != nil {
		return objectInfo{}, fmt.Errorf("look at %s: %w", key, bucketError(ctx, err))
	}
	return objectInfo{key: key, size: attrs.Size, modified: attrs.ModTime}, nil
}

func (b *bucket) list(ctx context.Context, prefix string, depth listDepth, yield func(objectInfo) error) error {
	o := &blob.ListOptions{Prefix: prefix}
	if depth == listLevel {
		o.Delimiter = "/"
	}
	for it := b.b.List(o); ; {
		obj, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, bucketError(ctx, err))
		}
		if err := yield(objectInfo{key: obj.Key, size: obj.Size, modified: obj.ModTime}); err != nil {
			return err
		}
	}
}

func (b *bucket) remove(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := b.b.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("remove %s: %w", key, bucketError(ctx, err))
	}
	return nil
}

func (b *bucket) close() error {
	if b.keep {
		return nil
	}
	return b.b.Close()
}

// bucketError translates what gocloud and the providers below it say.
func bucketError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctxError(ctx); ended != nil {
		return ended // providers wrap it in ways of their own
	}
	err = secret.WithoutURLs(err) // a request's parameters may hold a token or a signature
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return fmt.Errorf("%w: %w", errMissing, err)
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return fmt.Errorf("%w: %w", ErrExists, err)
	case gcerrors.PermissionDenied:
		return denied(err)
	default:
	}
	var api interface{ ErrorCode() string }
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AllAccessDisabled", "AccountProblem":
			return denied(err)
		case "QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity":
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
	}
	return err
}

// denied is the refusal of a provider.
func denied(err error) error {
	class := fmt.Errorf("%w: %w", ErrAccess, err)
	var api interface {
		ErrorCode() string
		ErrorMessage() string
	}
	if errors.As(err, &api) && api.ErrorMessage() != "" { // without the request's ids
		class = fmt.Errorf("%w: %s: %s", ErrAccess, api.ErrorCode(), api.ErrorMessage())
	}
	return withHint(class,
		"look whether the credentials in the environment are right and may list, read and write the bucket")
}

// own: nobody can see who else may write to a bucket.
func (b *bucket) own() bool { return false }
