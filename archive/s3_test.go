package archive

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeS3 speaks as much of S3 as the client of an archive needs: conditional writes, ranges, lists in small pages,
// multipart uploads. It has one bucket, "backups".
type fakeS3 struct {
	mu      sync.Mutex
	objects map[string][]byte
	uploads map[string]map[int][]byte
	deny    bool
	puts    int
}

const maxKeys = 3

func newFakeS3(t *testing.T) (*fakeS3, string) {
	t.Helper()
	f := &fakeS3{objects: map[string][]byte{}, uploads: map[string]map[int][]byte{}}
	server := httptest.NewUnstartedServer(f)
	server.Config.SetKeepAlivesEnabled(false)
	server.Start()
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	return f, "endpoint=" + server.URL + "&region=eu-west-1&use_path_style=true&request_checksum_calculation=when_required"
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch {
	case f.deny:
		s3Error(w, http.StatusForbidden, "AccessDenied")
	case bucket != "backups":
		s3Error(w, http.StatusNotFound, "NoSuchBucket")
	case key == "":
		f.list(w, q.Get("prefix"), q.Get("delimiter"), q.Get("continuation-token"))
	case q.Has("uploads"):
		f.uploads[key] = map[int][]byte{}
		_, _ = fmt.Fprintf(w, `<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>`, "u")
	case q.Has("partNumber"):
		n, _ := strconv.Atoi(q.Get("partNumber"))
		f.uploads[key][n] = body
		w.Header().Set("ETag", `"part"`)
	case r.Method == http.MethodPost:
		var all []byte
		for n := 1; n <= len(f.uploads[key]); n++ {
			all = append(all, f.uploads[key][n]...)
		}
		f.put(w, r, key, all)
	case r.Method == http.MethodPut:
		f.put(w, r, key, body)
	case r.Method == http.MethodDelete:
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		f.get(w, r, key)
	}
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<Error><Code>%s</Code><Message>no</Message></Error>`, code)
}

func (f *fakeS3) put(w http.ResponseWriter, r *http.Request, key string, data []byte) {
	if _, ok := f.objects[key]; ok && r.Header.Get("If-None-Match") == "*" {
		s3Error(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	f.puts++
	f.objects[key] = data
	w.Header().Set("ETag", `"x"`)
	if r.Method == http.MethodPost {
		_, _ = fmt.Fprintf(w, `<CompleteMultipartUploadResult><Key>%s</Key><ETag>"x"</ETag></CompleteMultipartUploadResult>`, key)
	}
}

func (f *fakeS3) get(w http.ResponseWriter, r *http.Request, key string) {
	data, ok := f.objects[key]
	if !ok {
		s3Error(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	if r.Header.Get("Range") != "" && strings.HasPrefix(r.Header.Get("Range"), fmt.Sprintf("bytes=%d-", len(data))) {
		s3Error(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
		return
	}
	http.ServeContent(w, r, "", time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), bytes.NewReader(data))
}

func (f *fakeS3) list(w http.ResponseWriter, prefix, delimiter, after string) {
	type content struct {
		Key          string
		Size         int
		LastModified string
	}
	type prefixes struct{ Prefix string }
	var result struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
		CommonPrefixes        []prefixes
	}
	names := map[string]int{}
	for key, data := range f.objects {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		rest := key[len(prefix):]
		if i := strings.Index(rest, "/"); delimiter != "" && i >= 0 {
			names[prefix+rest[:i+1]] = -1
		} else {
			names[key] = len(data)
		}
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		if name > after {
			sorted = append(sorted, name)
		}
	}
	slices.Sort(sorted)
	if len(sorted) > maxKeys {
		sorted = sorted[:maxKeys]
		result.IsTruncated, result.NextContinuationToken = true, sorted[maxKeys-1]
	}
	for _, name := range sorted {
		if size := names[name]; size < 0 {
			result.CommonPrefixes = append(result.CommonPrefixes, prefixes{name})
		} else {
			result.Contents = append(result.Contents, content{name, size, "2026-11-22T00:00:00Z"})
		}
	}
	_ = xml.NewEncoder(w).Encode(result)
}

// It sets the environment, so it is not parallel.
func TestS3(t *testing.T) {
	f, query := newFakeS3(t)
	ctx := t.Context()
	_, err := Open(ctx, "s3://nowhere/x?"+query, Options{})
	wantError(t, err, ErrNotFound)
	_, err = Create(ctx, "s3://nowhere/x?"+query, Options{})
	wantError(t, err, ErrNotFound)
	_, err = Open(ctx, "s3://backups/a/b?"+query, Options{})
	wantError(t, err, ErrNotArchive)
	a := create(t, "s3://backups/a/b?"+query, Options{})
	if !strings.HasPrefix(a.Location(), "s3://backups/a/b?endpoint=http") {
		t.Errorf("location is %s", a.Location())
	}

	s := newSample(testRef)
	s.parts["database"] = noise(5, 40<<20) // a multipart upload
	if err := errors.Join(s.put(ctx, a), s.check(ctx, a)); err != nil {
		t.Fatal(err)
	}
	if sum, findings := verify(t, a); !sum.OK() || len(findings) > 0 {
		t.Errorf("verify says %+v %+v", sum, findings)
	}
	for key := range f.objects {
		if !strings.HasPrefix(key, "a/b/") {
			t.Errorf("object %s is outside of the prefix", key)
		}
	}
	m := must(a.Manifest(ctx, testRef))(t)
	m.Nodes = m.Nodes[:1]
	wantError(t, a.Commit(ctx, m), ErrExists)

	puts := f.puts
	w := must(a.CreatePart(ctx, testRef, PartName{Node: "n", Name: "aborted", Token: "t", Size: 1 << 30}))(t)
	if _, err := w.Write(noise(1, 20<<20)); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if f.puts != puts {
		t.Error("an aborted upload was published")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = a.Manifest(ended, testRef)
	wantError(t, err, context.Canceled)
	f.mu.Lock()
	f.deny = true
	f.mu.Unlock()
	_, err = a.Manifest(ctx, testRef)
	wantError(t, err, ErrAccess)
	_, err = Open(ctx, "s3://backups/a/b?"+query, Options{})
	wantError(t, err, ErrAccess)
}
