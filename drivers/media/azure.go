package media

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob"

	"salvor/drivers"
)

// azureStore is a container of Azure Blob Storage.
type azureStore struct {
	opened *blob.Bucket
	client *container.Client
	part   int64 // the least length of a block
	memory *drivers.Memory
}

var _ store = (*azureStore)(nil)

func (s *azureStore) endpoint() string { return hostOf(s.client.URL()) }

func (s *azureStore) close() error { return s.opened.Close() }

// list implements store.
func (s *azureStore) list(prefix, from string) pages {
	o := &container.ListBlobsFlatOptions{Include: container.ListBlobsInclude{Metadata: true}, MaxResults: new(int32(pageSize))}
	if prefix != "" {
		o.Prefix = &prefix
	}
	if after, _ := startAfter(prefix, from); after != "" {
		o.StartFrom = &after // a server that does not know it begins at the beginning
	}
	var pager *runtime.Pager[container.ListBlobsFlatResponse]
	return func(ctx context.Context) ([]object, error) {
		if pager == nil {
			pager = s.client.NewListBlobsFlatPager(o)
		}
		if !pager.More() {
			return nil, io.EOF
		}
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		if page.Segment == nil {
			return nil, nil
		}
		objects := make([]object, 0, len(page.Segment.BlobItems))
		for _, item := range page.Segment.BlobItems {
			if item != nil && item.Name != nil {
				objects = append(objects, azureObject(item))
			}
		}
		return objects, nil
	}
}

func azureObject(item *container.BlobItem) object {
	o := object{key: *item.Name, complete: true, attributes: attributes{custom: make(map[string]string, len(item.Metadata))}}
	for name, value := range item.Metadata {
		o.custom[name] = valueOf(value)
	}
	p := item.Properties
	if p == nil {
		o.headers = headersOf(nil, nil)
		return o
	}
	o.headers = headersOf(p.ContentType, map[string]*string{
		headerCache: p.CacheControl, headerDisposition: p.ContentDisposition, headerEncoding: p.ContentEncoding,
		headerLanguage: p.ContentLanguage,
	})
	o.size, o.modified = valueOf(p.ContentLength), valueOf(p.LastModified)
	o.tag = azureTag(p.ETag)
	o.version = azureVersion(o)
	return o
}

// valueOf returns what a pointer points to, or the zero value.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// azureTag returns an ETag; listings leave its quotes out.
func azureTag(tag *azcore.ETag) string {
	if tag == nil {
		return ""
	}
	return quoted((*string)(tag))
}

func azureVersion(o object) string {
	if o.tag == "" || o.size < 0 {
		return ""
	}
	return o.tag + "/" + strconv.FormatInt(o.size, 10)
}

// head implements store by a listing: the names of metadata keep their case there alone.
func (s *azureStore) head(ctx context.Context, key string) (object, error) {
	pager := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{
		Prefix: &key, MaxResults: new(int32(1)), Include: container.ListBlobsInclude{Metadata: true},
	})
	for pager.More() { // a page may be empty and not the last
		page, err := pager.NextPage(ctx)
		if err != nil {
			return object{}, err
		}
		if page.Segment == nil || len(page.Segment.BlobItems) == 0 {
			continue
		}
		if item := page.Segment.BlobItems[0]; item != nil && valueOf(item.Name) == key {
			return azureObject(item), nil
		}
		break
	}
	return object{}, fmt.Errorf("blob %q: %w", key, drivers.ErrNotFound)
}

func (s *azureStore) open(ctx context.Context, key, tag string, offset int64) (io.ReadCloser, object, error) {
	o := &azblob.DownloadStreamOptions{}
	if offset > 0 {
		o.Range.Offset = offset
	}
	if tag != "" {
		match := azcore.ETag(tag)
		o.AccessConditions = &azblob.AccessConditions{ModifiedAccessConditions: &azblob.ModifiedAccessConditions{IfMatch: &match}}
	}
	// Without this the HTTP client would unpack what is stored with Content-Encoding: gzip.
	ctx = policy.WithHTTPHeader(ctx, http.Header{"Accept-Encoding": {"identity"}})
	out, err := s.client.NewBlobClient(key).DownloadStream(ctx, o)
	if err != nil {
		if _, status := codeOf(err); status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable {
			err = fmt.Errorf("%w (%w)", drivers.ErrChanged, err)
		}
		return nil, object{}, err
	}
	have := object{key: key, size: wholeSize(out.ContentLength, offset), tag: azureTag(out.ETag)}
	have.version = azureVersion(have)
	return out.Body, have, nil
}

// leastBlock is the least buffer that the client takes.
const leastBlock = 1 << 20

// put implements store. Blocks that were sent are invisible until the list of them is committed.
func (s *azureStore) put(ctx context.Context, o object, body io.Reader, ifAbsent bool) error {
	p, err := partsOf(ctx, s.memory, max(o.size, leastBlock), s.part)
	if err != nil {
		return err
	}
	defer p.release()
	options := &blockblob.UploadStreamOptions{
		BlockSize: max(leastBlock, min(p.length, o.size+1)), Concurrency: p.atOnce, Metadata: make(map[string]*string, len(o.custom)),
		HTTPHeaders: &azblob.HTTPHeaders{
			BlobContentType: o.header(headerType), BlobCacheControl: o.header(headerCache),
			BlobContentDisposition: o.header(headerDisposition), BlobContentEncoding: o.header(headerEncoding),
			BlobContentLanguage: o.header(headerLanguage),
		},
	}
	for name, value := range o.custom {
		options.Metadata[name] = &value
	}
	if ifAbsent {
		options.AccessConditions = &azblob.AccessConditions{ModifiedAccessConditions: &azblob.ModifiedAccessConditions{
			IfNoneMatch: new(azcore.ETagAny),
		}}
	}
	_, err = s.client.NewBlockBlobClient(o.key).UploadStream(ctx, body, options)
	return err
}

func (s *azureStore) remove(ctx context.Context, key string) error {
	_, err := s.client.NewBlobClient(key).Delete(ctx, &azblob.DeleteOptions{
		DeleteSnapshots: new(azblob.DeleteSnapshotsOptionTypeInclude),
	})
	return err
}
