package filesystem

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// xattrEscape begins the keys of attributes whose names cannot be keys themselves; see [drivers.Meta].
const xattrEscape = "base64:"

// xattrKey returns the key in an entry's metadata for an attribute's name, which may be any bytes.
func xattrKey(name string) string {
	if utf8.ValidString(name) && !strings.HasPrefix(name, xattrEscape) {
		return name
	}
	return xattrEscape + base64.StdEncoding.EncodeToString([]byte(name))
}

// xattrName is the reverse of xattrKey. A key that xattrKey does not make is taken for the name.
func xattrName(key string) string {
	text, ok := strings.CutPrefix(key, xattrEscape)
	if !ok {
		return key
	}
	name, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return key
	}
	return string(name)
}

// rawXattrs returns attributes by their names instead of their keys.
func rawXattrs(keyed map[string][]byte) map[string][]byte {
	escaped := false
	for key := range keyed {
		escaped = escaped || strings.HasPrefix(key, xattrEscape)
	}
	if !escaped {
		return keyed
	}
	raw := make(map[string][]byte, len(keyed))
	for key, value := range keyed {
		raw[xattrName(key)] = value
	}
	return raw
}
