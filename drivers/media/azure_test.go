package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/azureblob"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/drivers/internal/exclude"
	"salvor/internal/secret"
)

// azureServer speaks as much of Azure's blob service as the driver needs, after its reference; it checks no signatures.
// https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
type azureServer struct {
	url        string
	mu         sync.Mutex
	containers map[string]map[string]*azureBlob
	blocks     map[string][]byte
	tags       int
	client     *http.Client
}

type azureBlob struct {
	data     []byte
	header   http.Header // Content-Type and its like
	metadata map[string]string
	tag      string
	modified time.Time
}

func newAzureServer(t *testing.T) *azureServer {
	t.Helper()
	s := &azureServer{containers: make(map[string]map[string]*azureBlob), blocks: make(map[string][]byte)}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url, s.client = server.URL, server.Client()
	return s
}

func (s *azureServer) container(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprintf("container-%d", len(s.containers))
	s.containers[name] = make(map[string]*azureBlob)
	return name
}

// put makes a blob; s.mu is held.
func (s *azureServer) put(name, key string, b *azureBlob) {
	s.tags++
	b.tag, b.modified = fmt.Sprintf(`"0x%X"`, s.tags), time.Now()
	s.containers[name][key] = b
}

func (s *azureServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	if b := s.answer(w, r, body); b != nil {
		b.serve(w, r) // a client may read slowly, and ask for something else meanwhile
	}
}

// answer answers a request, or returns the blob that is to be read.
func (s *azureServer) answer(w http.ResponseWriter, r *http.Request, body []byte) (toRead *azureBlob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	key, err := url.PathUnescape(key)
	blobs := s.containers[name]
	b := blobs[key]
	q := r.URL.Query()
	switch {
	case err != nil:
		azureError(w, http.StatusBadRequest, "InvalidUri")
	case blobs == nil:
		azureError(w, http.StatusNotFound, "ContainerNotFound")
	case q.Get("comp") == "list":
		s.list(w, blobs, q)
	case r.Method == http.MethodPut && q.Get("comp") == "block":
		s.blocks[name+"/"+key+"?"+q.Get("blockid")] = body
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && b != nil && r.Header.Get("If-None-Match") == "*":
		azureError(w, http.StatusConflict, "BlobAlreadyExists")
	case r.Method == http.MethodPut:
		if q.Get("comp") == "blocklist" {
			var ids struct{ Latest []string }
			if err := xml.Unmarshal(body, &ids); err != nil {
				azureError(w, http.StatusBadRequest, "InvalidXmlDocument")
				return nil
			}
			body = nil
			for _, id := range ids.Latest {
				body = append(body, s.blocks[name+"/"+key+"?"+id]...)
			}
		}
		s.put(name, key, azureBlobOf(r.Header, body))
		w.WriteHeader(http.StatusCreated)
	case b == nil:
		azureError(w, http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodDelete:
		delete(blobs, key)
		w.WriteHeader(http.StatusAccepted)
	case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != b.tag:
		azureError(w, http.StatusPreconditionFailed, "ConditionNotMet")
	default:
		return b
	}
	return nil
}

func azureError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
}

func azureBlobOf(h http.Header, data []byte) *azureBlob {
	b := &azureBlob{data: data, header: http.Header{}, metadata: make(map[string]string)}
	for _, name := range standardHeaders() {
		if v := h.Get("X-Ms-Blob-" + name); v != "" {
			b.header.Set(name, v)
		}
	}
	if b.header.Get(headerType) == "" {
		b.header.Set(headerType, "application/octet-stream")
	}
	for name, v := range h {
		if rest, ok := strings.CutPrefix(name, "X-Ms-Meta-"); ok {
			b.metadata[strings.ToLower(rest)] = v[0] // the case is lost on the way to a Go server
		}
	}
	return b
}

