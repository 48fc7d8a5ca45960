package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Format is the archive format that this package writes, and the highest that it reads.
const Format = 1

// maxDocument is the greatest length of a document.
const maxDocument = 128 << 20

// The types of documents.
const (
	typeArchive  = "archive"
	typePlan     = "plan"
	typeNode     = "node"
	typeManifest = "manifest"
	typeOpen     = "open"
	typeRun      = "run"
	typeRestored = "restored"
	typeCapture  = "capture"
)

// envelope is what every document begins with.
type envelope struct {
	Type   string `json:"type"`
	Format int    `json:"format"`
}

// encodeJSON writes v on one line, with its newline, and leaves <, > and & as they are: people read this.
func encodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// encodeDocument returns a document: a line of JSON and a line with its hash.
func encodeDocument(v any) ([]byte, error) {
	line, err := encodeJSON(v)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(line)
	data := hex.AppendEncode(line, sum[:])
	data = append(data, '\n')
	if len(data) > maxDocument {
		return nil, invalid("document of %d bytes is longer than %d", len(data), maxDocument)
	}
	return data, nil
}

// decodeDocument checks a document's two lines, type and format, and decodes it into v. Errors wrap ErrCorrupt or
// ErrNewerFormat and name the key.
func decodeDocument(key, typ string, data []byte, v any) error {
	end := bytes.IndexByte(data, '\n') + 1
	if end == 0 {
		return corrupt(key, "document is cut short")
	}
	line, rest := data[:end], data[end:]
	sum := sha256.Sum256(line)
	if want := hex.AppendEncode(nil, sum[:]); len(rest) != len(want)+1 || rest[len(want)] != '\n' ||
		!bytes.Equal(rest[:len(want)], want) {
		return corrupt(key, "document does not fit its hash")
	}
	var env envelope
	if err := json.Unmarshal(line, &env); err != nil {
		return corrupt(key, "%v", err)
	}
	if env.Format > Format {
		return withHint(fmt.Errorf("%w: %s has format %d, this program reads up to %d", ErrNewerFormat, key, env.Format, Format),
			"upgrade this program")
	}
	if env.Type != typ || env.Format < 1 {
		return corrupt(key, "document of type %q, format %d where type %q should be", env.Type, env.Format, typ)
	}
	if err := json.Unmarshal(line, v); err != nil {
		return corrupt(key, "%v", err)
	}
	return nil
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
