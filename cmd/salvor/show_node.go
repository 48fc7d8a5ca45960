package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
)

// entryLine is an entry as `show DUMP NODE --json` prints it.
type entryLine struct {
	Type      string     `json:"type"`
	Node      string     `json:"node"`
	Path      *string    `json:"path,omitempty"`
	PathB64   []byte     `json:"path_b64,omitempty"`
	EntryType string     `json:"entry_type"`
	Size      int64      `json:"size"`
	Mode      string     `json:"mode,omitempty"`
	ModTime   *time.Time `json:"mtime,omitempty"`
	UID       *uint32    `json:"uid,omitempty"`
	GID       *uint32    `json:"gid,omitempty"`
	User      string     `json:"user,omitempty"`
	Group     string     `json:"group,omitempty"`
	Target    []byte     `json:"target_b64,omitempty"`
	SHA256    string     `json:"sha256,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// partLine is a stream's part as `show DUMP NODE --json` prints it.
type partLine struct {
	Type   string `json:"type"`
	Node   string `json:"node"`
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Stored int64  `json:"stored"`
	Rows   int64  `json:"rows,omitempty"`
	Digest string `json:"digest,omitempty"` // of the rows, in any order
	SHA256 string `json:"sha256,omitempty"`
	Key    string `json:"key"`
}

// showNode prints the parts or entries of a node, or of what lies below a path in it. Its memory does not grow with their
// number.
func (a *app) showNode(ctx context.Context, store *archive.Archive, m archive.Manifest, text string) error {
	name, inside, restricted := strings.Cut(text, ":")
	inside = strings.Trim(inside, "/")
	record, err := findRecord(m, name)
	if err != nil {
		return err
	}
	n, err := store.Node(ctx, m.Ref(), record)
	if err != nil {
		return err
	}
	only := []string(nil)
	if restricted && inside != "" {
		only = []string{inside}
	}
	found := false
	for _, p := range n.Parts {
		if takes(only, p.Name) {
			found = true
			if err := a.printPart(n.Path, p); err != nil {
				return err
			}
		}
	}
	err = eachEntry(ctx, store, n, only, func(e archive.Entry) error {
		found = true
		return a.printEntry(n.Path, e)
	})
	if err != nil {
		return err
	}
	if !found && restricted {
		return usagef("salvor show "+m.Dump+" "+name+" lists what it holds", "node %s of dump %s holds nothing named %s",
			n.Path, m.Dump, quoteName(inside))
	}
	return nil
}

// takes tells whether a path (or a part's name) is one of those, or lies below one. None means all.
func takes(only []string, path string) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(o string) bool { return tasks.IsWithin(path, o) })
}

// eachEntry calls yield for the entries of a node that are in the paths, or below them; of segments that hold none it reads
// nothing.
func eachEntry(ctx context.Context, store *archive.Archive, n archive.NodeManifest, only []string, yield func(archive.Entry) error) error {
	for _, s := range n.Segments {
		from, to := string(s.From), string(s.To)
		// Below a path are only names that begin with it and a slash: all of them come before the path and a "0".
		touches := func(o string) bool { return (to == "" || o < to) && o+"0" > from }
		if len(only) > 0 && !slices.ContainsFunc(only, touches) {
			continue
		}
		err := store.Segment(ctx, s, func(e archive.Entry) error {
			if !takes(only, e.Path) {
				return nil
			}
			return yield(e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// findRecord finds a node in a dump by its path or a unique end of it.
func findRecord(m archive.Manifest, name string) (archive.NodeRecord, error) {
	var fit []archive.NodeRecord
	var have []string
	for _, n := range m.Nodes {
		if n.Path == name {
			return n, nil
		}
		have = append(have, n.Path)
		if tasks.EndsIn(n.Path, name) {
			fit = append(fit, n)
		}
	}
	switch len(fit) {
	case 1:
		return fit[0], nil
	case 0:
		return archive.NodeRecord{}, fmt.Errorf("%w %s (dump %s has %s)", tasks.ErrUnknownNode, quoteName(name), m.Dump, strings.Join(have, ", "))
	default:
		paths := mapped(fit, func(n archive.NodeRecord) string { return n.Path })
		return archive.NodeRecord{}, fmt.Errorf("%w %s (it may be %s)", tasks.ErrAmbiguousNode, quoteName(name), strings.Join(paths, ", "))
	}
}

func (a *app) printPart(node string, p archive.PartRecord) error {
	if a.json {
		return a.printJSON(partLine{
			Type: "part", Node: node, Name: p.Name, Size: p.Size, Stored: p.Stored, Rows: p.Rows, Digest: p.Digest, SHA256: p.SHA256, Key: p.Key,
		})
	}
	line := fmt.Sprintf("%12d  %12d stored  %s", p.Size, p.Stored, quoteName(p.Name))
	if p.Digest != "" {
		line += fmt.Sprintf("  %s %s", plural(p.Rows, "row", "rows"), p.Digest)
	}
	return a.printf("%s\n", line)
}

func (a *app) printEntry(node string, e archive.Entry) error {
	var meta drivers.Meta
	if len(e.Meta) > 0 {
		if err := json.Unmarshal(e.Meta, &meta); err != nil {
			return fmt.Errorf("%w: metadata of %s: %w", archive.ErrCorrupt, quoteName(e.Path), err)
		}
	}
	if a.json {
		return a.printJSON(entryLineOf(node, e, meta))
	}
	owner := firstOf(meta.User, number(meta.UID)) + ":" + firstOf(meta.Group, number(meta.GID))
	when := "-"
	if meta.ModTime != nil {
		when = formatTime(*meta.ModTime)
	}
	name := e.Path
	if name == "" {
		name = "."
	}
	line := fmt.Sprintf("%s  %-17s %12d  %19s  %s", modeText(e.Type, meta.Mode), owner, e.Size, when, quoteName(name))
	if e.Type == string(drivers.TypeSymlink) {
		line += " -> " + quoteName(string(meta.Target))
	}
	if e.Err != "" {
		line += "  (" + e.Err + ")"
	}
	return a.printf("%s\n", line)
}

func entryLineOf(node string, e archive.Entry, meta drivers.Meta) entryLine {
	l := entryLine{
		Type: "entry", Node: node, EntryType: e.Type, Size: e.Size, ModTime: meta.ModTime, UID: meta.UID, GID: meta.GID, User: meta.User,
		Group: meta.Group, Target: meta.Target, SHA256: e.SHA256, Error: e.Err,
	}
	if utf8.ValidString(e.Path) {
		l.Path = &e.Path
	} else {
		l.PathB64 = []byte(e.Path)
	}
	if meta.Mode != 0 {
		l.Mode = fmt.Sprintf("%04o", meta.Mode)
	}
	return l
}

func number(n *uint32) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

// modeText writes a type and permission bits as ls does.
func modeText(entryType string, mode uint32) string {
	letters := map[drivers.EntryType]byte{
		drivers.TypeFile: '-', drivers.TypeDir: 'd', drivers.TypeSymlink: 'l', drivers.TypeFIFO: 'p', drivers.TypeSocket: 's', drivers.TypeDevice: 'b',
	}
	letter, ok := letters[drivers.EntryType(entryType)]
	if !ok {
		letter = '?'
	}
	text := []byte{letter}
	for i, c := range []byte("rwxrwxrwx") {
		if mode&(1<<(8-i)) == 0 {
			c = '-'
		}
		text = append(text, c)
	}
	for _, s := range []struct {
		bit      uint32
		at       int
		set, off byte
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		if mode&s.bit == 0 {
			continue
		}
		if text[s.at] == 'x' {
			text[s.at] = s.set
		} else {
			text[s.at] = s.off
		}
	}
	return string(text)
}
