package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/fileblob"
	"golang.org/x/sys/unix"
)

// onEachStore runs a test on the bare stores.
func onEachStore(t *testing.T, test func(t *testing.T, s store)) {
	t.Helper()
	onEach(t, func(t *testing.T, a *Archive) { test(t, a.store) })
}

func TestStorePutNewIsExclusive(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, s store) {
		for round := range 20 {
			key := "runs/" + strings.Repeat("x", round+1) + ".json"
			wins := 0
			race(func(i int) error {
				return s.putNew(t.Context(), key, []byte{byte(i)})
			}, func(err error) {
				if err == nil {
					wins++
				} else if !errors.Is(err, ErrExists) {
					t.Error(err)
				}
			})
			if wins != 1 {
				t.Errorf("round %d: %d writers won", round, wins)
			}
		}
	})
}

func TestStoreCreateIsExclusive(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, s store) {
		wins := 0
		race(func(i int) error {
			w, err := s.create(t.Context(), "dumps/x", 0)
			if err != nil {
				return err
			}
			if _, err := w.Write([]byte{byte(i)}); err != nil {
				return err
			}
			return w.commit()
		}, func(err error) {
			if err == nil {
				wins++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
		if wins != 1 {
			t.Errorf("%d writers won", wins)
		}
	})
}

func TestStoreReads(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, s store) {
		ctx := t.Context()
		if err := s.put(ctx, "packs/aa/x", []byte("old")); err != nil {
			t.Fatal(err)
		}
		if err := s.put(ctx, "packs/aa/x", []byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			offset, length int64
			want           string
		}{{0, -1, "0123456789"}, {3, -1, "3456789"}, {3, 4, "3456"}, {8, 10, "89"}, {0, 0, ""}, {10, 5, ""}, {50, 5, ""}} {
			r, err := s.open(ctx, "packs/aa/x", c.offset, c.length)
			if err != nil {
				t.Errorf("open %d+%d: %v", c.offset, c.length, err)
				continue
			}
			if got := must(io.ReadAll(r))(t); string(got) != c.want {
				t.Errorf("%d+%d reads %q, want %q", c.offset, c.length, got, c.want)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		_, err := s.open(ctx, "packs/aa/none", 0, -1)
		wantError(t, err, errMissing)
		_, err = s.stat(ctx, "packs/aa/none")
		wantError(t, err, errMissing)
		if info := must(s.stat(ctx, "packs/aa/x"))(t); info.size != 10 || info.modified.IsZero() {
			t.Errorf("stat says %+v", info)
		}
		_, err = readLimited(ctx, s, "packs/aa/x", 9)
		wantError(t, err, ErrCorrupt)
		wantError(t, readInto(ctx, s, "packs/aa/x", 5, make([]byte, 6)), ErrCorrupt)
		for range 2 {
			if err := s.remove(ctx, "packs/aa/x"); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestStoreLists(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, s store) {
		ctx := t.Context()
		all := []string{"dumps/a/1/manifest.json", "dumps/a/1/plan.json", "dumps/a/2/plan.json", "dumps/b.json"}
		for _, key := range all {
			if err := s.put(ctx, key, []byte(key)); err != nil {
				t.Fatal(err)
			}
		}
		list := func(prefix string, depth listDepth) []string {
			var got []string
			err := s.list(ctx, prefix, depth, func(o objectInfo) error {
				got = append(got, o.key)
				if !strings.HasSuffix(o.key, "/") && o.size != int64(len(o.key)) {
					t.Errorf("%s has %d bytes", o.key, o.size)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			slices.Sort(got)
			return got
		}
		if diff := cmp.Diff(all, list("dumps/", listAll)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"dumps/a/", "dumps/b.json"}, list("dumps/", listLevel)); diff != "" {
			t.Error(diff)
		}
		if got := list("none/", listAll); got != nil {
			t.Errorf("an absent prefix lists %v", got)
		}
		stop := errors.New("stop")
		wantError(t, s.list(ctx, "dumps/", listAll, func(objectInfo) error { return stop }), stop)
	})
}

func TestStoreHeedsItsContext(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, s store) {
		ctx, cancel := context.WithCancel(t.Context())
		w := must(s.create(ctx, "packs/y", 0))(t)
		if _, err := w.Write([]byte("all of it")); err != nil {
			t.Fatal(err)
		}
		cancel()
		wantError(t, w.commit(), context.Canceled)
		if _, err := s.stat(t.Context(), "packs/y"); !errors.Is(err, errMissing) {
			t.Errorf("a commit after the end left %v", err)
		}
		wantError(t, s.put(ctx, "packs/x", nil), context.Canceled)
		wantError(t, s.putNew(ctx, "packs/x", nil), context.Canceled)
		if _, err := s.stat(t.Context(), "packs/x"); !errors.Is(err, errMissing) {
			t.Errorf("a cancelled write left %v", err)
		}
	})
}

func TestStoreRefusesOddKeys(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, s store) {
		for _, key := range []string{"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.hidden", "a\nb", "a\x00b", "ä", strings.Repeat("a", maxKey+1)} {
			wantError(t, s.put(t.Context(), key, nil), ErrInvalid)
			_, err := s.open(t.Context(), key, 0, -1)
			wantError(t, err, ErrInvalid)
			wantError(t, s.remove(t.Context(), key), ErrInvalid)
		}
	})
}

func TestLocalNeverLeavesItsRoot(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	a := create(t, dir, Options{})
	if err := os.WriteFile(filepath.Join(outside, "x"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "packs")); err != nil {
		t.Fatal(err)
	}
	if err := a.store.put(t.Context(), "packs/y", nil); err == nil {
		t.Error("wrote through a link that leads out")
	}
	if _, err := a.store.open(t.Context(), "packs/x", 0, -1); err == nil {
		t.Error("read through a link that leads out")
	}
	if entries := must(os.ReadDir(outside))(t); len(entries) != 1 {
		t.Errorf("outside there is %v", entries)
	}
}

func TestLocalModesAndLeftovers(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	if err := newSample(testRef).put(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(location, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		if strings.HasPrefix(d.Name(), tempPrefix) {
			t.Errorf("%s was left behind", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A second name is what systems without an exclusive rename use; it must be as exclusive.
func TestLinkIsTheFallback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := must(os.OpenRoot(dir))(t)
	defer func() { _ = root.Close() }()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.Link("a", "x"); err != nil {
		t.Fatal(err)
	}
	wantError(t, localError(root.Link("b", "x")), ErrExists)
	if got := must(os.ReadFile(filepath.Join(dir, "x")))(t); string(got) != "a" {
		t.Errorf("the loser's content is there: %q", got)
	}
}

// The bucket store must not depend on what memblob does more strictly than others.
func TestBucketStoreOnFileblob(t *testing.T) {
	t.Parallel()
	b := must(fileblob.OpenBucket(t.TempDir(), &fileblob.Options{Metadata: fileblob.MetadataDontWrite, NoTempDir: true}))(t)
	t.Cleanup(func() { _ = b.Close() })
	a := create(t, "file", Options{Bucket: b})
	s := newSample(testRef)
	if err := errors.Join(s.put(t.Context(), a), s.check(t.Context(), a)); err != nil {
		t.Fatal(err)
	}
	w := must(a.store.create(t.Context(), "packs/aborted", 0))(t)
	if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	w.abort()
	_, err := a.store.stat(t.Context(), "packs/aborted")
	wantError(t, err, errMissing)
	if sum, findings := verify(t, a); !sum.OK() {
		t.Errorf("verify says %+v", findings)
	}
}

func TestTemporaryFilesOfKilledProcessesAreStrays(t *testing.T) {
	t.Parallel()
	location, o := places["local"](t)
	a := create(t, location, o)
	if err := newSample(testRef).put(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	want := []string{
		tempPrefix + "A", testRef.dir() + tempPrefix + "B", "dumps/site/" + tempPrefix + "C", "objects/" + tempPrefix + "D",
		"packs/" + tempPrefix + "E", "runs/" + tempPrefix + "F",
	}
	slices.Sort(want)
	for _, key := range want {
		if err := os.WriteFile(filepath.Join(location, key), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum, findings := verify(t, a)
	var got []string
	for _, f := range findings {
		got = append(got, f.Key)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || !sum.OK() || sum.Strays != int64(len(want)) {
		t.Errorf("summary is %+v, findings (-want +got):\n%s", sum, diff)
	}
	if dumps := must(a.Dumps(t.Context(), "site"))(t); len(dumps) != 1 {
		t.Errorf("dumps are %+v", dumps)
	}
	if runs := must(a.Runs(t.Context()))(t); len(runs) != 1 {
		t.Errorf("runs are %+v", runs)
	}
	// A pipe in place of an object must not hang a reader.
	fifo := filepath.Join(location, "runs", "pipe.json")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := a.Run(t.Context(), "pipe")
	wantError(t, err, ErrCorrupt)
}

func TestSystemErrorsAreTranslated(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]error{
		syscall.ENOENT: errMissing, syscall.EEXIST: ErrExists, syscall.ENOSPC: ErrNoSpace, syscall.EDQUOT: ErrNoSpace,
		syscall.EACCES: ErrAccess, syscall.EPERM: ErrAccess, syscall.EROFS: ErrAccess, syscall.EIO: syscall.EIO,
	} {
		wantError(t, localError(&os.PathError{Op: "write", Path: "x", Err: errno}), want)
	}
}

func TestPartSize(t *testing.T) {
	t.Parallel()
	for _, expected := range []int64{0, 1, 1 << 30, 1 << 40, 4 << 40} {
		size := partSize(expected)
		if size < 5<<20 || size*10000 < expected+expected/5 {
			t.Errorf("%d bytes are written in parts of %d", expected, size)
		}
	}
}
