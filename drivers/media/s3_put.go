package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// abortTime is how long the removal of an upload's parts may take, after what ended it.
const abortTime = 10 * time.Second

// put implements store. A small object is one request, a larger one an upload in parts; the condition is the server's to
// check, at the end. Servers that do not know conditions say so (501): there the look before must do.
func (s *s3Store) put(ctx context.Context, o object, body io.Reader, ifAbsent bool) error {
	var none *string
	if ifAbsent {
		none = aws.String("*")
	}
	p, err := partsOf(ctx, s.memory, o.size, s.part)
	if err != nil {
		return err
	}
	defer p.release()
	first, err := readFirst(body, o.size, p.length)
	if err != nil {
		return err
	}
	if o.size > int64(len(first)) {
		return s.upload(ctx, o, uploadBody{first, body, p.atOnce}, none)
	}
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &o.key, Metadata: o.custom,
		ContentLength: &o.size, IfNoneMatch: none, ServerSideEncryption: s.encryption, SSEKMSKeyId: s.kmsKey,
		ContentType: o.header(headerType), CacheControl: o.header(headerCache), ContentDisposition: o.header(headerDisposition),
		ContentEncoding: o.header(headerEncoding), ContentLanguage: o.header(headerLanguage), Expires: o.expires(),
		WebsiteRedirectLocation: o.header(headerRedirect),
	}
	for {
		in.Body = bytes.NewReader(first)
		_, err := s.client.PutObject(ctx, in)
		if in.IfNoneMatch == nil || !unknownCondition(err) {
			return err
		}
		in.IfNoneMatch = nil
	}
}

// unknownCondition tells that a server does not implement what a header says.
func unknownCondition(err error) bool {
	if err == nil {
		return false
	}
	_, status := codeOf(err)
	return status == http.StatusNotImplemented
}

// readFirst reads the first part of a body, up to a limit, and its end if that is all of it.
func readFirst(body io.Reader, size, limit int64) ([]byte, error) {
	first := make([]byte, min(size, limit))
	if _, err := io.ReadFull(body, first); err != nil {
		return nil, err
	}
	if size > limit {
		return first, nil
	}
	return first, ended(body)
}

// ended reads a body's end, where it tells that it was not whole.
func ended(body io.Reader) error {
	n, err := body.Read(make([]byte, 1))
	switch {
	case n > 0:
		return errors.New("content is longer than it should be")
	case err == nil:
		return io.ErrNoProgress
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// uploadBody is the content of an upload in parts: the first, which says how long they are, and the rest.
type uploadBody struct {
	first  []byte
	rest   io.Reader
	atOnce int
}

// upload writes an object in parts. Nothing of it is visible before the last request.
func (s *s3Store) upload(ctx context.Context, o object, body uploadBody, none *string) (err error) {
	created, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &o.key, Metadata: o.custom, ServerSideEncryption: s.encryption, SSEKMSKeyId: s.kmsKey,
		ContentType: o.header(headerType), CacheControl: o.header(headerCache), ContentDisposition: o.header(headerDisposition),
		ContentEncoding: o.header(headerEncoding), ContentLanguage: o.header(headerLanguage), Expires: o.expires(),
		WebsiteRedirectLocation: o.header(headerRedirect),
	})
	if err != nil {
		return err
	}
	u := upload{store: s, key: &o.key, id: created.UploadId, size: o.size}
	defer func() {
		if err != nil {
			u.abort(context.WithoutCancel(ctx))
		}
	}()
	if err := u.send(ctx, body); err != nil {
		return err
	}
	if err := ended(body.rest); err != nil {
		return err
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: &o.key, UploadId: u.id, IfNoneMatch: none,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	}
	_, err = s.client.CompleteMultipartUpload(ctx, in)
	if none != nil && unknownCondition(err) {
		in.IfNoneMatch = nil
		_, err = s.client.CompleteMultipartUpload(ctx, in)
	}
	return err
}

// probe implements prober: an upload that is begun needs the right to write, and leaves nothing when it is given up.
func (s *s3Store) probe(ctx context.Context, prefix string) error {
	key := prefix + ".salvor-probe"
	created, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, ServerSideEncryption: s.encryption, SSEKMSKeyId: s.kmsKey,
	})
	if err != nil {
		return err
	}
	u := upload{store: s, key: &key, id: created.UploadId}
	u.abort(context.WithoutCancel(ctx))
	return nil
}

// upload is an upload in parts.
type upload struct {
	store *s3Store
	key   *string
	id    *string
	size  int64
	parts []types.CompletedPart
}

// send sends all parts, a few at a time. It holds no more than body.atOnce buffers.
func (u *upload) send(ctx context.Context, body uploadBody) error {
	length := int64(len(body.first))
	count := (u.size + length - 1) / length
	u.parts = make([]types.CompletedPart, count)
	buffers := make(chan []byte, body.atOnce)
	for range body.atOnce - 1 {
		buffers <- nil // made when it is needed
	}
	group, ctx := errgroup.WithContext(ctx)
	data := body.first
	var errRead error
	for i := range count {
		if i > 0 {
			select {
			case <-ctx.Done():
				return errors.Join(group.Wait(), ctx.Err())
			case data = <-buffers:
			}
			if data == nil {
				data = make([]byte, length)
			}
			data = data[:min(length, u.size-i*length)]
			if _, errRead = io.ReadFull(body.rest, data); errRead != nil {
				break
			}
		}
		part := data
		group.Go(func() error {
			defer func() { buffers <- part[:cap(part)] }()
			return u.part(ctx, int32(i+1), part) //nolint:gosec // at most maxParts
		})
	}
	return errors.Join(errRead, group.Wait())
}

func (u *upload) part(ctx context.Context, number int32, data []byte) error {
	out, err := u.store.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.store.bucket, Key: u.key, UploadId: u.id, PartNumber: &number, Body: bytes.NewReader(data),
	})
	if err != nil {
		return fmt.Errorf("part %d: %w", number, err)
	}
	u.parts[number-1] = types.CompletedPart{
		PartNumber: &number, ETag: out.ETag,
		ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C, ChecksumCRC64NVME: out.ChecksumCRC64NVME,
		ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256,
	}
	return nil
}

// abort has the server forget the parts. If that fails they stay invisible, and a lifecycle rule of the bucket's removes them.
func (u *upload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	_, _ = u.store.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{ // the first error counts
		Bucket: &u.store.bucket, Key: u.key, UploadId: u.id,
	})
}
