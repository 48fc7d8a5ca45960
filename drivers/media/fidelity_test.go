package media

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/internal/testenv"
)

// sample is one object of the tests of fidelity.
type sample struct {
	key  string
	data []byte
	meta attributes // Content-Type among the headers
}

// samples makes objects of every kind of key, length and metadata. Each has its own combination. One is longer than two
// parts of an upload.
func samples(n, part int) []sample {
	random := rand.New(rand.NewPCG(7, 8))
	values := map[string][]string{
		headerCache:       {"", "no-store", "public, max-age=31536000, immutable"},
		headerDisposition: {"", `attachment; filename="a b.pdf"`, "attachment; filename*=UTF-8''%e2%82%ac%20rates"},
		headerEncoding:    {"", "gzip", "br, gzip"},
		headerLanguage:    {"", "de", "mi, en"},
	}
	types := []string{"image/png", "text/html; charset=utf-8", "application/octet-stream", "x/y+z; a=\"b;c\""}
	custom := []map[string]string{
		nil,
		{"a": "1"},
		{"owner": "Zoë"},
		{"coded": "=?UTF-8?Q?Zo=C3=AB?="},
		{"percent": "%41%2f+ b  c"},
		{"x_1": "\"quoted\", and 'this'", "long": strings.Repeat("v", 500), "b": "2", "c": "="},
	}
	var all []sample
	content := rand.NewChaCha8([32]byte{1})
	for i := range n {
		s := sample{key: fmt.Sprintf("dir-%d/%d/object %d.jpg", i%7, i%31, i), meta: attributes{headers: map[string]string{}}}
		if i < len(oddKeys) {
			s.key = oddKeys[i]
		}
		s.meta.headers[headerType] = types[i%len(types)]
		for j, name := range []string{headerCache, headerDisposition, headerEncoding, headerLanguage} {
			if v := values[name][i/(3*j+1)%3]; v != "" {
				s.meta.headers[name] = v
			}
		}
		s.meta.custom = custom[i%len(custom)]
		size := random.IntN(200)
		switch {
		case i%97 == 0:
			size = 0
		case i == n/3: // an upload in parts
			size = 2*part + 12345
		case i%1000 == 1:
			size = 64 << 10
		}
		s.data = make([]byte, size)
		_, _ = content.Read(s.data) // never fails
		all = append(all, s)
	}
	return all
}

// copyAll dumps all entries of a tree and restores them into another, some at a time.
func copyAll(t *testing.T, from, to drivers.Tree, rules drivers.Target) {
	t.Helper()
	must(t, to.Target().Prepare(t.Context(), rules))
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(4)
	must(t, from.Walk(ctx, drivers.Range{}, func(e drivers.Entry) error {
		if e.Err != nil {
			return e.Err
		}
		group.Go(func() error {
			content, err := from.Open(ctx, e)
			if err != nil {
				return err
			}
			if err := to.Target().Put(ctx, rules, attempt, e, content); err != nil {
				return err
			}
			return content.Close()
		})
		return nil
	}))
	must(t, group.Wait())
	if w := to.Target().Warnings(); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
}

// many is how many objects go through a server here. The command's own test takes more through an archive.
const many = 600

// TestFidelityS3: what is restored into an empty bucket is what was dumped, by what the server holds of both.
func TestFidelityS3(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	source, target := s.Bucket(t), s.Bucket(t)
	want := make(map[string]string)
	for _, o := range samples(many, testPart) {
		meta := maps.Clone(o.meta.headers)
		for name, value := range o.meta.custom {
			meta[textproto.CanonicalMIMEHeaderKey("X-Amz-Meta-"+name)] = value
		}
		if len(want)%5 == 0 {
			meta[headerExpires] = "Thu, 01 Dec 2044 16:00:00 GMT"
			meta["X-Amz-Website-Redirect-Location"] = "/elsewhere"
		}
		s.Write(t, source, o.key, meta, o.data)
		want[o.key] = describe(meta, o.data)
	}
	from, to := open(t, s.URL(source, ""), ""), inParts(t, s.URL(target, ""))
	started := time.Now()
	copyAll(t, from, to, overwrite) // the careful rules take a request more for each
	t.Logf("%d objects in %v", len(want), time.Since(started))
	got := describeAll(t, s, target)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// describe is an object as a text.
func describe(meta map[string]string, data []byte) string {
	shown := maps.Clone(meta)
	maps.DeleteFunc(shown, func(name, _ string) bool {
		return name == "Last-Modified" || strings.HasPrefix(name, "X-Amz-Checksum") || strings.HasPrefix(name, "X-Amz-Sdk")
	})
	return fmt.Sprintf("%q %d %x", shown, len(data), sha256.Sum256(data))
}

// describeAll describes all objects of a bucket, by the server's memory.
func describeAll(t *testing.T, s *testenv.S3, bucket string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, key := range s.Keys(t, bucket) {
		meta, data := s.Read(t, bucket, key)
		found[key] = describe(meta, data)
	}
	return found
}

func TestFidelityMemory(t *testing.T) {
	t.Parallel()
	m := &memory{}
	source, target := m.bucket(m.make(t)), m.bucket(m.make(t))
	want := make(map[string]string)
	for _, o := range samples(2000, testPart) {
		must(t, source.WriteAll(t.Context(), o.key, o.data, &blob.WriterOptions{
			ContentType: o.meta.headers[headerType], CacheControl: o.meta.headers[headerCache],
			ContentDisposition: o.meta.headers[headerDisposition], ContentEncoding: o.meta.headers[headerEncoding],
			ContentLanguage: o.meta.headers[headerLanguage], Metadata: o.meta.custom,
		}))
		want[o.key] = describe(joined(o.meta), o.data)
	}
	var trees []drivers.Tree
	for _, b := range []*blob.Bucket{source, target} {
		trees = append(trees, newTree(location{provider: "mem", display: "mem://"}, shared{&portable{bucket: b}}, nil))
	}
	copyAll(t, trees[0], trees[1], careful)
	got := make(map[string]string)
	for it := target.List(nil); ; {
		o, err := it.Next(t.Context())
		if err != nil {
			break
		}
		data, err := target.ReadAll(t.Context(), o.Key)
		must(t, err)
		a, err := target.Attributes(t.Context(), o.Key)
		must(t, err)
		got[o.Key] = describe(joined(attributes{
			headers: headersOf(&a.ContentType, map[string]*string{
				headerCache: &a.CacheControl, headerDisposition: &a.ContentDisposition, headerEncoding: &a.ContentEncoding,
				headerLanguage: &a.ContentLanguage,
			}), custom: a.Metadata,
		}), data)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// joined is headers and metadata together.
func joined(a attributes) map[string]string {
	all := maps.Clone(a.headers)
	for name, value := range a.custom {
		all["meta "+name] = value
	}
	return all
}
