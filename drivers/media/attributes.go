package media

import (
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"salvor/drivers"
)

// headersOf makes an object's headers of those that are set.
func headersOf(contentType *string, others map[string]*string) map[string]string {
	headers := map[string]string{headerType: ""}
	if contentType != nil {
		headers[headerType] = *contentType
	}
	for name, value := range others {
		if value != nil && *value != "" {
			headers[name] = *value
		}
	}
	return headers
}

// header returns a header's value; nil where it has none.
func (a attributes) header(name string) *string {
	if value := a.headers[name]; value != "" {
		return &value
	}
	return nil
}

// expires returns the time of the header Expires; nil where it has none.
func (a attributes) expires() *time.Time {
	at, err := http.ParseTime(a.headers[headerExpires])
	if err != nil {
		return nil
	}
	return &at
}

// fromObject tells whether an entry was an object of a bucket: only those have a content type.
func fromObject(e drivers.Entry) bool {
	_, ok := e.Meta.Headers[headerType]
	return ok && e.Type == drivers.TypeFile
}

// The kinds of losses.
const (
	lostMetadata = "custom metadata not kept: its name or value is not allowed here"
	lostSpaces   = "spaces around the value of custom metadata not kept"
	lostMissing  = "custom metadata that the source could not give"
	lostEmpty    = "empty content type not kept"
)

func lostHeader(name string) string { return "header " + name + " not kept" }

// rules say what a store can hold.
type rules struct {
	headers []string
	// name returns the name of custom metadata as the store has it; false if it cannot.
	name func(name string) (string, bool)
	// wire tells that values travel as HTTP headers: no control characters, no spaces around.
	wire bool
	// emptyType tells that an object may have no content type.
	emptyType bool
}

// hold sorts out what a store can keep.
func (r rules) hold(a attributes) (held attributes, lost []string) {
	held = attributes{headers: make(map[string]string, len(a.headers)), custom: make(map[string]string, len(a.custom))}
	for _, name := range slices.Sorted(maps.Keys(a.headers)) {
		value := a.headers[name]
		switch {
		case name == headerMissing:
			lost = append(lost, lostMissing)
		case name == headerType && value == "" && !r.emptyType:
			lost = append(lost, lostEmpty)
		case !slices.Contains(r.headers, name), !httpguts.ValidHeaderFieldValue(value), name == headerExpires && a.expires() == nil:
			lost = append(lost, lostHeader(name))
		default:
			held.headers[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.custom)) {
		value := a.custom[name]
		heldName, ok := r.name(name)
		if _, taken := held.custom[heldName]; taken || !ok || r.wire && !httpguts.ValidHeaderFieldValue(value) {
			lost = append(lost, lostMetadata)
			continue
		}
		if trimmed := strings.Trim(value, " \t"); r.wire && trimmed != value {
			lost = append(lost, lostSpaces)
			value = trimmed
		}
		held.custom[heldName] = value
	}
	return held, lost
}

// same tells whether an object has the attributes that were wanted and can be held. No content type means any: what comes
// from a directory has none.
func (a attributes) same(have attributes) bool {
	if wanted, ok := a.headers[headerType]; ok && wanted != have.headers[headerType] {
		return false
	}
	for name := range maps.Keys(have.headers) {
		if _, ok := a.headers[name]; !ok && name != headerType {
			return false
		}
	}
	for name, value := range a.headers {
		if name != headerType && !sameHeader(name, value, have.headers[name]) {
			return false
		}
	}
	return maps.EqualFunc(a.custom, have.custom, func(x, y string) bool { return x == y || decoded(x) == decoded(y) })
}

func sameHeader(name, x, y string) bool {
	if x == y || name != headerExpires {
		return x == y
	}
	a, errA := http.ParseTime(x)
	b, errB := http.ParseTime(y)
	return errA == nil && errB == nil && a.Equal(b)
}

// decoded returns a value without the coding of RFC 2047, in which S3 gives what is not ASCII:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
func decoded(value string) string {
	if !strings.Contains(value, "=?") {
		return value
	}
	text, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		return value
	}
	return text
}

// typeOf returns the content type of what had none, by its name's end: a browser is to show a picture, not to save it.
func typeOf(key string) string {
	if t := mime.TypeByExtension(path.Ext(key)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// standardHeaders are what every store holds.
func standardHeaders() []string {
	return []string{headerType, headerCache, headerDisposition, headerEncoding, headerLanguage}
}

// hold implements store.
func (s *s3Store) hold(a attributes) (attributes, []string) {
	return rules{
		headers: append(standardHeaders(), headerExpires, headerRedirect),
		wire:    true,
		name: func(name string) (string, bool) {
			return strings.ToLower(name), httpguts.ValidHeaderFieldName(name)
		},
	}.hold(a)
}

// hold implements store.
func (g *gcs) hold(a attributes) (attributes, []string) {
	return rules{
		headers: standardHeaders(), emptyType: true,
		name: func(name string) (string, bool) { return name, name != "" },
	}.hold(a)
}

// hold implements store. The names of metadata are those of C# identifiers:
// https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata#metadata-names
func (s *azureStore) hold(a attributes) (attributes, []string) {
	return rules{
		headers: standardHeaders(), wire: true,
		name: func(name string) (string, bool) {
			for i := range len(name) {
				c := name[i]
				letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
				if !letter && (i == 0 || c < '0' || c > '9') {
					return name, false
				}
			}
			return name, name != ""
		},
	}.hold(a)
}

// hold implements store. Gocloud has the names of metadata in lower case.
func (p *portable) hold(a attributes) (attributes, []string) {
	return rules{
		headers: standardHeaders(),
		name:    func(name string) (string, bool) { return strings.ToLower(name), name != "" },
	}.hold(a)
}
