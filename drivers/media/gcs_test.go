package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/storage"
	"github.com/fsouza/fake-gcs-server/fakestorage"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/drivers/internal/exclude"
	"salvor/internal/secret"
)

// gcsServer is a server that speaks like Google Cloud Storage, over real HTTP.
type gcsServer struct {
	*fakestorage.Server
	transport http.RoundTripper
	url       string
	buckets   atomic.Int64
}

// toServer is a transport that asks one server, whatever the request names.
type toServer struct {
	http.RoundTripper
	host string
}

func (s toServer) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := r.Clone(r.Context())
	asked.URL.Scheme, asked.URL.Host, asked.Host = "http", s.host, s.host
	return s.RoundTripper.RoundTrip(asked)
}

func newGCSServer(t *testing.T) *gcsServer {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	fake, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener: true, Writer: io.Discard, PublicHost: server.Listener.Addr().String(),
	})
	must(t, err)
	server.Config.Handler = fake.HTTPHandler()
	server.Start()
	t.Cleanup(server.Close)
	return &gcsServer{Server: fake, url: server.URL, transport: toServer{server.Client().Transport, server.Listener.Addr().String()}}
}

// client returns the provider's own client.
func (s *gcsServer) client(t *testing.T) *storage.Client {
	t.Helper()
	client, err := s.connect(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return client
}

func (s *gcsServer) connect(ctx context.Context) (*storage.Client, error) {
	return storage.NewClient(ctx, option.WithHTTPClient(&http.Client{Transport: s.transport}), option.WithoutAuthentication())
}

func (s *gcsServer) bucket(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", s.buckets.Add(1))
	s.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: name})
	return name
}

// kind is the driver for the server's buckets.
func (s *gcsServer) kind() drivers.Kind {
	kind := Kind()
	kind.Open = func(ctx context.Context, spec drivers.Spec) (drivers.Source, error) {
		name := spec.Source.Reveal()
		client, err := s.connect(ctx)
		if err != nil {
			return nil, err
		}
		google := newGCS(client, name, nil)
		google.part = chunkUnit
		place := location{provider: "gs", bucket: name, display: "gs://" + name}
		return newTree(place, google, exclude.List{}), nil
	}
	return kind
}

func TestConformanceGCS(t *testing.T) {
	t.Parallel()
	s := newGCSServer(t)
	client := s.client(t)
	drivertest.Tree(t, drivertest.TreeHarness{
		Kind:  s.kind(),
		Empty: s.bucket,
		Write: func(t *testing.T, place, path string, data []byte) {
			t.Helper()
			w := client.Bucket(place).Object(path).NewWriter(t.Context())
			w.ChunkSize = 0 // no buffer of 16 MiB
			_, err := w.Write(data)
			must(t, err)
			must(t, w.Close())
		},
		Remove: func(t *testing.T, place, path string) {
			t.Helper()
			must(t, client.Bucket(place).Object(path).Delete(t.Context()))
		},
		Names: fewKeys, Unsafe: unsafeKeys,
	})
}

// TestFidelityGCS: as TestFidelityS3, and an object without a content type keeps none.
func TestFidelityGCS(t *testing.T) {
	t.Parallel()
	s := newGCSServer(t)
	source, target := s.bucket(t), s.bucket(t)
	client := s.client(t)
	for i, o := range samples(100, chunkUnit) {
		w := client.Bucket(source).Object(o.key).NewWriter(t.Context())
		w.ChunkSize = 0 // no buffer of 16 MiB
		w.ContentType, w.CacheControl, w.ContentDisposition = o.meta.headers[headerType], o.meta.headers[headerCache], o.meta.headers[headerDisposition]
		w.ContentEncoding, w.ContentLanguage = o.meta.headers[headerEncoding], o.meta.headers[headerLanguage]
		w.Metadata = maps.Clone(o.meta.custom)
		if i%10 == 0 {
			w.ContentType, w.ForceEmptyContentType = "", true
		}
		if i%6 == 5 {
			w.Metadata["Upper Case"] = " spaces, \nlines "
		}
		_, err := w.Write(o.data)
		must(t, err)
		must(t, w.Close())
	}
	copyAll(t, s.tree(t, source), s.tree(t, target), careful)
	want, got := s.describeAll(t, client, source), s.describeAll(t, client, target)
	if len(want) != 100 {
		t.Errorf("the source has %d objects", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// tree opens a bucket.
func (s *gcsServer) tree(t *testing.T, bucket string) drivers.Tree {
	t.Helper()
	source, err := s.kind().Open(t.Context(), drivers.Spec{Source: secret.New(bucket)})
	must(t, err)
	t.Cleanup(func() { must(t, source.Close()) })
	return asTree(t, source)
}

// describeAll describes all objects of a bucket, by the provider's client.
func (s *gcsServer) describeAll(t *testing.T, client *storage.Client, bucket string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for it := client.Bucket(bucket).Objects(t.Context(), nil); ; {
		a, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return found
		}
		must(t, err)
		r, err := client.Bucket(bucket).Object(a.Name).ReadCompressed(true).NewReader(t.Context())
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		must(t, r.Close())
		found[a.Name] = fmt.Sprintf("%q %q %q %q %q %q %d %x", a.ContentType, a.CacheControl, a.ContentDisposition, a.ContentEncoding,
			a.ContentLanguage, a.Metadata, len(data), sha256.Sum256(data))
	}
}

// TestGCSEmulator: a bucket is opened by its URL. The clients take the server's place from the environment.
func TestGCSEmulator(t *testing.T) { //nolint:paralleltest // it sets the environment
	s := newGCSServer(t)
	bucket := s.bucket(t)
	t.Setenv("STORAGE_EMULATOR_HOST", s.url)
	tree := open(t, "gs://"+bucket+"/folder", "")
	must(t, tree.Target().Prepare(t.Context(), careful))
	for range 2 {
		must(t, putText(t, tree, careful, mediaEntry("a/b"), "text"))
	}
	wantError(t, "put", putText(t, tree, careful, mediaEntry("a/b"), "TEXT"), drivers.ErrNotEmpty, "")
	e := one(t, tree, "a/b")
	if want := (drivers.Meta{ModTime: e.Meta.ModTime, Headers: mediaEntry("").Meta.Headers, Custom: mediaEntry("").Meta.Custom}); !cmp.Equal(want, e.Meta) {
		t.Errorf("metadata (-want +got):\n%s", cmp.Diff(want, e.Meta))
	}
	content, err := tree.Open(t.Context(), e)
	must(t, err)
	data, err := io.ReadAll(newBody(content, e.Size))
	must(t, err)
	must(t, content.Close())
	if string(data) != "text" {
		t.Errorf("content is %q", data)
	}
	ids, err := tree.Identities(t.Context())
	must(t, err)
	if want := "bucket:gs:" + hostOf(s.url) + "/" + bucket + "/folder/"; ids[0] != want {
		t.Errorf("identity is %q, want %q", ids[0], want)
	}
}
