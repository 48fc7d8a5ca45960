package media

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/s3blob"    // s3://

	"salvor/drivers"
)

// location is a parsed source: a directory, or a bucket and a prefix of keys in it.
type location struct {
	dir      string // "" for a bucket
	url      *url.URL
	provider string // the URL's scheme
	bucket   string
	prefix   string // as it is: with a slash at the end where a folder is meant
	display  string // without what may be secret
}

// The schemes that gocloud does not open.
const (
	schemeFile   = "file"
	schemeGoogle = "gs"
)

// isLocal tells whether a source is a directory.
func isLocal(source string) bool {
	scheme, _, isURL := strings.Cut(source, "://")
	return !isURL || strings.EqualFold(scheme, schemeFile)
}

// parseLocation reads a source. A path in a bucket's URL is a folder, ?prefix= is taken as it is.
func parseLocation(text string) (location, error) {
	if !strings.Contains(text, "://") {
		if text == "" {
			return location{}, fmt.Errorf("the source is empty: %w", drivers.ErrInvalid)
		}
		return location{dir: text, display: text}, nil
	}
	u, err := url.Parse(text)
	if err != nil { // its error would repeat the text, with what is secret in it
		return location{}, fmt.Errorf("the source is no URL: %w", drivers.ErrInvalid)
	}
	if u.Scheme == schemeFile {
		if u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") {
			return location{}, drivers.WithHint(fmt.Errorf("source %s: %w", displayURL(u, ""), drivers.ErrInvalid),
				"a file URL has three slashes: file:///srv/media")
		}
		return location{dir: u.Path, display: u.Path}, nil
	}
	if schemes := bucketSchemes(); !slices.Contains(schemes, u.Scheme) {
		return location{}, fmt.Errorf("unknown scheme %q (have %s, or a directory): %w",
			u.Scheme, strings.Join(schemes, ", "), drivers.ErrInvalid)
	}
	if u.User != nil {
		return location{}, drivers.WithHint(fmt.Errorf("source %s: no user or password can stand before a bucket's name: %w",
			displayURL(u, ""), drivers.ErrInvalid), "where credentials come from: docs/media.md")
	}
	if u.Host == "" {
		return location{}, fmt.Errorf("source %s names no bucket: %w", displayURL(u, ""), drivers.ErrInvalid)
	}
	q := u.Query()
	prefix := q.Get("prefix")
	if folder := strings.TrimPrefix(u.Path, "/"); folder != "" {
		if prefix != "" {
			return location{}, fmt.Errorf("source %s: a path and ?prefix=, which mean the same: %w", displayURL(u, prefix), drivers.ErrInvalid)
		}
		prefix = strings.TrimSuffix(folder, "/") + "/"
	}
	q.Del("prefix")
	opened := url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: q.Encode()}
	return location{
		url: &opened, provider: u.Scheme, bucket: u.Host, prefix: prefix, display: displayURL(&opened, prefix),
	}, nil
}

// bucketSchemes are the schemes that gocloud knows in this program, and those that it does not open.
func bucketSchemes() []string {
	schemes := append(blob.DefaultURLMux().BucketSchemes(), schemeFile, schemeGoogle)
	slices.Sort(schemes)
	return slices.Compact(schemes)
}

// displayURL returns a bucket's URL without its parameters, which may be secret, but for the endpoint's host.
func displayURL(u *url.URL, prefix string) string {
	text := u.Scheme + "://" + u.Host
	if prefix != "" {
		text += "/" + prefix
	}
	if e, err := url.Parse(u.Query().Get("endpoint")); err == nil && e.Host != "" {
		text += " at " + e.Host
	}
	return text
}

// openStore opens the bucket. It sends no request to it.
func (l location) openStore(ctx context.Context, m *drivers.Memory) (store, error) {
	if l.provider == schemeGoogle {
		return openGCS(ctx, l, m)
	}
	b, err := blob.OpenBucket(ctx, l.url.String())
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("open %s: %w", l.display, ctx.Err())
		}
		// What gocloud says repeats the URL: the cause alone is safe to show only where it does not.
		return nil, drivers.WithHint(fmt.Errorf("open %s: %s: %w", l.display, withoutURL(err.Error(), l.url), drivers.ErrInvalid),
			"the parameters of a bucket's URL and where credentials come from: docs/media.md")
	}
	return l.storeOf(b, m), nil
}

// withoutURL takes a URL's text, and the values of its parameters, out of a message.
func withoutURL(message string, u *url.URL) string {
	message = strings.ReplaceAll(message, u.String(), u.Scheme+"://"+u.Host)
	for _, values := range u.Query() {
		for _, v := range values {
			message = strings.ReplaceAll(message, strconv.Quote(v), `"…"`)
			if len(v) > 5 { // a shorter one is no secret, and may be a word of the message
				message = strings.ReplaceAll(message, v, "…")
			}
		}
	}
	return message
}
