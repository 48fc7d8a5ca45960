package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"salvor/internal/testenv"
)

// mediaObject is an object as its store shows it, without what the store sets.
type mediaObject struct {
	Headers, Custom map[string]string
	Data            []byte
}

// text is the object as one comparable line.
func (o mediaObject) text() string {
	return fmt.Sprintf("%q %q %d bytes %x", o.Headers, o.Custom, len(o.Data), sha256.Sum256(o.Data))
}

// mediaObjects makes objects of every kind of key, length, header and metadata, each with its own combination.
func mediaObjects(n int) map[string]mediaObject {
	random := rand.New(rand.NewPCG(1, 2))
	content := rand.NewChaCha8([32]byte{3})
	odd := []string{
		"folder/", "folder/in", "folder//in", "/abs", "//", "../up", "a/../b", "./here", "dot/..", "new\nline", "tab\t", "bell\a", "esc\x1b[0m",
		"\x01", "del\x7f", "__0x2f__", "plus+and space", "%2F", "a", "a/b", "a-b", "emoji😀", "\ufffe", "e\u0301", "é", "q?x=y&z#f", "back\\slash",
	}
	types := []string{"image/png", "text/html; charset=utf-8", "application/octet-stream", "x/y+z; a=\"b;c\""}
	headers := map[string][]string{
		"Cache-Control":       {"", "no-store", "public, max-age=31536000, immutable"},
		"Content-Disposition": {"", `attachment; filename="a b.pdf"`, "attachment; filename*=UTF-8''%e2%82%ac%20rates"},
		"Content-Encoding":    {"", "gzip", "br"},
		"Content-Language":    {"", "de", "mi, en"},
	}
	custom := []map[string]string{
		{}, {"a": "1"}, {"owner": "Zoë"}, {"percent": "%41%2f+ b  c"}, {"x_1": `"quoted", and 'this'`, "long": strings.Repeat("v", 500), "b": "2"},
	}
	all := make(map[string]mediaObject, n)
	for i := range n {
		o := mediaObject{Headers: map[string]string{"Content-Type": types[i%len(types)]}, Custom: custom[i%len(custom)]}
		for j, name := range []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language"} {
			if v := headers[name][i/(3*j+1)%3]; v != "" {
				o.Headers[name] = v
			}
		}
		size := random.IntN(300)
		switch {
		case i%97 == 0:
			size = 0
		case i == n/2:
			size = 17<<20 + 5 // two chunks in the archive, three parts of an upload
		case i%1000 == 1:
			size = 100 << 10
		}
		o.Data = make([]byte, size)
		_, _ = content.Read(o.Data) // never fails
		key := fmt.Sprintf("dir-%d/%d/object %d.jpg", i%7, i%31, i)
		if i < len(odd) {
			key = odd[i]
		}
		all[key] = o
	}
	return all
}

// mediaStore is a store that a test fills and looks into by other means than the driver.
type mediaStore interface {
	bucket(t *testing.T) (source string)
	put(t *testing.T, source, key string, o mediaObject)
	objects(t *testing.T, source string) map[string]mediaObject
}

type s3Store struct{ *testenv.S3 }

func (s s3Store) bucket(t *testing.T) string {
	t.Helper()
	return s.URL(s.Bucket(t), "")
}

func (s s3Store) name(source string) string {
	u, _ := url.Parse(source) // of its own making
	return u.Host
}

const s3Meta = "X-Amz-Meta-"

func (s s3Store) put(t *testing.T, source, key string, o mediaObject) {
	t.Helper()
	meta := maps.Clone(o.Headers)
	for name, value := range o.Custom {
		meta[textproto.CanonicalMIMEHeaderKey(s3Meta+name)] = value
	}
	s.Write(t, s.name(source), key, meta, o.Data)
}

func (s s3Store) objects(t *testing.T, source string) map[string]mediaObject {
	t.Helper()
	found := make(map[string]mediaObject)
	for _, key := range s.Keys(t, s.name(source)) {
		meta, data := s.Read(t, s.name(source), key)
		o := mediaObject{Headers: map[string]string{}, Custom: map[string]string{}, Data: data}
		for name, value := range meta {
			if custom, ok := strings.CutPrefix(name, s3Meta); ok {
				o.Custom[strings.ToLower(custom)] = value
			} else if strings.HasPrefix(name, "Content-") || name == "Cache-Control" {
				o.Headers[name] = value
			}
		}
		found[key] = o
	}
	return found
}

