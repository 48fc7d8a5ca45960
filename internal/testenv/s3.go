package testenv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

// The credentials that an S3 server knows.
const (
	S3Access = "AKIAMEDIATEST"
	S3Secret = "of-the-test-server"
)

// S3Environment is what a process needs to reach an S3 server of this package, and nothing else that lies on this machine.
func S3Environment() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": S3Access, "AWS_SECRET_ACCESS_KEY": S3Secret, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	}
}

// check ends the test at an error.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// S3 is an S3 server over real HTTP. It checks signatures and conditions.
type S3 struct {
	Backend  *S3Backend
	Endpoint string
	buckets  atomic.Int64
	// Handle, if set, sees each request first and tells whether it answered it.
	Handle func(w http.ResponseWriter, r *http.Request) bool
	Fake   *gofakes3.GoFakeS3
	// Open counts the connections; Changed tells that one was closed.
	Open    atomic.Int64
	Changed chan struct{}
}

// S3Backend is the server's memory, with what the original lacks.
type S3Backend struct {
	*s3mem.Backend
	pageLimit int64
	// Normal takes names as paths and brings them in normal form, as servers over directories do; listings show what is.
	Normal bool
}

// ListBucket gives small pages, and goes on after a marker that is no object, where the original would pass over the one
// that follows.
func (b *S3Backend) ListBucket(ctx context.Context, name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage,
) (*gofakes3.ObjectList, error) {
	if page.MaxKeys <= 0 || page.MaxKeys > b.pageLimit {
		page.MaxKeys = b.pageLimit
	}
	if page.Marker == "" {
		return b.Backend.ListBucket(ctx, name, prefix, page)
	}
	if _, err := b.Backend.HeadObject(ctx, name, page.Marker); err == nil {
		return b.Backend.ListBucket(ctx, name, prefix, page)
	}
	all, err := b.Backend.ListBucket(ctx, name, prefix, gofakes3.ListBucketPage{})
	if err != nil {
		return nil, err
	}
	kept := gofakes3.NewObjectList()
	for _, c := range all.Contents {
		if c.Key <= page.Marker {
			continue
		}
		if int64(len(kept.Contents)) == page.MaxKeys {
			kept.IsTruncated = true
			break
		}
		kept.Contents = append(kept.Contents, c)
		kept.NextMarker = c.Key
	}
	return kept, nil
}

func (b *S3Backend) name(object string) string {
	if b.Normal {
		return strings.TrimPrefix(path.Clean("/"+object), "/")
	}
	return object
}

// HeadObject looks at an object under the name that the server takes its key for.
func (b *S3Backend) HeadObject(ctx context.Context, bucket, object string) (*gofakes3.Object, error) {
	return b.Backend.HeadObject(ctx, bucket, b.name(object))
}

// GetObject reads an object under the name that the server takes its key for.
func (b *S3Backend) GetObject(ctx context.Context, bucket, object string, r *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return b.Backend.GetObject(ctx, bucket, b.name(object), r)
}

// DeleteObject removes an object under the name that the server takes its key for.
func (b *S3Backend) DeleteObject(ctx context.Context, bucket, object string) (gofakes3.ObjectDeleteResult, error) {
	return b.Backend.DeleteObject(ctx, bucket, b.name(object))
}

// PutObject writes an object under the name that the server takes its key for.
func (b *S3Backend) PutObject(ctx context.Context, bucket, object string, meta map[string]string, input io.Reader, size int64,
) (gofakes3.PutObjectResult, error) {
	return b.Backend.PutObject(ctx, bucket, b.name(object), meta, input, size)
}

// NewS3 starts a server, which ends with the test.
func NewS3(t testing.TB, pageLimit int64) *S3 {
	t.Helper()
	s := &S3{Changed: make(chan struct{}, 1), Backend: &S3Backend{Backend: s3mem.New(), pageLimit: pageLimit}}
	s.Fake = gofakes3.New(s.Backend, gofakes3.WithV4Auth(map[string]string{S3Access: S3Secret}))
	fake := s.Fake.Server()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Handle == nil || !s.Handle(w, r) {
			fake.ServeHTTP(w, r)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.Open.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.Open.Add(-1)
			select {
			case s.Changed <- struct{}{}:
			default:
			}
		default:
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	s.Endpoint = server.URL
	return s
}

// Bucket makes an empty bucket and returns its name.
func (s *S3) Bucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", s.buckets.Add(1))
	check(t, s.Backend.CreateBucket(t.Context(), name))
	return name
}

// URL returns the source of a bucket, and of a folder in it.
func (s *S3) URL(bucket, folder string) string {
	return "s3://" + bucket + folder + "?region=eu-west-1&use_path_style=true&endpoint=" + s.Endpoint
}

// Write makes an object by other means than a client.
func (s *S3) Write(t testing.TB, bucket, key string, meta map[string]string, data []byte) {
	t.Helper()
	if meta == nil {
		meta = map[string]string{}
	}
	_, err := s.Backend.Backend.PutObject(t.Context(), bucket, key, meta, bytes.NewReader(data), int64(len(data)))
	check(t, err)
}

// Read returns an object by other means than a client.
func (s *S3) Read(t testing.TB, bucket, key string) (meta map[string]string, data []byte) {
	t.Helper()
	o, err := s.Backend.Backend.GetObject(t.Context(), bucket, key, nil)
	check(t, err)
	data, err = io.ReadAll(o.Contents)
	check(t, err)
	check(t, o.Contents.Close())
	return o.Metadata, data
}

// Keys returns the keys of a bucket by other means than a client.
func (s *S3) Keys(t testing.TB, bucket string) []string {
	t.Helper()
	list, err := s.Backend.Backend.ListBucket(t.Context(), bucket, nil, gofakes3.ListBucketPage{})
	check(t, err)
	keys := []string{}
	for _, c := range list.Contents {
		keys = append(keys, c.Key)
	}
	return keys
}

// Modified returns when each object of a bucket was written.
func (s *S3) Modified(t testing.TB, bucket string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, key := range s.Keys(t, bucket) {
		meta, _ := s.Read(t, bucket, key)
		found[key] = meta["Last-Modified"]
	}
	return found
}
