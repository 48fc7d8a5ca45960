package drivers

import (
	"context"
	"io"
	"time"
)

// Tree is a source of named entries in bytewise order of their paths: a directory, a bucket.
//
// A tree has no consistent view: entries are read while others change. What a reader promises is that one entry is never
// a mixture of two states without saying so ([ErrChanged]).
type Tree interface {
	Source

	// Walk calls yield for the entries of a range in strictly ascending bytewise order of their full paths ("a", "a-b",
	// "a/c"), the root itself as "" first, and stops at yield's first error, which it returns as it is. An entry that
	// cannot be looked at is yielded with its Err set; a directory that cannot be listed likewise. It returns
	// [ErrNotFound] where the root does not exist, [ErrAccess] where the root cannot be read. Memory does not grow with
	// the number of entries (one directory's names may be held). Concurrent walks are allowed.
	Walk(ctx context.Context, r Range, yield func(Entry) error) error

	// Open opens a file's content. The caller closes it. It returns [ErrNotFound] when the entry is gone, [ErrAccess]
	// when it may not be read, [ErrChanged] when it is now something else than the entry says. An entry of Size [AnySize]
	// opens whatever file is there now.
	Open(ctx context.Context, entry Entry) (Content, error)

	// Target returns the writing side.
	Target() TreeTarget
}

// Bucket is a tree of objects. Its paths are keys: "a//b", "a/" and "../a" are names like others, and nothing lies below
// anything: removing "a" leaves "a/b".
//
// What is read of an object before an error is the beginning of one state of it: only [ErrChanged] of [Content].Close tells of a
// mixture.
type Bucket interface {
	Tree

	// List is Walk for the paths, types and sizes alone: what else there is to know may take a request for each object.
	List(ctx context.Context, r Range, yield func(Entry) error) error

	// AtOnce is how many objects are best read, or put, at the same time, at least 1: each waits for a server most of its
	// time. It is not above [Spec.Limit].
	AtOnce() int
}

// TreeTarget is the writing side of a tree. It never writes outside its root, whatever the paths of entries, the
// symbolic links among them, or another process say; a path that would is refused with [ErrUnsafePath].
type TreeTarget interface {
	// Check tells whether Prepare could make the place ready, and changes nothing: [ErrInvalid] where something else than a
	// tree is there, [ErrAccess] where this user may not write.
	Check(ctx context.Context, target Target) error

	// Prepare creates the root where it is absent, and removes what interrupted restores of any run left (temporary
	// files that no other restore is writing). Idempotent. [ErrAccess] where the place cannot be written. Where it can,
	// it keeps other runs from writing there until the tree is closed; workers keep one open for as long as their run lasts.
	Prepare(ctx context.Context, target Target) error

	// Same tells whether have, an entry of this target, needs nothing more to be want, content aside: the same type,
	// link target, and all metadata that this target can hold for this user. Directories are the same whatever their
	// modes and times, which Settle sets.
	Same(want, have Entry) bool

	// Put makes one entry: a temporary name first, then published, so that a reader or a crash never sees a part of it.
	// content is nil but for files and is read to its end; if it returns an error, nothing is published. Parents are
	// made as needed. Something that is already there is replaced only if target allows it, else [ErrNotEmpty]; a
	// directory that is already there is kept. A path of another process's making is never followed out of the root.
	// Concurrent for different paths, also by several processes. The entry is whole when Put returns nil, durable after
	// Sync.
	Put(ctx context.Context, target Target, attempt Attempt, entry Entry, content ContentReader) error

	// Remove removes an entry and, if it is a directory, all below it. An absent one is no error.
	Remove(ctx context.Context, path string) error

	// Settle sets what writing below or beside an entry would disturb: a directory's mode, owner and times; hard links
	// (see Entry.Link). It is called once for each entry after all were put, in *descending* order of paths,
	// by one caller. Idempotent.
	Settle(ctx context.Context, target Target, attempt Attempt, entry Entry) error

	// Sync makes everything that was put durable.
	Sync(ctx context.Context) error

	// Warnings returns what could not be restored though the entry was, counted by kind ("owner not set": 12), and
	// starts again from zero.
	Warnings() map[string]int64
}

// AnySize in an entry that is opened says that the file may have changed since it was walked.
const AnySize = -1

// Range is a range of paths: From <= path < To, bytewise. An empty To has no end.
type Range struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Contains tells whether a path is in the range.
func (r Range) Contains(path string) bool { return path >= r.From && (r.To == "" || path < r.To) }

// EntryType is what an entry is.
type EntryType string

// The types of entries. A media object is a file.
const (
	TypeFile    EntryType = "file"
	TypeDir     EntryType = "dir"
	TypeSymlink EntryType = "symlink"
	TypeFIFO    EntryType = "fifo"
	TypeSocket  EntryType = "socket"
	TypeDevice  EntryType = "device"
)

// Entry is one thing in a tree.
type Entry struct {
	// Path is relative to the root, with "/" between names, any bytes but NUL; "" is the root itself.
	Path string
	Type EntryType
	// Size is a file's length in bytes.
	Size int64
	// Version changes whenever the content may have changed; equal versions of one path mean equal content. "" means
	// that the content must be read to know.
	Version string
	// Meta is everything else.
	Meta Meta
	// Err tells why the entry could not be looked at; then only Path (and perhaps Type) is set.
	Err error
}

// Meta is an entry's metadata. Fields that a driver does not know stay zero. It is stored as JSON in the archive: names
// and meanings of fields never change.
type Meta struct {
	// Mode holds the permission bits with setuid (04000), setgid (02000) and sticky (01000), as chmod(2) takes them.
	Mode uint32 `json:"mode,omitempty"`
	// ModTime is the time of the last change of content, in ns precision; nil where there is none.
	ModTime *time.Time `json:"mtime,omitempty"`
	UID     *uint32    `json:"uid,omitempty"`
	GID     *uint32    `json:"gid,omitempty"`
	User    string     `json:"user,omitempty"`
	Group   string     `json:"group,omitempty"`
	// Target is a symbolic link's text, base64 as every []byte in JSON because it may be any bytes.
	Target []byte `json:"target,omitempty"`
	// Link names the inode of a file with several names: files of one tree with the same Link are one file.
	Link string `json:"link,omitempty"`
	// Device is a device's "c" or "b", major and minor number: "b 8 1".
	Device string `json:"device,omitempty"`
	// Xattrs are extended attributes, POSIX ACLs among them, by their names. A name that is not UTF-8, which a key in JSON
	// cannot be, or that begins with "base64:" itself, has the key "base64:" followed by its base64 (RFC 4648, with padding).
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
	// Headers are a media object's content type and the like, by their HTTP names.
	Headers map[string]string `json:"headers,omitempty"`
	// Custom is a media object's own metadata.
	Custom map[string]string `json:"custom,omitempty"`
}

// Content is an opened file. Read gives the bytes of the current extent; io.EOF ends the extent.
type Content interface {
	// Next goes to the next extent; io.EOF after the last. Extents are adjacent, ascending, and cover the content. For a
	// hole nothing is to be read.
	Next() (Extent, error)
	io.Reader
	// Close closes the content. It returns [ErrChanged] if the content changed since it was opened, in a way that can
	// have mixed two states or given fewer or more bytes than the entry's size. Close without having read all is
	// allowed, its error then means nothing.
	Close() error
}

// ContentReader is what a target reads: extents with their bytes, like Content without Close.
type ContentReader interface {
	Next() (Extent, error)
	io.Reader
}

// Extent is a stretch of a file's content.
type Extent struct {
	Length int64
	Hole   bool // reads as zeros and need not take space
}
