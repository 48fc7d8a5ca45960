package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// capturePrefix begins the names of captures, so that none can be taken for a dump's.
const capturePrefix = "c"

// captureIDTime returns the time in a capture's name.
func captureIDTime(id string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(id, capturePrefix)
	if !ok {
		return time.Time{}, false
	}
	return dumpIDTime(rest)
}

func (r CaptureRef) dir() string { return captureDir + r.Set + "/" + r.Capture + "/" }

// captureFileKey names the file of a table's rows, or of a group's.
func captureFileKey(ref CaptureRef, schema, table string, group int) string {
	if group > 0 {
		return fmt.Sprintf("%smass/%03d.jsonl", ref.dir(), group)
	}
	name := encodeName(table, encodeDots)
	if schema != "" {
		name = encodeName(schema, encodeDots) + "." + name
	}
	if len(name) > 200 { // well below the 255 bytes of a file's name
		sum := sha256.Sum256([]byte(schema + "\x00" + table))
		name = name[:120] + "~" + hex.EncodeToString(sum[:16])
	}
	return ref.dir() + name + ".jsonl"
}

// capturePartKey names what a capture is put together from.
func capturePartKey(ref CaptureRef, p PartName) string {
	key := ref.dir() + partPrefix + encodeName(p.Name, keepDots) + "-" + p.Token
	if p.Ext != "" {
		key += "." + p.Ext
	}
	return key + ".zst"
}

const partPrefix = "part-"

// isCapturePart tells whether a name within a capture is that of a part.
func isCapturePart(name string) bool {
	return strings.HasPrefix(name, partPrefix) && strings.HasSuffix(name, ".zst")
}

// captureTextKey names decisions.yaml and summary.txt; "" for any other name.
func captureTextKey(ref CaptureRef, name string) string {
	if name != DecisionsFile && name != SummaryFile {
		return ""
	}
	return ref.dir() + name
}
