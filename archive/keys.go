package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	markerKey  = "salvor.json"
	readmeKey  = "README.txt"
	dumpsDir   = "dumps/"
	packsDir   = "packs/"
	objectsDir = "objects/"
	runsDir    = "runs/"
	captureDir = "captures/"
	// tempPrefix begins the names of temporary files in directories.
	tempPrefix = ".salvor-tmp-"

	maxKey = 1000 // S3 allows 1,024 bytes, with the bucket's prefix
)

const dumpTime = "20060102-150405"

// Ref names a dump.
type Ref struct {
	Set  string `json:"set"`
	Dump string `json:"dump"`
}

// String returns "set/dump".
func (r Ref) String() string { return r.Set + "/" + r.Dump }

func (r Ref) dir() string { return dumpsDir + r.Set + "/" + r.Dump + "/" }

func (r Ref) check() error {
	if !validSet(r.Set) {
		return invalid("set name %q", r.Set)
	}
	if _, ok := dumpIDTime(r.Dump); !ok {
		return invalid("dump name %q", r.Dump)
	}
	return nil
}

func validSet(set string) bool {
	for i := range len(set) {
		if c := set[i]; !plain(c) || i == 0 && (c == '-' || c == '_') {
			return false
		}
	}
	return set != "" && len(set) <= 64
}

// plain tells whether a byte stands for itself in a key.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func alphanumeric(s string) bool {
	for i := range len(s) {
		if c := s[i]; !plain(c) || c == '-' || c == '_' {
			return false
		}
	}
	return s != ""
}

// dumpIDTime returns the time in a dump's name.
func dumpIDTime(id string) (time.Time, bool) {
	if len(id) != len(dumpTime)+5 || id[len(dumpTime)] != '-' || !isHex(id[len(dumpTime)+1:]) {
		return time.Time{}, false
	}
	t, err := time.Parse(dumpTime, id[:len(dumpTime)])
	return t, err == nil
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isHash(s string) bool { return len(s) == 2*sha256.Size && isHex(s) }

func validRun(run string) bool {
	return run != "" && len(run) <= 64 && run[0] != '-' && alphanumeric(strings.ReplaceAll(run, "-", "0"))
}

// encodePath encodes names joined by "/" for a key. dots tells which names may keep their dots.
func encodePath(path string, dots dotRule) string {
	names := strings.Split(path, "/")
	for i, name := range names {
		names[i] = encodeName(name, dots)
	}
	return strings.Join(names, "/")
}

type dotRule int

const (
	encodeDots dotRule = iota
	keepDots
)

func encodeName(name string, dots dotRule) string {
	if name == "" {
		return "%"
	}
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if plain(c) || c == '.' && dots == keepDots && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() <= 160 { // well below the 255 bytes of a file's name, with token and endings
		return b.String()
	}
	sum := sha256.Sum256([]byte(name))
	return b.String()[:120] + "~" + hex.EncodeToString(sum[:16])
}

func validNode(path string) error {
	if path == "" || strings.ContainsRune(path, 0) || len(path) > maxKey {
		return invalid("node path %q", path)
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			return invalid("node path %q has an empty name", path)
		}
	}
	return nil
}

func nodeKey(ref Ref, node string) string {
	return ref.dir() + "nodes/" + encodePath(node, encodeDots) + ".json"
}

func dataDir(ref Ref, node string) string {
	return ref.dir() + "data/" + encodePath(node, encodeDots) + "/"
}

func partKey(ref Ref, p PartName) string {
	key := dataDir(ref, p.Node) + encodePath(p.Name, keepDots) + "-" + p.Token
	if p.Ext != "" {
		key += "." + p.Ext
	}
	return key + ".zst"
}

func segmentKey(ref Ref, s SegmentName) string {
	return fmt.Sprintf("%ssegment-%06d-%s.jsonl.zst", dataDir(ref, s.Node), s.Index, s.Token)
}

func packKey(hash string) string { return packsDir + hash[:2] + "/" + hash + ".zip" }

func objectKey(hash string, zstd bool) string {
	key := objectsDir + hash[:2] + "/" + hash
	if zstd {
		key += ".zst"
	}
	return key
}

// packOfKey and objectOfKey are the inverse of packKey and objectKey.
func packOfKey(key string) (hash string, ok bool) {
	hash, ok = strings.CutSuffix(key[strings.LastIndexByte(key, '/')+1:], ".zip")
	return hash, ok && isHash(hash) && packKey(hash) == key
}

func objectOfKey(key string) (hash string, zstd, ok bool) {
	hash, zstd = strings.CutSuffix(key[strings.LastIndexByte(key, '/')+1:], ".zst")
	return hash, zstd, isHash(hash) && objectKey(hash, zstd) == key
}

func openRunKey(run string, life int) string { return runsDir + lifeName(run, life) + ".open" }

func runKey(run string, life int) string { return runsDir + lifeName(run, life) + ".json" }

// lifeName is the run's id in its first life, and has the life's number after it in later ones.
func lifeName(run string, life int) string {
	if life <= 1 {
		return run
	}
	return run + "." + strconv.Itoa(life)
}

// runOfKey is the inverse of openRunKey and runKey.
func runOfKey(key string) (run string, life int, report, ok bool) {
	name, ok := strings.CutPrefix(key, runsDir)
	if !ok {
		return "", 0, false, false
	}
	name, report = strings.CutSuffix(name, ".json")
	if !report {
		if name, ok = strings.CutSuffix(name, ".open"); !ok {
			return "", 0, false, false
		}
	}
	run, number, later := strings.Cut(name, ".")
	life = 1
	if later {
		n, err := strconv.Atoi(number)
		if err != nil || n < 2 || lifeName(run, n) != name {
			return "", 0, false, false
		}
		life = n
	}
	return run, life, report, validRun(run)
}

var extPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// validKey tells whether a key that was read from a document can be one of ours: manifests are data, and a key in them must
// not lead anywhere else.
func validKey(key string) bool {
	if key == "" || len(key) > maxKey {
		return false
	}
	for name := range strings.SplitSeq(key, "/") {
		if name == "" || name[0] == '.' {
			return false
		}
		for i := range len(name) {
			if c := name[i]; !plain(c) && c != '.' && c != '%' && c != '~' {
				return false
			}
		}
	}
	return true
}

func checkKey(key string) error {
	if !validKey(key) {
		return invalid("key %.200q", key)
	}
	return nil
}
