package media

import (
	"context"
	"io"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"

	"salvor/drivers"
)

// store is what a bucket's provider can do. Keys are whole and as they are. All methods are safe for concurrent use; errors
// are the provider's, see translate.
type store interface {
	// list returns the pages of the objects whose keys begin with prefix, from a key on, in bytewise order. What comes
	// before from may be among them.
	list(prefix, from string) pages
	// head returns one object with all its attributes.
	head(ctx context.Context, key string) (object, error)
	// open opens an object's content from an offset, and tells what is being read, with size -1 where the length is not
	// known. If tag is not "", it is
	// [drivers.ErrChanged] where the object has another one, as far as the store can tell.
	open(ctx context.Context, key, tag string, offset int64) (io.ReadCloser, object, error)
	// put writes an object. If ifAbsent, errExists tells that there is one. What body returns as an error is never
	// published, whatever was read before. What of it is in memory is taken of the process's share; nothing is read of body
	// before that.
	put(ctx context.Context, o object, body io.Reader, ifAbsent bool) error
	// remove removes an object. An absent one may be an error.
	remove(ctx context.Context, key string) error
	// hold returns what the store can keep of an object's attributes, and what it cannot, by kind.
	hold(a attributes) (held attributes, lost []string)
	// endpoint names the server, for telling places apart.
	endpoint() string
	close() error
}

// prober is a store that can tell without a trace whether it may be written.
type prober interface {
	probe(ctx context.Context, prefix string) error
}

// pages gives the next page of a listing; io.EOF after the last. A page may be empty.
type pages func(ctx context.Context) ([]object, error)

// object is what is known of an object.
type object struct {
	key string
	attributes
	size     int64
	modified time.Time
	// tag is what pins a content: an ETag, a generation; "" where there is none.
	tag string
	// version is the tag, and more where the store knows more; "" where there is none.
	version string
	// complete tells that the attributes are known; a listing may leave them out.
	complete bool
}

// attributes are an object's headers, by their HTTP names, and its own metadata. Content-Type is always among the headers
// of an object that was read, perhaps as "".
type attributes struct{ headers, custom map[string]string }

// The headers of objects.
const (
	headerType        = "Content-Type"
	headerCache       = "Cache-Control"
	headerDisposition = "Content-Disposition"
	headerEncoding    = "Content-Encoding"
	headerLanguage    = "Content-Language"
	headerExpires     = "Expires"
	headerRedirect    = "X-Amz-Website-Redirect-Location"
	headerMissing     = "X-Amz-Missing-Meta" // how many names of metadata S3 could not give
)

// storeOf returns the store behind a gocloud bucket: the provider's own client where it is known.
func (l location) storeOf(b *blob.Bucket, m *drivers.Memory) store {
	var (
		amazon *s3.Client
		azure  *container.Client
	)
	switch {
	case b.As(&amazon):
		return newS3(b, amazon, l, m)
	case b.As(&azure):
		return &azureStore{opened: b, client: azure, part: partSize, memory: m}
	default:
		return &portable{bucket: b, memory: m}
	}
}

// entry makes the tree's entry of an object.
func (t *Tree) entry(o object) drivers.Entry {
	e := drivers.Entry{Path: t.path(o.key), Type: drivers.TypeFile, Size: o.size, Version: o.version}
	if !o.modified.IsZero() {
		at := o.modified.UTC()
		e.Meta.ModTime = &at
	}
	e.Meta.Headers = o.headers
	if len(o.custom) > 0 {
		e.Meta.Custom = o.custom
	}
	return e
}
