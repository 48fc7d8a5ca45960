// Package chaos kills the program at random moments and judges what it left.
//
// The judge reads archives and targets by what docs/archive-format.md says, and shares no code with the program: a fault in
// the program's reading cannot hide one in its writing.
package chaos

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Tree is what a directory or a node of a dump holds: a line for each path that says what it is.
type Tree map[string]string

// digest is how files are told apart.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// ReadTree reads a directory.
func ReadTree(root string) (Tree, error) {
	t := make(Tree)
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(root, name)
		if err != nil || path == "." {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if e.IsDir() {
			t[path] = fmt.Sprintf("dir %o", info.Mode().Perm())
			return nil
		}
		data, err := os.ReadFile(name) //nolint:gosec // the directory is the test's own
		t[path] = line(int64(info.Mode().Perm()), info.Size(), digest(data))
		return err
	})
	return t, err
}

func line(mode, size int64, digest string) string {
	return fmt.Sprintf("file %o %d %s", mode, size, digest)
}

// Dumps returns the directories of the committed dumps, oldest first: those that have a manifest.
func Dumps(archive string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(archive, "dumps", "*", "*", "manifest.json"))
	for i := range names {
		names[i] = filepath.Dir(names[i])
	}
	slices.Sort(names)
	return names, err
}

// document reads a document and checks the hash in its second line.
func document(name string, into any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	first, second, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(second) != digest(append(bytes.Clone(first), '\n'))+"\n" {
		return fmt.Errorf("%s: the second line is not the hash of the first", name)
	}
	if err := json.Unmarshal(first, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

type node struct {
	Parts []struct {
		Key    string `json:"key"`
		SHA256 string `json:"sha256"`
	} `json:"parts"`
	Segments []struct {
		Key    string `json:"key"`
		SHA256 string `json:"sha256"`
	} `json:"segments"`
}

type entry struct {
	Path   string `json:"path"`
	Type   string `json:"type"`
	Size   int64  `json:"size"`
	Err    string `json:"err"`
	Chunks []struct {
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
		Stored int64  `json:"stored"`
		Pack   string `json:"pack"`
		At     int64  `json:"at"`
		Zstd   bool   `json:"zstd"`
	} `json:"chunks"`
	Meta struct {
		Mode int64 `json:"mode"`
	} `json:"meta"`
	End *struct {
		Entries int `json:"entries"`
	} `json:"end"`
}

// Reader reads the dumps of an archive.
type Reader struct {
	archive string
	zstd    *zstd.Decoder
	packs   map[string][]byte
}

// NewReader returns a reader; the caller closes it.
func NewReader(archive string) (*Reader, error) {
	z, err := zstd.NewReader(nil)
	return &Reader{archive, z, make(map[string][]byte)}, err
}

// Close releases the reader.
func (r *Reader) Close() { r.zstd.Close() }

// Dump returns what a committed dump holds: the entries of its trees by node and path, and the hash of each stream.
func (r *Reader) Dump(dir string) (map[string]Tree, error) {
	var m struct {
		Partial bool `json:"partial"`
		Nodes   []struct {
			Path   string `json:"path"`
			Key    string `json:"key"`
			SHA256 string `json:"sha256"`
		} `json:"nodes"`
	}
	if err := document(filepath.Join(dir, "manifest.json"), &m); err != nil {
		return nil, err
	}
	if m.Partial {
		return nil, fmt.Errorf("%s is partial", dir)
	}
	out := make(map[string]Tree)
	for _, n := range m.Nodes {
		name := filepath.Join(r.archive, n.Key)
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if digest(data) != n.SHA256 {
			return nil, fmt.Errorf("%s does not fit its hash", n.Key)
		}
		var what node
		if err := document(name, &what); err != nil {
			return nil, err
		}
		t := make(Tree)
		for _, p := range what.Parts {
			content, err := r.unpack(p.Key)
			if err != nil || digest(content) != p.SHA256 {
				return nil, errors.Join(err, fmt.Errorf("%s is not the part that it should be", p.Key))
			}
			t["part"] = p.SHA256
		}
		for _, s := range what.Segments {
			if err := r.segment(s.Key, s.SHA256, t); err != nil {
				return nil, fmt.Errorf("%s: %w", s.Key, err)
			}
		}
		out[n.Path] = t
	}
	return out, nil
}

func (r *Reader) unpack(key string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(r.archive, key))
	if err != nil {
		return nil, err
	}
	return r.zstd.DecodeAll(data, nil)
}

// segment adds the entries of a segment to a tree.
func (r *Reader) segment(key, want string, t Tree) error {
	data, err := os.ReadFile(filepath.Join(r.archive, key))
	if err != nil {
		return err
	}
	if digest(data) != want {
		return errors.New("does not fit its hash")
	}
	if data, err = r.zstd.DecodeAll(data, nil); err != nil {
		return err
	}
	lines := bufio.NewReader(bytes.NewReader(data))
	for n := -1; ; n++ { // the header is no entry
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return errors.New("has no trailer")
		}
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(text, &e); err != nil {
			return err
		}
		switch {
		case n < 0 || e.Path == "" && e.End == nil:
		case e.End != nil:
			if e.End.Entries != n {
				return fmt.Errorf("has %d entries, and says %d", n, e.End.Entries)
			}
			return nil
		case e.Err != "":
			return fmt.Errorf("entry %q could not be read: %s", e.Path, e.Err)
		case t[e.Path] != "":
			return fmt.Errorf("entry %q is there twice", e.Path)
		case e.Type == "dir":
			t[e.Path] = fmt.Sprintf("dir %o", e.Meta.Mode)
		default:
			content, err := r.content(&e)
			if err != nil {
				return fmt.Errorf("entry %q: %w", e.Path, err)
			}
			t[e.Path] = line(e.Meta.Mode, e.Size, digest(content))
		}
	}
}

func (r *Reader) content(e *entry) ([]byte, error) {
	var content []byte
	for _, c := range e.Chunks {
		var stored []byte
		var err error
		if c.Pack == "" {
			name := filepath.Join(r.archive, "objects", c.SHA256[:2], c.SHA256)
			if c.Zstd {
				name += ".zst"
			}
			stored, err = os.ReadFile(name)
		} else {
			var pack []byte
			if pack, err = r.pack(c.Pack); err == nil {
				if c.At+c.Stored > int64(len(pack)) {
					return nil, fmt.Errorf("lies outside of pack %s", c.Pack)
				}
				stored = pack[c.At : c.At+c.Stored]
			}
		}
		if err == nil && c.Zstd {
			stored, err = r.zstd.DecodeAll(stored, nil)
		}
		if err != nil {
			return nil, err
		}
		if digest(stored) != c.SHA256 || int64(len(stored)) != c.Size {
			return nil, fmt.Errorf("chunk %s is not what it should be", c.SHA256)
		}
		content = append(content, stored...)
	}
	return content, nil
}

// pack returns a pack, whose name is its hash.
func (r *Reader) pack(name string) ([]byte, error) {
	if data, ok := r.packs[name]; ok {
		return data, nil
	}
	data, err := os.ReadFile(filepath.Join(r.archive, "packs", name[:2], name+".zip"))
	if err == nil && digest(data) != name {
		err = fmt.Errorf("pack %s does not fit its name", name)
	}
	if err != nil {
		return nil, err
	}
	r.packs[name] = data
	return data, nil
}

// Leftovers returns what interrupted restores left beside or below a place.
func Leftovers(root string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(filepath.Base(name), ".salvor-") {
			names = append(names, name)
		}
		return err
	})
	return names, err
}
