package filesystem

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
)

func TestXattrKeys(t *testing.T) {
	t.Parallel()
	names := map[string]string{
		"user.x":            "user.x",
		"user.\xff":         "base64:dXNlci7/",
		"user.\ufffd":       "user.\ufffd",
		"base64:":           "base64:YmFzZTY0Og==",
		"base64:dXNlci7/":   "base64:YmFzZTY0OmRYTmxjaTcv",
		"user.base64:dXNl/": "user.base64:dXNl/",
		"":                  "",
	}
	keyed, raw := make(map[string][]byte), make(map[string][]byte)
	for name, key := range names {
		if got := xattrKey(name); got != key || !utf8.ValidString(got) {
			t.Errorf("key of %q: %q, want %q", name, got, key)
		}
		if got := xattrName(key); got != name {
			t.Errorf("name of %q: %q, want %q", key, got, name)
		}
		keyed[key], raw[name] = []byte(name), []byte(name)
	}
	// As the archive keeps it.
	text, err := json.Marshal(drivers.Meta{Xattrs: keyed})
	must(t, err)
	var meta drivers.Meta
	must(t, json.Unmarshal(text, &meta))
	if diff := cmp.Diff(raw, rawXattrs(meta.Xattrs)); diff != "" {
		t.Errorf("through JSON (-want +got):\n%s", diff)
	}
	if got := xattrName("base64:not base64"); got != "base64:not base64" {
		t.Errorf("a key that is none of ours: %q", got)
	}
}