func (b *azureBlob) serve(w http.ResponseWriter, r *http.Request) {
	maps.Copy(w.Header(), b.header)
	w.Header().Set("ETag", b.tag)
	w.Header().Set("Last-Modified", b.modified.UTC().Format(http.TimeFormat))
	data, status := b.data, http.StatusOK
	if from, ok := strings.CutPrefix(r.Header.Get("X-Ms-Range"), "bytes="); ok {
		offset, _ := strconv.Atoi(strings.TrimSuffix(from, "-"))
		data, status = data[min(offset, len(data)):], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// list gives small pages. A name that is no XML is encoded, and said to be.
func (s *azureServer) list(w http.ResponseWriter, blobs map[string]*azureBlob, q url.Values) {
	limit := 23
	if n, err := strconv.Atoi(q.Get("maxresults")); err == nil {
		limit = min(limit, n)
	}
	marker, _ := hex.DecodeString(q.Get("marker")) // opaque to the client
	from := max(q.Get("startFrom"), string(marker))
	var page strings.Builder
	next := ""
	n := 0
	for _, key := range slices.Sorted(maps.Keys(blobs)) {
		if !strings.HasPrefix(key, q.Get("prefix")) || key < from {
			continue
		}
		if n == limit {
			next = key
			break
		}
		n++
		b := blobs[key]
		page.WriteString("<Blob><Name" + azureName(key) + "</Name><Properties>")
		fmt.Fprintf(&page, "<Etag>%s</Etag><Content-Length>%d</Content-Length><Last-Modified>%s</Last-Modified>",
			strings.Trim(b.tag, `"`), len(b.data), b.modified.UTC().Format(http.TimeFormat))
		for name, v := range b.header {
			fmt.Fprintf(&page, "<%s>%s</%s>", name, escaped(v[0]), name)
		}
		page.WriteString("</Properties><Metadata>")
		for name, v := range b.metadata {
			fmt.Fprintf(&page, "<%s>%s</%s>", name, escaped(v), name)
		}
		page.WriteString("</Metadata></Blob>")
	}
	w.Header().Set("Content-Type", "application/xml")
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>%s</Blobs><NextMarker>%s</NextMarker></EnumerationResults>`,
		page.String(), hex.EncodeToString([]byte(next)))
}

func azureName(key string) string {
	if text := escaped(key); !strings.Contains(text, "\ufffd") && !strings.ContainsAny(key, "\r\ufffe") {
		return ">" + text
	}
	return ` Encoded="true">` + strings.ReplaceAll(url.QueryEscape(key), "+", "%20")
}

func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder never fails
	return b.String()
}

// kind is the driver for the server's containers. The client is gocloud's, without credentials.
func (s *azureServer) kind() drivers.Kind {
	kind := Kind()
	kind.Open = func(ctx context.Context, spec drivers.Spec) (drivers.Source, error) {
		name := spec.Source.Reveal()
		client, err := container.NewClientWithNoCredential(s.url+"/"+name, &container.ClientOptions{ClientOptions: policyOptions(s.client)})
		if err != nil {
			return nil, err
		}
		b, err := azureblob.OpenBucket(ctx, client, nil)
		if err != nil {
			return nil, err
		}
		place := location{provider: "azblob", bucket: name, display: "azblob://" + name}
		azure, ok := place.storeOf(b, nil).(*azureStore)
		if !ok {
			return nil, errors.New("not the provider's own client")
		}
		azure.part = 1 << 20
		return newTree(place, azure, exclude.List{}), nil
	}
	return kind
}

func TestConformanceAzure(t *testing.T) {
	t.Parallel()
	s := newAzureServer(t)
	drivertest.Tree(t, drivertest.TreeHarness{
		Kind:  s.kind(),
		Empty: s.container,
		Write: func(t *testing.T, place, path string, data []byte) {
			t.Helper()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.put(place, path, azureBlobOf(nil, data))
		},
		Remove: func(t *testing.T, place, path string) {
			t.Helper()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.containers[place], path)
		},
		Names: fewKeys, Unsafe: unsafeKeys,
	})
}

func policyOptions(client *http.Client) policy.ClientOptions {
	return policy.ClientOptions{Transport: client, Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Millisecond}}
}

// TestFidelityAzure: as TestFidelityS3.
func TestFidelityAzure(t *testing.T) {
	t.Parallel()
	s := newAzureServer(t)
	source, target := s.container(t), s.container(t)
	for _, o := range samples(300, 1<<20) {
		b := azureBlobOf(nil, o.data)
		for name, value := range o.meta.headers {
			b.header.Set(name, value)
		}
		maps.Copy(b.metadata, o.meta.custom)
		s.mu.Lock()
		s.put(source, o.key, b)
		s.mu.Unlock()
	}
	copyAll(t, s.tree(t, source), s.tree(t, target), careful)
	all := func(name string) map[string]string {
		found := make(map[string]string)
		for key, b := range s.containers[name] {
			found[key] = fmt.Sprintf("%q %q %d %x", b.header, b.metadata, len(b.data), sha256.Sum256(b.data))
		}
		return found
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(all(source), all(target)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if n := len(s.containers[target]); n != 300 {
		t.Errorf("the target has %d objects", n)
	}
}

// tree opens a container.
func (s *azureServer) tree(t *testing.T, name string) drivers.Tree {
	t.Helper()
	source, err := s.kind().Open(t.Context(), drivers.Spec{Source: secret.New(name)})
	must(t, err)
	t.Cleanup(func() { must(t, source.Close()) })
	return asTree(t, source)
}
