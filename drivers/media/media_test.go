package media

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/internal/secret"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		``: "", ` `: "", `{}`: "", `{"exclude":[]}`: "", `{"exclude":["tmp/**"]}`: "",
		`[]`:                        "options: not a mapping of keys: not valid",
		`{"exclude":"a"}`:           "exclude: must be a list of patterns: not valid",
		`{"exclude":null}`:          "exclude: must be a list of patterns: not valid",
		`{"exclude":["a//b"]}`:      `exclude: pattern "a//b": empty name between slashes: not valid`,
		`{"one_file_system":false}`: "one_file_system: unknown option (have exclude): not valid",
	} {
		got := ""
		if err := Kind().Check([]byte(options)); err != nil {
			got = err.Error()
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Errorf("%s: error of another class: %v", options, err)
			}
		}
		if got != want {
			t.Errorf("%s: got error %q, want %q", options, got, want)
		}
	}
}

func TestLocations(t *testing.T) {
	t.Parallel()
	type parsed struct{ Dir, Provider, Bucket, Prefix, Display string }
	for source, want := range map[string]parsed{
		"dir":                     {Dir: "dir", Display: "dir"},
		"/srv/a b":                {Dir: "/srv/a b", Display: "/srv/a b"},
		"a:b":                     {Dir: "a:b", Display: "a:b"},
		"file:///srv/a%20b":       {Dir: "/srv/a b", Display: "/srv/a b"},
		"file://localhost/srv":    {Dir: "/srv", Display: "/srv"},
		"s3://b":                  {Provider: "s3", Bucket: "b", Display: "s3://b"},
		"s3://b/":                 {Provider: "s3", Bucket: "b", Display: "s3://b"},
		"s3://b/a/b?region=x":     {Provider: "s3", Bucket: "b", Prefix: "a/b/", Display: "s3://b/a/b/"},
		"s3://b/a%20b/":           {Provider: "s3", Bucket: "b", Prefix: "a b/", Display: "s3://b/a b/"},
		"gs://b?prefix=site-":     {Provider: "gs", Bucket: "b", Prefix: "site-", Display: "gs://b/site-"},
		"azblob://c?prefix=%2Fx/": {Provider: "azblob", Bucket: "c", Prefix: "/x/", Display: "azblob://c//x/"},
		"s3://b?endpoint=https://u:p@h:9000&kmskeyid=secret": {Provider: "s3", Bucket: "b", Display: "s3://b at h:9000"},
	} {
		l, err := parseLocation(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if diff := cmp.Diff(want, parsed{l.dir, l.provider, l.bucket, l.prefix, l.display}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
	for source, want := range map[string]string{
		"":                    "the source is empty",
		"ftp://host/dir":      `unknown scheme "ftp" (have azblob, file, gs, mem, s3, or a directory)`, // mem is the tests' own
		"s3://":               "source s3:// names no bucket",
		"s3://b/a?prefix=b":   "source s3://b/b: a path and ?prefix=, which mean the same",
		"file://srv/a":        "source file://srv",
		"s3://KEY:SECRET@b/a": "source s3://b: no user or password can stand before a bucket's name",
		"s3://b?x=%zz":        "",
		"s3://us er:pw@b/%zz": "the source is no URL",
	} {
		_, err := parseLocation(source)
		if source == "s3://b?x=%zz" {
			continue // what a query cannot hold is gocloud's to refuse
		}
		if !errors.Is(err, drivers.ErrInvalid) || strings.Split(err.Error(), ": not valid")[0] != want {
			t.Errorf("%s: got error %v, want %s", source, err, want)
		}
	}
}

// TestOpenErrors: what is secret in a URL is not in the error.
func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"s3://b?unknown=SECRET", "s3://b?region=x&anonymous=SECRET", "gs://b?anonymous=SECRET", "gs://b?private_key_path=SECRET", "s3://b?ssetype=SECRET", "s3://b?disable_https=SECRET",
	} {
		_, err := Open(t.Context(), drivers.Spec{Node: "site/media", Source: secret.New(source)})
		if !errors.Is(err, drivers.ErrInvalid) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: got error %v", source, err)
		}
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"s3://b?region=eu-west-1":                                     "bucket:s3:aws/b/",
		"s3://b/a?region=us-east-1":                                   "bucket:s3:aws/b/a/",
		"s3://b/a?region=us-east-1&endpoint=http://Minio.local:9000/": "bucket:s3:minio.local:9000/b/a/",
		"s3://b?prefix=a/&region=eu-west-1&endpoint=minio.local:9000": "bucket:s3:minio.local:9000/b/a/",
		"s3://b?region=eu-west-1&endpoint=https://minio.local:9000":   "bucket:s3:minio.local:9000/b/",
	} {
		ids, err := open(t, source, "").Identities(t.Context())
		if diff := cmp.Diff([]string{want}, ids); err != nil || diff != "" {
			t.Errorf("%s: error %v, identities (-want +got):\n%s", source, err, diff)
		}
	}
	s, azure := newGCSServer(t), newAzureServer(t)
	for want, tree := range map[string]drivers.Tree{
		"bucket:gs:google/x/": s.tree(t, "x"),
		"bucket:azblob:" + strings.TrimPrefix(azure.url, "http://") + "/x/": azure.tree(t, "x"),
	} {
		ids, err := tree.Identities(t.Context())
		if diff := cmp.Diff([]string{want}, ids); err != nil || diff != "" {
			t.Errorf("error %v, identities (-want +got):\n%s", err, diff)
		}
	}
}

func TestExclude(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 3)
	bucket := s.Bucket(t)
	for _, key := range []string{"m/a", "m/a.tmp", "m/cache/", "m/cache/x/y", "m/sub/cache/z", "m/tmp/", "m/tmp/x", "m/z"} {
		s.Write(t, bucket, key, nil, []byte("text"))
	}
	tree := open(t, s.URL(bucket, "/m"), `{"exclude":["cache/", "*.tmp", "tmp/**"]}`)
	var got []string
	for _, e := range collect(t, tree, drivers.Range{}) {
		got = append(got, e.Path)
	}
	if diff := cmp.Diff([]string{"a", "tmp/", "z"}, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	must(t, tree.Walk(t.Context(), drivers.Range{From: "cache/x/y", To: "cache/x/y\x00"}, nothing(t)))
}

// TestPrefixMarker: the marker of the prefix's own folder is an object like others, where a target has a prefix.
func TestPrefixMarker(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 1000)
	source, target := s.Bucket(t), s.Bucket(t)
	s.Write(t, source, "m/", map[string]string{headerType: "x/folder"}, nil)
	s.Write(t, source, "m/a", map[string]string{headerType: "x/file"}, []byte("text"))
	from := open(t, s.URL(source, "/m"), "")
	copyAll(t, from, open(t, s.URL(target, "/n"), ""), careful)
	if diff := cmp.Diff([]string{"n/", "n/a"}, s.Keys(t, target)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	root := open(t, s.URL(s.Bucket(t), ""), "")
	copyWithWarnings(t, from, root)
	if diff := cmp.Diff(map[string]int64{warnRoot: 1}, root.Target().Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// TestLosses: what a store cannot hold is left out and counted, and then the object is the same.
func TestLosses(t *testing.T) {
	t.Parallel()
	all := drivers.Meta{
		Mode: 0o644,
		Headers: map[string]string{
			headerType: "image/png", headerExpires: "Thu, 01 Dec 2044 16:00:00 GMT", headerRedirect: "/x", headerMissing: "2", "X-Other": "y",
			headerLanguage: "de",
		},
		Custom: map[string]string{"a": "1", "A": "2", "dash-ed": "3", "spa ce": "4", "lines": "5\n6", "around": " 7 ", "é": "8", "": "9", "UP_1": "ä"},
	}
	s, azure, gcs := newS3Server(t, 1000), newAzureServer(t), newGCSServer(t)
	m := &memory{}
	mem, err := m.kind("").Open(t.Context(), drivers.Spec{Source: secret.New(m.make(t))})
	must(t, err)
	for name, test := range map[string]struct {
		tree   drivers.Tree
		custom map[string]string
		lost   map[string]int64
	}{
		"s3": {
			open(t, s.URL(s.Bucket(t), ""), ""),
			map[string]string{"a": "2", "dash-ed": "3", "around": "7", "up_1": "ä"},
			map[string]int64{lostMetadata: 5, lostSpaces: 1, lostMissing: 1, lostHeader("X-Other"): 1, warnFile: 1},
		},
		"azblob": {
			azure.tree(t, azure.container(t)), nil, // the test server does not keep the case of names
			map[string]int64{
				lostMetadata: 5, lostSpaces: 1, lostMissing: 1, lostHeader("X-Other"): 1, lostHeader(headerExpires): 1,
				lostHeader(headerRedirect): 1, warnFile: 1,
			},
		},
		"gs": {
			gcs.tree(t, gcs.bucket(t)),
			map[string]string{"a": "1", "A": "2", "dash-ed": "3", "spa ce": "4", "lines": "5\n6", "around": " 7 ", "é": "8", "UP_1": "ä"},
			map[string]int64{
				lostMetadata: 1, lostMissing: 1, lostHeader("X-Other"): 1, lostHeader(headerExpires): 1, lostHeader(headerRedirect): 1, warnFile: 1,
			},
		},
		"mem": {
			asTree(t, mem),
			map[string]string{"a": "2", "dash-ed": "3", "spa ce": "4", "lines": "5\n6", "around": " 7 ", "é": "8", "up_1": "ä"},
			map[string]int64{
				lostMetadata: 2, lostMissing: 1, lostHeader("X-Other"): 1, lostHeader(headerExpires): 1, lostHeader(headerRedirect): 1, warnFile: 1,
			},
		},
	} {
		e := drivers.Entry{Path: "file", Meta: all}
		must(t, putText(t, test.tree, careful, e, "text"))
		if diff := cmp.Diff(test.lost, test.tree.Target().Warnings()); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", name, diff)
		}
		if test.custom == nil {
			continue
		}
		have := one(t, test.tree, "file")
		if diff := cmp.Diff(test.custom, have.Meta.Custom); diff != "" {
			t.Errorf("%s: custom metadata (-want +got):\n%s", name, diff)
		}
		e.Type, e.Size = drivers.TypeFile, 4
		if !test.tree.Target().Same(e, have) {
			t.Errorf("%s: not the same: %+v", name, have)
		}
		for what, change := range map[string]func(m *drivers.Meta){
			"type":        func(m *drivers.Meta) { m.Headers[headerType] = "image/gif" },
			"header":      func(m *drivers.Meta) { m.Headers[headerLanguage] = "en" },
			"header gone": func(m *drivers.Meta) { delete(m.Headers, headerLanguage) },
			"header more": func(m *drivers.Meta) { m.Headers[headerCache] = "no-store" },
			"custom":      func(m *drivers.Meta) { m.Custom["dash-ed"] = "x" },
			"custom gone": func(m *drivers.Meta) { delete(m.Custom, "dash-ed") },
			"custom more": func(m *drivers.Meta) { m.Custom["more"] = "x" },
		} {
			other := e
			other.Meta.Headers, other.Meta.Custom = maps.Clone(all.Headers), maps.Clone(all.Custom)
			change(&other.Meta)
			if test.tree.Target().Same(other, have) {
				t.Errorf("%s: same though the wanted %s differs", name, what)
			}
			wantError(t, name+" put with another "+what, putText(t, test.tree, careful, other, "text"), drivers.ErrNotEmpty, "")
		}
	}
}

// TestSameDecoded: S3 gives what is not ASCII in the coding of RFC 2047.
func TestSameDecoded(t *testing.T) {
	t.Parallel()
	want := attributes{custom: map[string]string{"owner": "Zoë"}}
	for value, same := range map[string]bool{
		"Zoë": true, "=?UTF-8?Q?Zo=C3=AB?=": true, "=?utf-8?b?Wm/Dqw==?=": true, "=?ISO-8859-1?Q?Zo=EB?=": true, "Zoe": false, "=?x": false,
	} {
		if got := want.same(attributes{custom: map[string]string{"owner": value}}); got != same {
			t.Errorf("Zoë is the same as %q: %v, want %v", value, got, same)
		}
	}
}

func TestStartAfter(t *testing.T) {
	t.Parallel()
	type answer struct {
		After string
		Exact bool
	}
	for _, test := range []struct {
		prefix, from string
		want         answer
	}{
		{"", "", answer{}},
		{"p/", "p/", answer{}},
		{"p/", "p/a", answer{"p/a", true}},
		{"", "a\x00", answer{"a", false}},
		{"", "a\xffb", answer{"a", false}},
		{"", "é\x01\ufffd", answer{"é\x01\ufffd", true}},
		{"", "\x00", answer{"", false}},
	} {
		after, exact := startAfter(test.prefix, test.from)
		if got := (answer{after, exact}); got != test.want {
			t.Errorf("%q, %q: got %+v, want %+v", test.prefix, test.from, got, test.want)
		}
	}
}

func TestPartSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 1, partSize, 1 << 30, 1 << 40, 5 << 40} {
		part := partSizeOf(size, partSize)
		if n := (size + part - 1) / part; part < partSize || n > 10000 {
			t.Errorf("%d bytes go in %d parts of %d", size, n, part)
		}
	}
}

// TestMissingCredentials: that there are none is no passing error.
func TestMissingCredentials(t *testing.T) {
	t.Parallel()
	err := errors.New("operation error S3: ListObjectsV2, get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found")
	if got := translate(t.Context(), err); !errors.Is(got, drivers.ErrAccess) || !errors.Is(got, err) {
		t.Errorf("got %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := translate(ctx, err); !errors.Is(got, context.Canceled) {
		t.Errorf("cancelled: got %v", got)
	}
}

// TestRangeStart: what lies before a range is not listed.
func TestRangeStart(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, 10)
	bucket := s.Bucket(t)
	for n := range 300 {
		s.Write(t, bucket, fmt.Sprintf("in/%03d", n), nil, nil)
	}
	var lists atomic.Int64
	s.Handle = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("list-type") {
			lists.Add(1)
		}
		return false
	}
	tree := open(t, s.URL(bucket, "/in"), "")
	for r, want := range map[drivers.Range]int{{From: "285", To: "288"}: 3, {From: "295"}: 5, {From: "2949"}: 5, {From: "120", To: "131"}: 11} {
		lists.Store(0)
		if got := len(collect(t, tree, r)); got != want || lists.Load() > 3 {
			t.Errorf("%v: %d entries after %d lists, want %d after 3", r, got, lists.Load(), want)
		}
	}
}
