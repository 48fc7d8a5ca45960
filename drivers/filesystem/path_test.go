package filesystem

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"salvor/drivers"
)

func FuzzCheckPath(f *testing.F) {
	for _, path := range append([]string{"", "a", "a/b", "...", "a/..b", ".salvor-tmp-x-1", ".salvor-tmp-x", "\xff/é"}, unsafePaths...) {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		err := checkPath(path)
		if err != nil {
			if !errors.Is(err, drivers.ErrUnsafePath) && !errors.Is(err, drivers.ErrInvalid) {
				t.Errorf("%q: error of another class: %v", path, err)
			}
			return
		}
		if path != "" && (!filepath.IsLocal(path) || filepath.Clean(path) != path) {
			t.Errorf("%q was taken", path)
		}
		if strings.ContainsRune(path, 0) {
			t.Errorf("%q holds NUL", path)
		}
	})
}

func TestTemporaryNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		temporaryName("t0k3N", 12): true, ".salvor-tmp-a-1": true, ".salvor-tmp-0123456789abcdef-18446744073709551615": true,
		".salvor-tmp-": false, ".salvor-tmp-a": false, ".salvor-tmp-a-": false, ".salvor-tmp--1": false,
		".salvor-tmp-a-1x": false, ".salvor-tmp-a-1-2": false, ".salvor-tmp-a_b-1": false, "x.salvor-tmp-a-1": false, "": false,
	} {
		if got := isTemporary(name); got != want {
			t.Errorf("%q is temporary: %v, want %v", name, got, want)
		}
	}
}
