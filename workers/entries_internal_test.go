package workers

import "testing"

// TestUnknownKeys: keys of objects are no clean paths, and have an end all the same.
func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	c := &entryCursor{unread: map[string]struct{}{"a/b": {}}}
	for path, want := range map[string]bool{"/": false, "/a": false, "//": false, "a//b": false, "../x": false, "a/b/c": true, "a/b//c": true, "a/bc": false} {
		if got := c.unknown(path); got != want {
			t.Errorf("%q is unknown: %v, want %v", path, got, want)
		}
	}
}
