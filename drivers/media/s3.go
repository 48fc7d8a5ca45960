package media

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"gocloud.dev/blob"

	"salvor/drivers"
)

// s3Store is a bucket of S3, or of a server that speaks like it.
type s3Store struct {
	opened *blob.Bucket
	client *s3.Client
	conns  *conns
	bucket string
	server string
	part   int64 // the least length of a part
	memory *drivers.Memory
	// Encryption that the URL asks for. Without it the bucket's own default holds.
	encryption types.ServerSideEncryption
	kmsKey     *string
}

var _ store = (*s3Store)(nil)

func newS3(opened *blob.Bucket, client *s3.Client, l location, m *drivers.Memory) *s3Store {
	s := &s3Store{opened: opened, bucket: l.bucket, server: "aws", part: partSize, memory: m, conns: &conns{}}
	// Without this the client says on stderr, for each object, that there was no checksum to compare.
	s.client = s3.New(client.Options(), func(o *s3.Options) {
		o.DisableLogOutputChecksumValidationSkipped = true
		o.HTTPClient = s.conns.watch(o.HTTPClient)
	})
	if base := client.Options().BaseEndpoint; base != nil {
		s.server = hostOf(*base)
	}
	if l.url == nil {
		return s
	}
	q := l.url.Query()
	if e := q.Get("endpoint"); e != "" {
		s.server = hostOf(e)
	}
	for _, kind := range types.ServerSideEncryption("").Values() {
		if strings.EqualFold(string(kind), q.Get("ssetype")) {
			s.encryption = kind
		}
	}
	if key := q.Get("kmskeyid"); key != "" {
		s.kmsKey = &key
	}
	return s
}

// hostOf returns a URL's host, or the text itself.
func hostOf(text string) string {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return strings.ToLower(u.Host)
	}
	return strings.ToLower(text)
}

func (s *s3Store) endpoint() string { return s.server }

func (s *s3Store) close() error {
	s.conns.close()
	return s.opened.Close()
}

// list implements store. S3 goes on after a key; that the first one may be from itself takes a request more.
func (s *s3Store) list(prefix, from string) pages {
	after, exact := startAfter(prefix, from)
	in := &s3.ListObjectsV2Input{
		Bucket: &s.bucket, EncodingType: types.EncodingTypeUrl, // control characters are not XML
	}
	if prefix != "" {
		in.Prefix = &prefix
	}
	if after != "" {
		in.StartAfter = &after
	}
	done := false
	return func(ctx context.Context) ([]object, error) {
		if exact {
			exact = false
			return s.listExact(ctx, after)
		}
		if done {
			return nil, io.EOF
		}
		out, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, err
		}
		in.ContinuationToken = out.NextContinuationToken
		done = !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil
		return s.objects(out)
	}
}

// startAfter returns the key after which a listing is to begin so that from is not missed, and whether that key itself
// belongs to it.
func startAfter(prefix, from string) (after string, exact bool) {
	if from <= prefix {
		return "", false
	}
	// A bound that cannot be a key: what is between its beginning and itself is passed over by the walk.
	end := len(from)
	for i, r := range from {
		if _, size := utf8.DecodeRuneInString(from[i:]); r == 0 || r == utf8.RuneError && size == 1 {
			end = i
			break
		}
	}
	return from[:end], end == len(from)
}

// listExact returns the object of a key, if there is one: of all that begin with it, it is the first.
func (s *s3Store) listExact(ctx context.Context, key string) ([]object, error) {
	out, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &s.bucket, EncodingType: types.EncodingTypeUrl, Prefix: &key, MaxKeys: aws.Int32(1),
	})
	if err != nil {
		return nil, err
	}
	objects, err := s.objects(out)
	if err != nil || len(objects) == 0 || objects[0].key != key {
		return nil, err
	}
	return objects[:1], nil
}

func (s *s3Store) objects(out *s3.ListObjectsV2Output) ([]object, error) {
	objects := make([]object, 0, len(out.Contents))
	for i := range out.Contents {
		c := &out.Contents[i]
		key := aws.ToString(c.Key)
		if out.EncodingType == types.EncodingTypeUrl {
			var err error
			if key, err = url.QueryUnescape(key); err != nil {
				return nil, fmt.Errorf("listed key %q: %w: %w", aws.ToString(c.Key), drivers.ErrInvalid, err)
			}
		}
		objects = append(objects, object{
			key: key, size: aws.ToInt64(c.Size), modified: aws.ToTime(c.LastModified), tag: quoted(c.ETag),
		})
	}
	return objects, nil
}

// quoted returns an ETag with its quotes, which some servers leave out in listings.
func quoted(tag *string) string {
	if tag == nil || *tag == "" || strings.HasSuffix(*tag, `"`) {
		return aws.ToString(tag)
	}
	return `"` + *tag + `"`
}

// s3Version adds the version of a versioned bucket to the ETag, which says no more than the content's MD5 where it says that.
func s3Version(tag string, id *string, size int64) string {
	if tag == "" || size < 0 {
		return ""
	}
	if id != nil && *id != "" && *id != "null" {
		tag += "@" + *id
	}
	return tag + "/" + strconv.FormatInt(size, 10)
}

func (s *s3Store) head(ctx context.Context, key string) (object, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return object{}, err
	}
	o := object{
		key: key, size: aws.ToInt64(out.ContentLength), modified: aws.ToTime(out.LastModified), tag: quoted(out.ETag),
		complete: true,
		attributes: attributes{
			headers: headersOf(out.ContentType, map[string]*string{
				headerCache: out.CacheControl, headerDisposition: out.ContentDisposition, headerEncoding: out.ContentEncoding,
				headerLanguage: out.ContentLanguage, headerExpires: out.ExpiresString, headerRedirect: out.WebsiteRedirectLocation,
			}),
			custom: out.Metadata,
		},
	}
	if n := aws.ToInt32(out.MissingMeta); n > 0 {
		o.headers[headerMissing] = strconv.Itoa(int(n))
	}
	o.version = s3Version(o.tag, out.VersionId, o.size)
	return o, nil
}

func (s *s3Store) open(ctx context.Context, key, tag string, offset int64) (io.ReadCloser, object, error) {
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	if tag != "" {
		in.IfMatch = &tag
	}
	if offset > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		if _, status := codeOf(err); status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable {
			err = fmt.Errorf("%w (%w)", drivers.ErrChanged, err)
		}
		return nil, object{}, err
	}
	o := object{key: key, size: wholeSize(out.ContentLength, offset), tag: quoted(out.ETag)}
	o.version = s3Version(o.tag, out.VersionId, o.size)
	if offset > 0 && out.ContentRange == nil { // the server ignored the range
		_ = out.Body.Close() // nothing of it is used
		return nil, object{}, fmt.Errorf("the server does not give ranges: %w", drivers.ErrChanged)
	}
	return out.Body, o, nil
}

// wholeSize returns the length of an object of which the rest from an offset is read; -1 where the server does not tell.
func wholeSize(rest *int64, offset int64) int64 {
	if rest == nil || *rest < 0 {
		return -1
	}
	return *rest + offset
}

func (s *s3Store) remove(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key})
	return err
}
