package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rclone/gofakes3"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/internal/secret"
	"salvor/internal/testenv"
)

// wantError wants an error of a class, with a hint or without.
func wantError(t *testing.T, what string, err, class error, hint string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("%s: got error %v, want %q", what, err, class)
	}
	var h interface{ Hint() string }
	if got := ""; hint != "" {
		if errors.As(err, &h) {
			got = h.Hint()
		}
		if !strings.Contains(got, hint) {
			t.Errorf("%s: got hint %q, want one with %q", what, got, hint)
		}
	}
}

// nothing is a yield that wants no entry.
func nothing(t *testing.T) func(drivers.Entry) error {
	t.Helper()
	return func(e drivers.Entry) error {
		t.Errorf("found %q", e.Path)
		return nil
	}
}

func TestNoBucket(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	gcs := newGCSServer(t)
	azure := newAzureServer(t)
	trees := map[string]drivers.Tree{"s3": open(t, s.URL("absent", ""), ""), "gs": gcs.tree(t, "absent"), "azblob": azure.tree(t, "absent")}
	for name, tree := range trees {
		wantError(t, name+" walk", tree.Walk(t.Context(), drivers.Range{}, nothing(t)), drivers.ErrNotFound, "")
		wantError(t, name+" prepare", tree.Target().Prepare(t.Context(), careful), drivers.ErrNotFound, "create it first")
		_, err := tree.Open(t.Context(), drivers.Entry{Path: "a", Type: drivers.TypeFile, Size: 1})
		wantError(t, name+" open", err, drivers.ErrNotFound, "")
		wantError(t, name+" put", putText(t, tree, overwrite, drivers.Entry{Path: "a"}, "x"), drivers.ErrNotFound, "")
	}
}

func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	s.Fake.AddAuthKeys(map[string]string{testenv.S3Access: "another"})
	tree := open(t, s.URL(bucket, ""), "")
	wantError(t, "walk", tree.Walk(t.Context(), drivers.Range{}, nothing(t)), drivers.ErrAccess, "credentials")
	wantError(t, "prepare", tree.Target().Prepare(t.Context(), careful), drivers.ErrAccess, "credentials")
	wantError(t, "put", putText(t, tree, overwrite, drivers.Entry{Path: "a"}, "x"), drivers.ErrAccess, "credentials")
}

// deny answers a request as a policy would that forbids it.
func deny(w http.ResponseWriter) bool {
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, `<Error><Code>AccessDenied</Code><Message>no</Message></Error>`)
	return true
}

// TestReadOnly: credentials that may only read are refused before anything is tried with each entry.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	s.Handle = func(w http.ResponseWriter, r *http.Request) bool {
		return (r.Method == http.MethodPut || r.Method == http.MethodPost) && deny(w)
	}
	tree := open(t, s.URL(bucket, ""), "")
	wantError(t, "prepare", tree.Target().Prepare(t.Context(), careful), drivers.ErrAccess, "")
	must(t, tree.Walk(t.Context(), drivers.Range{}, nothing(t)))
}

// TestDeniedObject: an object that may not be looked at, or read, is reported and the rest is not missing.
func TestDeniedObject(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	for _, key := range []string{"a", "secret", "unreadable", "z"} {
		s.Write(t, bucket, key, nil, []byte("text"))
	}
	s.Handle = func(w http.ResponseWriter, r *http.Request) bool {
		return (strings.HasSuffix(r.URL.Path, "/secret") || r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/unreadable")) && deny(w)
	}
	tree := open(t, s.URL(bucket, ""), "")
	var got []string
	for _, e := range collect(t, tree, drivers.Range{}) {
		text := e.Path
		if errors.Is(e.Err, drivers.ErrAccess) {
			text += " denied"
		}
		got = append(got, text)
	}
	if diff := cmp.Diff([]string{"a", "secret denied", "unreadable", "z"}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if e := one(t, tree, "secret"); !errors.Is(e.Err, drivers.ErrAccess) {
		t.Errorf("one path: %+v", e)
	}
	_, err := tree.Open(t.Context(), one(t, tree, "unreadable"))
	wantError(t, "open", err, drivers.ErrAccess, "")
}

// TestServerFails: an error that may pass fails the walk, which is tried again, and is no object's own.
func TestServerFails(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	s.Write(t, bucket, "a", nil, []byte("text"))
	s.Handle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusNotImplemented) // as 500, but the client does not wait and try again
			return true
		}
		return false
	}
	err := open(t, s.URL(bucket, ""), "").Walk(t.Context(), drivers.Range{}, nothing(t))
	if err == nil || errors.Is(err, drivers.ErrAccess) || errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("walk: got error %v, want one that may pass", err)
	}
}

