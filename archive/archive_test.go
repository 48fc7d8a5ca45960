package archive

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

func TestCreateAndOpen(t *testing.T) {
	t.Parallel()
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			location, o := place(t)
			_, err := Open(t.Context(), location, o)
			if name == "bucket" {
				wantError(t, err, ErrNotArchive) // the bucket is there
			} else {
				wantError(t, err, ErrNotFound)
			}
			a := create(t, location, o)
			again := create(t, location, o)
			opened := must(Open(t.Context(), location, o))(t)
			if a.ID() == "" || a.ID() != again.ID() || a.ID() != opened.ID() {
				t.Errorf("ids are %s, %s, %s", a.ID(), again.ID(), opened.ID())
			}
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"README.txt", "salvor.json"}, keys(t, a)); diff != "" {
				t.Errorf("a new archive holds (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCreateRace(t *testing.T) {
	t.Parallel()
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			location, o := place(t)
			ids := make([]string, 8)
			race(func(i int) error {
				a, err := Create(t.Context(), location, o)
				if err != nil {
					return err
				}
				ids[i] = a.ID()
				return a.Close()
			}, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
			for _, id := range ids {
				if id != ids[0] {
					t.Fatalf("ids are %v", ids)
				}
			}
		})
	}
}

func TestCreateCompletesWhatWasInterrupted(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	if err := os.Remove(filepath.Join(location, readmeKey)); err != nil {
		t.Fatal(err)
	}
	create(t, location, o)
	object(t, a, readmeKey)
}

func TestCreateTakesNewFileSystems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, tempPrefix+"X"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	create(t, dir, Options{})
}

func TestCreateRefusesForeignPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "holiday.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Create(t.Context(), dir, Options{})
	wantError(t, err, ErrForeign)
	if !strings.Contains(err.Error(), "holiday.jpg") {
		t.Errorf("error does not say what is there: %v", err)
	}
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) {
		t.Errorf("error without a hint: %v", err)
	}
	_, err = Open(t.Context(), dir, Options{})
	wantError(t, err, ErrNotArchive)
	_, err = Open(t.Context(), filepath.Join(dir, "holiday.jpg"), Options{})
	wantError(t, err, ErrNotArchive)
	_, err = Open(t.Context(), filepath.Join(dir, "holiday.jpg", "x"), Options{})
	wantError(t, err, ErrNotFound)
	_, err = Create(t.Context(), filepath.Join(dir, "holiday.jpg", "x"), Options{})
	wantError(t, err, ErrInvalid)
	b := memBucket(t)
	if err := b.WriteAll(t.Context(), "site/holiday.jpg", nil, nil); err != nil {
		t.Fatal(err)
	}
	_, err = Create(t.Context(), "mem://x", Options{Bucket: b})
	wantError(t, err, ErrForeign)
	prefixed := blob.PrefixedBucket(memblob.OpenBucket(nil), "backups/")
	t.Cleanup(func() { _ = prefixed.Close() })
	create(t, "mem://x", Options{Bucket: prefixed})
}

func TestOpenRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			location, o := place(t)
			a := create(t, location, o)
			newer := must(encodeDocument(map[string]any{"type": "archive", "format": Format + 1, "id": "x"}))(t)
			overwrite(t, a, markerKey, newer)
			for _, open := range []func() (*Archive, error){
				func() (*Archive, error) { return Open(t.Context(), location, o) },
				func() (*Archive, error) { return Create(t.Context(), location, o) },
			} {
				_, err := open()
				wantError(t, err, ErrNewerFormat)
			}
			for _, damage := range [][]byte{nil, []byte("{}"), newer[:len(newer)-1], []byte(strings.Repeat("x", 1<<20))} {
				overwrite(t, a, markerKey, damage)
				_, err := Open(t.Context(), location, o)
				wantError(t, err, ErrCorrupt)
				_, err = Create(t.Context(), location, o)
				wantError(t, err, ErrCorrupt)
			}
		})
	}
}

func TestAccessDenied(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Log("root is denied nothing by modes: the translation alone is tested")
		wantError(t, localError(os.ErrPermission), ErrAccess)
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dir, Options{})
	wantError(t, err, ErrAccess)
	_, err = Create(t.Context(), filepath.Join(dir, "x"), Options{})
	wantError(t, err, ErrAccess)
}

func TestParseLocation(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/srv/backups":         "/srv/backups",
		"/srv//a/../backups/":  "/srv/backups",
		"file:///srv/backups/": "/srv/backups",
		"s3://bucket":          "s3://bucket",
		"s3://bucket/a/b?region=eu-west-1&prefix=x/":                            "s3://bucket/a/b?prefix=x%2F&region=eu-west-1",
		"s3://user:pass@bucket?region=r&secret=s":                               "s3://bucket?region=r",
		"s3://b?endpoint=http://localhost:9000":                                 "s3://b?endpoint=http%3A%2F%2Flocalhost%3A9000",
		"s3://b?endpoint=http://k:p@localhost:9000&endpoint=http://h/?token=tt": "s3://b",
		"azblob://c?sas=topsecret":                                              "azblob://c",
		"gs://bucket":                                                           "gs://bucket",
	} {
		loc, err := parseLocation(text)
		if err != nil || loc.display != want {
			t.Errorf("%s is shown as %s (%v), want %s", text, loc.display, err, want)
		}
	}
	for _, text := range []string{"", "file://relative/x", "ftp://host/x", "s3:///x", "mem://x", "s3://%zz:secret@x"} {
		_, err := parseLocation(text)
		wantError(t, err, ErrInvalid)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("error tells a secret: %v", err)
		}
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if loc := must(parseLocation("x"))(t); loc.dir != filepath.Join(wd, "x") {
		t.Errorf("relative place is %s", loc.dir)
	}
}

func FuzzDisplayURL(f *testing.F) {
	f.Add("s3://user:hunter2@bucket/x?region=hunter2x&key=hunter2")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		u.User = url.UserPassword("u", "hunter2-secret")
		q := u.Query()
		q.Set("password", "hunter2-secret")
		u.RawQuery = q.Encode()
		if shown := displayURL(u); strings.Contains(shown, "hunter2-secret") {
			t.Errorf("shown: %s", shown)
		}
	})
}
