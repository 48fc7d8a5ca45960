package filesystem

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	write(t, filepath.Join(place, "dir/file"), "x")
	must(t, os.Symlink("dir", filepath.Join(place, "link")))
	must(t, os.Symlink("nowhere", filepath.Join(place, "dangling")))
	before := found(t, place)
	for path, class := range map[string]error{
		"":               nil,
		"dir":            nil,
		"dir/":           nil,
		"link":           nil,
		"link/new":       nil,
		"new":            nil,
		"new/":           nil,
		"new/er/and/er":  nil,
		"dir/file":       drivers.ErrInvalid,
		"dir/file/below": drivers.ErrInvalid,
		"dir/file/b/c":   drivers.ErrInvalid,
		"dangling":       drivers.ErrInvalid,
		"dangling/new":   drivers.ErrInvalid,
	} {
		tree := open(t, place+"/"+path, nil)
		for _, rules := range []drivers.Target{careful, overwrite, mirror} {
			if err := tree.target.Check(t.Context(), rules); !errors.Is(err, class) {
				t.Errorf("check %q: got %v, want %v", path, err, class)
			}
		}
	}
	if diff := cmp.Diff(before, found(t, place)); diff != "" {
		t.Errorf("check changed the place (-want +got):\n%s", diff)
	}
}