// TestLostConnection: a content goes on where the connection was lost, if the object is still the same.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	for _, replaced := range []bool{false, true} {
		bucket := s.Bucket(t)
		s.Write(t, bucket, "file", nil, data)
		var cuts atomic.Int64
		s.Handle = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/file") || cuts.Add(1) > 2 {
				return false
			}
			from := 0
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			}
			o, err := s.Backend.Backend.HeadObject(r.Context(), bucket, "file")
			if err != nil {
				panic(err)
			}
			w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", o.Hash)))
			w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
			if from > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			_, _ = w.Write(data[from : from+300_000]) // less than announced: the connection is closed
			return true
		}
		tree := open(t, s.URL(bucket, ""), "")
		content, err := tree.Open(t.Context(), one(t, tree, "file"))
		must(t, err)
		_, err = content.Next()
		must(t, err)
		head := make([]byte, 10)
		_, err = io.ReadFull(content, head)
		must(t, err)
		if replaced {
			cuts.Store(2)
			s.Write(t, bucket, "file", nil, bytes.ToUpper(append([]byte("x"), data[1:]...)))
		}
		rest, err := io.ReadAll(content)
		if errClose := content.Close(); err == nil {
			err = errClose
		}
		switch {
		case replaced:
			wantError(t, "read what was replaced", err, drivers.ErrChanged, "")
		case err != nil || !bytes.Equal(append(head, rest...), data):
			t.Errorf("read over lost connections: %d bytes, error %v", len(head)+len(rest), err)
		case cuts.Load() != 3:
			t.Errorf("the content was asked for %d times, want 3", cuts.Load())
		}
	}
}

