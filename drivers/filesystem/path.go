package filesystem

import (
	"fmt"
	"strings"

	"salvor/drivers"
)

// checkPath refuses paths of entries that do not name something in the tree: absolute ones, those with empty names, "."
// or "..", or NUL. "" is the root.
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	if strings.IndexByte(path, 0) >= 0 {
		return fmt.Errorf("path %q: holds NUL: %w", path, drivers.ErrUnsafePath)
	}
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "", name == ".", name == "..":
			return fmt.Errorf("path %q: holds the name %q: %w", path, name, drivers.ErrUnsafePath)
		case isTemporary(name):
			return fmt.Errorf("path %q: %s… is the name of a temporary file: %w", path, temporaryPrefix, drivers.ErrInvalid)
		}
	}
	return nil
}

// temporaryPrefix begins the names of entries that are not whole yet.
const temporaryPrefix = ".salvor-tmp-"

// temporaryName returns the name of an attempt's n-th temporary file.
func temporaryName(token string, n uint64) string {
	return fmt.Sprintf("%s%s-%d", temporaryPrefix, token, n)
}

// isTemporary tells names that temporaryName makes. It is strict: what it tells is neither dumped nor kept.
func isTemporary(name string) bool {
	rest, ok := strings.CutPrefix(name, temporaryPrefix)
	if !ok {
		return false
	}
	token, n, ok := strings.Cut(rest, "-")
	return ok && isToken(token) && n != "" && strings.Trim(n, "0123456789") == ""
}

// isToken tells what an attempt's token may be: letters and digits.
func isToken(token string) bool {
	for i := range len(token) {
		c := token[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return token != ""
}

// join appends a name to a directory's path.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