// memoryStore are buckets in memory, which outlive those who open them by a scheme of its own.
type memoryStore struct {
	scheme  string
	mu      sync.Mutex
	buckets map[string]*blob.Bucket
}

// memory is registered before any test opens a bucket: gocloud's register of schemes has no lock.
var memory = newMemoryStore("testmemory")

func newMemoryStore(scheme string) *memoryStore {
	m := &memoryStore{scheme: scheme, buckets: make(map[string]*blob.Bucket)}
	blob.DefaultURLMux().RegisterBucket(scheme, m)
	return m
}

// OpenBucketURL opens a bucket: a view of it that may be closed.
func (m *memoryStore) OpenBucketURL(_ context.Context, u *url.URL) (*blob.Bucket, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.buckets[u.Host]
	if b == nil {
		return nil, errors.New("no such bucket")
	}
	return blob.PrefixedBucket(b, "all/"), nil
}

func (m *memoryStore) open(t *testing.T, source string) *blob.Bucket {
	t.Helper()
	u, _ := url.Parse(source) // of its own making
	b, err := m.OpenBucketURL(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (m *memoryStore) bucket(*testing.T) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := fmt.Sprintf("bucket-%d", len(m.buckets))
	m.buckets[name] = memblob.OpenBucket(nil)
	return m.scheme + "://" + name
}

func (m *memoryStore) put(t *testing.T, source, key string, o mediaObject) {
	t.Helper()
	if err := m.open(t, source).WriteAll(t.Context(), key, o.Data, &blob.WriterOptions{
		ContentType: o.Headers["Content-Type"], CacheControl: o.Headers["Cache-Control"], ContentDisposition: o.Headers["Content-Disposition"],
		ContentEncoding: o.Headers["Content-Encoding"], ContentLanguage: o.Headers["Content-Language"], Metadata: o.Custom,
	}); err != nil {
		t.Fatal(err)
	}
}

func (m *memoryStore) objects(t *testing.T, source string) map[string]mediaObject {
	t.Helper()
	b := m.open(t, source)
	found := make(map[string]mediaObject)
	for it := b.List(nil); ; {
		listed, err := it.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		a, err := b.Attributes(t.Context(), listed.Key)
		if err != nil {
			t.Fatal(err)
		}
		data, err := b.ReadAll(t.Context(), listed.Key)
		if err != nil {
			t.Fatal(err)
		}
		o := mediaObject{Headers: map[string]string{}, Custom: map[string]string{}, Data: data}
		maps.Copy(o.Custom, a.Metadata)
		for name, value := range map[string]string{
			"Content-Type": a.ContentType, "Cache-Control": a.CacheControl, "Content-Disposition": a.ContentDisposition,
			"Content-Encoding": a.ContentEncoding, "Content-Language": a.ContentLanguage,
		} {
			if value != "" {
				o.Headers[name] = value
			}
		}
		found[listed.Key] = o
	}
}

// sameMedia compares two sets of objects.
func sameMedia(t *testing.T, what string, want, got map[string]mediaObject) {
	t.Helper()
	texts := func(all map[string]mediaObject) map[string]string {
		out := make(map[string]string, len(all))
		for key, o := range all {
			out[key] = o.text()
		}
		return out
	}
	if diff := cmp.Diff(texts(want), texts(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%.3000s", what, diff)
	}
}

// TestMedia takes objects of every kind from a bucket through an archive into an empty bucket, and holds them to be equal in
// content and metadata by what the store says of both.
func TestMedia(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]mediaStore{
		"memory": memory, "s3": s3Store{testenv.NewS3(t, 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := mediaObjects(mediaCount)
			source, target, archive := store.bucket(t), store.bucket(t), filepath.Join(t.TempDir(), "archive")
			for key, o := range want {
				store.put(t, source, key, o)
			}
			started := time.Now()
			id := strings.TrimSpace(mustCall(t, "dump", "--archive", archive, "--quiet", "media:"+source))
			t.Logf("dumped in %v", time.Since(started))
			mustCall(t, "verify", "--archive", archive)
			started = time.Now()
			mustCall(t, "restore", "--archive", archive, id, "--into", "media=media:"+target)
			t.Logf("restored in %v", time.Since(started))
			sameMedia(t, "the restored bucket", want, store.objects(t, target))
		})
	}
}

// TestMediaRequests: a dump looks at each object once, the second too.
func TestMediaRequests(t *testing.T) {
	t.Parallel()
	server := testenv.NewS3(t, 1000)
	bucket := server.Bucket(t)
	const objects = 300
	for i := range objects {
		server.Write(t, bucket, fmt.Sprintf("key-%03d", i), nil, []byte("text"))
	}
	var heads, gets atomic.Int64
	server.Handle = func(_ http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodHead:
			heads.Add(1)
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/key-"):
			gets.Add(1)
		}
		return false
	}
	archive := filepath.Join(t.TempDir(), "archive")
	for i, want := range [][2]int64{{objects, objects}, {objects, 0}} {
		mustCall(t, "dump", "--archive", archive, "--quiet", "media:"+server.URL(bucket, ""))
		if got := [2]int64{heads.Swap(0), gets.Swap(0)}; got != want {
			t.Errorf("dump %d: %d objects were looked at and %d read, want %d", i+1, got[0], got[1], want)
		}
	}
}