// TestTakenForAnother: a server that brings keys in normal form neither gives one object for another nor has one replaced.
func TestTakenForAnother(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	s.Backend.Normal = true
	bucket := s.Bucket(t)
	for _, key := range []string{"b", "a/../b", "plain", "x/./absent", "same//size", "same/size"} {
		s.Write(t, bucket, key, nil, []byte("of "+strings.Repeat("x", len(key))))
	}
	tree := open(t, s.URL(bucket, ""), "")
	got := make(map[string]bool)
	for _, e := range collect(t, tree, drivers.Range{}) {
		got[e.Path] = errors.Is(e.Err, errTakesForAnother)
		if single := one(t, tree, e.Path); (single.Err != nil) != got[e.Path] {
			t.Errorf("%q alone: %v, in the walk: %v", e.Path, single.Err, e.Err)
		}
	}
	want := map[string]bool{"b": false, "a/../b": true, "plain": false, "x/./absent": true, "same//size": true, "same/size": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys that are taken for others (-want +got):\n%s", diff)
	}

	target := s.Bucket(t)
	s.Write(t, target, "b", nil, []byte("kept"))
	tree = open(t, s.URL(target, ""), "")
	for _, rules := range []drivers.Target{careful, overwrite} {
		for _, key := range []string{"a/../b", "./b", "c//d", "e/"} {
			wantError(t, "put "+key, putText(t, tree, rules, drivers.Entry{Path: key}, "evil"), drivers.ErrInvalid, "")
		}
		wantError(t, "remove", tree.Target().Remove(t.Context(), "a/../b"), drivers.ErrInvalid, "")
	}
	if diff := cmp.Diff([]string{"b"}, s.Keys(t, target)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if _, data := s.Read(t, target, "b"); string(data) != "kept" {
		t.Errorf("b holds %q", data)
	}
}

// listing is a store that lists what it is told to.
type listing struct {
	store
	pages [][]object
}

func (l listing) list(_, _ string) pages {
	n := 0
	return func(context.Context) ([]object, error) {
		if n == len(l.pages) {
			return nil, io.EOF
		}
		n++
		return slices.Clone(l.pages[n-1]), nil
	}
}

func listed(keys ...string) (page []object) {
	for _, key := range keys {
		page = append(page, object{key: key, complete: true})
	}
	return page
}

func TestListingOutOfOrder(t *testing.T) {
	t.Parallel()
	for _, pages := range [][][]object{
		{listed("p/b", "p/a")},
		{listed("p/b"), listed("p/a")},
		{listed("p/a", "p/a")},
		{listed("p/a"), nil, listed("q/b")}, // does not begin with the prefix
		{listed("p/a/b", "p/a-b")},
	} {
		tree := newTree(location{prefix: "p/", display: "test"}, shared{listing{pages: pages}}, nil)
		err := tree.Walk(t.Context(), drivers.Range{}, func(drivers.Entry) error { return nil })
		wantError(t, fmt.Sprint(pages), err, drivers.ErrInvalid, "")
	}
}

// TestUnstorableKeys: what no entry can be called is reported under another path, in order, within its range.
func TestUnstorableKeys(t *testing.T) {
	t.Parallel()
	pages := [][]object{listed("a", "a\x00b", "a\x00c", "b", "bad\xff", "c\x00"), listed("c\x00x", "d", strings.Repeat("n", 1100))}
	tree := newTree(location{display: "test"}, shared{listing{pages: pages}}, nil)
	var got []string
	for _, e := range collect(t, tree, drivers.Range{}) {
		if text := fmt.Sprintf("%.9s", e.Path); e.Err != nil {
			got = append(got, text+" failed")
		} else {
			got = append(got, text)
		}
	}
	want := []string{"a", "a\x01 failed", "b", "bad\xff failed", "c\x01 failed", "d", "nnnnnnnnn failed"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// testPart is the length of the parts of uploads in these tests.
const testPart = 64 << 10

// inParts opens a bucket that takes small parts.
func inParts(t *testing.T, source string) drivers.Tree {
	t.Helper()
	place, err := parseLocation(source)
	must(t, err)
	opened, err := place.openStore(t.Context(), nil)
	must(t, err)
	amazon, ok := opened.(*s3Store)
	if !ok {
		t.Fatalf("%s is a %T", source, opened)
	}
	amazon.part = testPart
	tree := newTree(place, amazon, nil)
	t.Cleanup(func() { must(t, tree.Close()) })
	return tree
}

// TestNoConditions: where a server does not know If-None-Match, the look before stands in.
func TestNoConditions(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	refused := atomic.Int64{}
	s.Handle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		refused.Add(1)
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = io.WriteString(w, `<Error><Code>NotImplemented</Code><Message>no</Message></Error>`)
		return true
	}
	tree := inParts(t, s.URL(bucket, ""))
	large := strings.Repeat("large", testPart/4)
	for key, text := range map[string]string{"small": "text", "large": large} {
		must(t, putText(t, tree, careful, drivers.Entry{Path: key}, text))
		must(t, putText(t, tree, careful, drivers.Entry{Path: key}, text))
		wantError(t, "put "+key, putText(t, tree, careful, drivers.Entry{Path: key}, "x"+text[1:]), drivers.ErrNotEmpty, "")
		if _, data := s.Read(t, bucket, key); string(data) != text {
			t.Errorf("%s holds %d other bytes", key, len(data))
		}
	}
	if refused.Load() == 0 {
		t.Error("no condition was sent")
	}
}

// TestFasterWriter: an object that appears between the look and the write is never replaced by the careful rules, and is
// no error if it is the same.
func TestFasterWriter(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("large", testPart/4)
	for name, text := range map[string]string{"small": "text", "large": large} {
		for _, same := range []bool{true, false} {
			s := newS3Server(t, 1000)
			bucket := s.Bucket(t)
			other := text
			if !same {
				other = "x" + text[1:]
			}
			var once sync.Once
			s.Handle = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("If-None-Match") != "" {
					once.Do(func() {
						meta := map[string]string{headerType: "application/octet-stream"}
						s.Write(t, bucket, "file", meta, []byte(other))
					})
				}
				return false
			}
			err := putText(t, inParts(t, s.URL(bucket, "")), careful, drivers.Entry{Path: "file"}, text)
			if same && err != nil {
				t.Errorf("%s: put of what another writer has put: %v", name, err)
			}
			if !same {
				wantError(t, name, err, drivers.ErrNotEmpty, "")
			}
			if _, data := s.Read(t, bucket, "file"); string(data) != other {
				t.Errorf("%s: the other writer's object was replaced", name)
			}
		}
	}
}

// TestUploadGivenUp: an upload in parts that ends early leaves neither an object nor parts.
func TestUploadGivenUp(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	var begun, aborted, completed atomic.Int64
	s.Handle = func(_ http.ResponseWriter, r *http.Request) bool {
		switch q := r.URL.Query(); {
		case q.Has("uploads"):
			begun.Add(1)
		case r.Method == http.MethodDelete && q.Has("uploadId"):
			aborted.Add(1)
		case r.Method == http.MethodPost:
			completed.Add(1)
		}
		return false
	}
	tree := inParts(t, s.URL(bucket, ""))
	part := strings.Repeat("x", testPart)
	broken := errors.New("broken")
	size := int64(3*testPart + 100)
	for name, pieces := range map[string][]any{
		"error": {part, part, "some", broken}, "short": {part, part, "some"}, "long": {part, part, part, strings.Repeat("y", 101)},
		"error at the end": {part, part, part, strings.Repeat("y", 100), broken},
	} {
		e := drivers.Entry{Path: name, Type: drivers.TypeFile, Size: size}
		err := tree.Target().Put(t.Context(), careful, attempt, e, drivertest.Extents(pieces...))
		if strings.HasPrefix(name, "error") {
			wantError(t, name, err, broken, "")
		} else {
			wantError(t, name, err, drivers.ErrCorrupt, "")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	content := &cancelAfter{ContentReader: drivertest.Extents(part, part, part, strings.Repeat("y", 100)), left: 2*testPart + 1, cancel: cancel}
	err := tree.Target().Put(ctx, careful, attempt, drivers.Entry{Path: "cancelled", Type: drivers.TypeFile, Size: size}, content)
	wantError(t, "cancelled", err, context.Canceled, "")
	if keys := s.Keys(t, bucket); len(keys) > 0 {
		t.Errorf("keys: %q", keys)
	}
	if begun.Load() != 5 || aborted.Load() != 5 || completed.Load() != 0 {
		t.Errorf("%d uploads, %d given up, %d completed; want 5, 5, 0", begun.Load(), aborted.Load(), completed.Load())
	}
}

// cancelAfter cancels after some bytes.
type cancelAfter struct {
	drivers.ContentReader
	left   int
	cancel func()
}

func (c *cancelAfter) Read(p []byte) (int, error) {
	n, err := c.ContentReader.Read(p)
	if c.left -= n; c.left <= 0 {
		c.cancel()
	}
	return n, err
}

// TestVersions: in a versioned bucket each write is another version, whatever the content; a content is found by its ETag.
func TestVersions(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	must(t, s.Backend.SetVersioningConfiguration(bucket, gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}))
	tree := open(t, s.URL(bucket, ""), "")
	versions := make(map[string]bool)
	for range 3 {
		must(t, putText(t, tree, overwrite, drivers.Entry{Path: "file"}, "text"))
		e := one(t, tree, "file")
		versions[e.Version] = true
		content, err := tree.Open(t.Context(), e)
		must(t, err)
		must(t, content.Close())
	}
	if len(versions) != 3 {
		t.Errorf("three writes made the versions %v", versions)
	}
	must(t, tree.Target().Remove(t.Context(), "file"))
	must(t, tree.Walk(t.Context(), drivers.Range{}, nothing(t)))
}

// TestConnectionsClosed: a closed bucket leaves no connections behind, while its server lives on.
func TestConnectionsClosed(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	bucket := s.Bucket(t)
	for n := range 50 {
		s.Write(t, bucket, fmt.Sprint(n), nil, []byte("text"))
	}
	tree, err := Open(t.Context(), drivers.Spec{Source: secret.New(s.URL(bucket, ""))})
	must(t, err)
	if n := len(collect(t, tree, drivers.Range{})); n != 50 || s.Open.Load() == 0 {
		t.Fatalf("%d entries over %d connections", n, s.Open.Load())
	}
	must(t, tree.Close())
	must(t, tree.Close())
	deadline := time.After(10 * time.Second)
	for s.Open.Load() > 0 {
		select {
		case <-deadline:
			t.Fatalf("%d connections are open", s.Open.Load())
		case <-s.Changed:
		}
	}
}
