package archive

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/s3blob"    // s3://
)

// location is a parsed place: a directory, or a bucket's URL.
type location struct {
	dir     string   // absolute; "" for a bucket
	url     *url.URL // nil for a directory
	display string
}

func parseLocation(text string) (location, error) {
	if !strings.Contains(text, "://") {
		if text == "" {
			return location{}, invalid("the archive's location is empty")
		}
		dir, err := filepath.Abs(text)
		if err != nil {
			return location{}, fmt.Errorf("find directory %s: %w", text, err)
		}
		return location{dir: dir, display: dir}, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return location{}, invalid("archive URL cannot be parsed") // the error would repeat the text, with what is secret in it
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") {
			return location{}, withHint(invalid("archive URL %s", displayURL(u)), "a file URL has three slashes: file:///srv/backups")
		}
		dir := filepath.Clean(u.Path)
		return location{dir: dir, display: dir}, nil
	case "s3", "gs", "azblob":
		if u.Host == "" {
			return location{}, invalid("archive URL %s names no bucket", displayURL(u))
		}
		return location{url: u, display: displayURL(u)}, nil
	}
	return location{}, invalid("unknown archive scheme %q (have azblob, file, gs, s3, or a directory)", u.Scheme)
}

// openBucket opens the bucket of a URL. A path in it is a prefix of keys, as with ?prefix=.
func (l location) openBucket(ctx context.Context) (*bucket, error) {
	u := *l.url
	prefix := strings.Trim(u.Path, "/")
	u.Path, u.RawPath = "", ""
	const validation = "response_checksum_validation"
	if q := u.Query(); u.Scheme == "s3" && !q.Has(validation) {
		// Every byte is checked against hashes of our own. The client's check writes a warning to stderr for each object
		// that has no checksum of S3's.
		q.Set(validation, "when_required")
		u.RawQuery = q.Encode()
	}
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", l.display, bucketError(ctx, err))
	}
	if prefix != "" {
		b = blob.PrefixedBucket(b, prefix+"/")
	}
	return &bucket{b: b}, nil
}

// displayURL returns a URL without what may be secret: user information, and parameters that are not known to be harmless.
func displayURL(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	query := url.Values{}
	for name, values := range u.Query() {
		switch name {
		case "region", "prefix", "profile", "use_path_style", "s3ForcePathStyle", "hostname_immutable", "disable_https",
			"anonymous", "domain", "protocol", "localemu", "cdn", "accelerate", "dualstack", "fips",
			"request_checksum_calculation", "response_checksum_validation":
			query[name] = values
		case "endpoint":
			for _, v := range values {
				if e, err := url.Parse(v); err == nil && e.User == nil && e.RawQuery == "" {
					query.Add(name, v)
				}
			}
		}
	}
	shown.RawQuery = query.Encode()
	return shown.String()
}

// openStore opens the place and never makes anything; errMissing where there is no such directory. Whether a bucket
// exists is known only at the first request.
func (l location) openStore(ctx context.Context, o Options) (store, error) {
	switch {
	case o.Bucket != nil:
		return &bucket{b: o.Bucket, keep: true}, nil
	case l.dir != "":
		s, err := openLocal(l.dir)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	b, err := l.openBucket(ctx)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// createStore opens the place and makes it if it is a directory that does not exist.
func (l location) createStore(ctx context.Context, o Options) (store, error) {
	s, err := l.openStore(ctx, o)
	if !errors.Is(err, errMissing) {
		return s, err
	}
	made, err := makeLocal(l.dir)
	if err != nil {
		return nil, err
	}
	return made, nil
}