// TestMediaAgain restores into a bucket that holds some of it already.
func TestMediaAgain(t *testing.T) {
	t.Parallel()
	server := testenv.NewS3(t, 1000)
	store := s3Store{server}
	want := mediaObjects(60)
	source, target, archive := store.bucket(t), store.bucket(t), filepath.Join(t.TempDir(), "archive")
	for key, o := range want {
		store.put(t, source, key, o)
	}
	mustCall(t, "dump", "--archive", archive, "--quiet", "media:"+source)
	restore := func(flags ...string) (stderr string, code int) {
		_, stderr, code = call(t, append([]string{"restore", "--archive", archive, "--into", "media=media:" + target}, flags...)...)
		return stderr, code
	}
	if stderr, code := restore(); code != exitOK {
		t.Fatalf("restore: exit code %d\n%s", code, stderr)
	}
	modified := server.Modified(t, store.name(target))
	if stderr, code := restore(); code != exitOK || !strings.Contains(stderr, "60 were equal already") {
		t.Errorf("restore again: exit code %d\n%s", code, stderr)
	}
	if diff := cmp.Diff(modified, server.Modified(t, store.name(target))); diff != "" {
		t.Errorf("objects that were equal were written (-before +after):\n%s", diff)
	}

	changed := want["a"]
	changed.Headers = map[string]string{"Content-Type": "x/other"}
	store.put(t, target, "a", changed)
	for _, key := range []string{"a/extra", "extra", "extra/below", "extra//../x"} {
		store.put(t, target, key, want["a"])
	}
	if stderr, code := restore(); code != exitUsage || !strings.Contains(stderr, "--overwrite") {
		t.Errorf("restore onto other objects: exit code %d\n%s", code, stderr)
	}
	if stderr, code := restore("--overwrite"); code != exitOK {
		t.Errorf("overwrite: exit code %d\n%s", code, stderr)
	}
	more := maps.Clone(want)
	for _, key := range []string{"a/extra", "extra", "extra/below", "extra//../x"} {
		more[key] = want["a"]
	}
	sameMedia(t, "after --overwrite", more, store.objects(t, target))
	if stderr, code := restore("--mirror"); code != exitOK {
		t.Errorf("mirror: exit code %d\n%s", code, stderr)
	}
	sameMedia(t, "after --mirror", want, store.objects(t, target))

	// The source is the same place from every host, and so is a folder in it.
	for _, place := range []string{source, strings.Replace(source, "?", "/folder?", 1)} {
		if _, stderr, code := call(t, "restore", "--archive", archive, "--mirror", "--into", "media=media:"+place); code != exitUsage || !strings.Contains(stderr, "--in-place") {
			t.Errorf("restore onto the source: exit code %d\n%s", code, stderr)
		}
	}

	// A directory holds what can be files; the rest is listed.
	dir := filepath.Join(t.TempDir(), "dir")
	_, stderr, code := call(t, "restore", "--archive", archive, "--into", "media=media:"+dir)
	if code != exitIncomplete || !strings.Contains(stderr, `../up`) {
		t.Errorf("restore into a directory: exit code %d\n%s", code, stderr)
	}
	for key, o := range want {
		if !strings.HasPrefix(key, "dir-") {
			continue
		}
		if data, err := os.ReadFile(filepath.Join(dir, key)); err != nil || !bytes.Equal(data, o.Data) {
			t.Errorf("%q in a directory: %d bytes, %v", key, len(data), err)
		}
	}
	if beside, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(beside) != 1 {
		t.Errorf("outside of the target are %v, %v", beside, err)
	}
	_, stderr, code = call(t, "restore", "--archive", archive, "--into", "media=dir:"+dir)
	if code != exitUsage || !strings.Contains(stderr, "--into media=media:DIR") {
		t.Errorf("restore by another driver: exit code %d\n%s", code, stderr)
	}
}
