package archive

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Entry is one thing in a tree, as a segment stores it.
type Entry struct {
	// Path is relative to the root, any bytes but NUL; "" is the root itself.
	Path string
	// Type is what it is: "file", "dir", "symlink", "fifo", "socket", "device".
	Type string
	// Size is a file's length.
	Size int64
	// Version changes whenever the content may have changed; "" says nothing.
	Version string
	// SHA256 is the hash of the content, where that is known: of one chunk, or less.
	SHA256 string
	// Chunks are the content, in order.
	Chunks []*Chunk
	// Meta is the driver's metadata, a JSON object; nil where there is none.
	Meta json.RawMessage
	// Err tells why the entry could not be read. Chunks may be there even so: then the content changed while it was read.
	Err string
}

type entryJSON struct {
	Path    *string         `json:"path,omitempty"`
	PathB64 []byte          `json:"path_b64,omitempty"`
	Type    string          `json:"type,omitempty"`
	Size    int64           `json:"size,omitempty"`
	Version string          `json:"version,omitempty"`
	SHA256  string          `json:"sha256,omitempty"`
	Chunks  []*Chunk        `json:"chunks,omitempty"`
	Meta    json.RawMessage `json:"meta,omitempty"`
	Err     string          `json:"err,omitempty"`
}

func (e *Entry) toJSON() entryJSON {
	j := entryJSON{
		Type: e.Type, Size: e.Size, Version: e.Version, SHA256: e.SHA256, Chunks: e.Chunks, Meta: e.Meta, Err: e.Err,
	}
	if utf8.ValidString(e.Path) {
		j.Path = &e.Path
	} else {
		j.PathB64 = []byte(e.Path)
	}
	return j
}

// entry returns the entry; ok is false if it does not have exactly one path.
func (j *entryJSON) entry() (e Entry, ok bool) {
	e = Entry{
		Path: string(j.PathB64), Type: j.Type, Size: j.Size, Version: j.Version, SHA256: j.SHA256, Chunks: j.Chunks,
		Meta: j.Meta, Err: j.Err,
	}
	if j.Path != nil {
		e.Path = *j.Path
	}
	return e, (j.Path != nil) != (len(j.PathB64) > 0)
}

// MarshalJSON writes the path as path, or as path_b64 where it is not UTF-8.
func (e Entry) MarshalJSON() ([]byte, error) { return encodeJSON(e.toJSON()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var j entryJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	entry, ok := j.entry()
	if !ok {
		return invalid("entry needs one path")
	}
	*e = entry
	return nil
}

// unsafePath says why a path names nothing below a root: a restore into a directory refuses it.
func unsafePath(path string) string {
	if path == "" {
		return "" // the root
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return "path has a name that is empty, . or .."
		}
	}
	return ""
}

const fileType = "file"

// check says what is wrong with an entry that was read or is to be written.
func (e *Entry) check() string {
	for i := range len(e.Path) {
		if e.Path[i] == 0 {
			return "path with a NUL"
		}
	}
	for _, c := range e.Chunks {
		if problem := c.check(); problem != "" {
			return problem
		}
	}
	length, ok := contentLength(e.Chunks)
	switch {
	case !ok || e.Size < 0:
		return "content is too long"
	case e.Type == fileType && e.Err == "" && length != e.Size:
		return "chunks do not sum up to the size"
	case e.Type != fileType && len(e.Chunks) > 0:
		return "content of something that is no file"
	}
	return ""
}
