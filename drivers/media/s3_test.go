package media

import (
	"strings"
	"testing"

	"salvor/drivers/drivertest"
	"salvor/internal/testenv"
)

func newS3Server(t *testing.T, pageLimit int64) *testenv.S3 {
	t.Helper()
	return testenv.NewS3(t, pageLimit)
}

// bucketOf returns the bucket of a source that url made.
func bucketOf(source string) string {
	rest := strings.TrimPrefix(source, "s3://")
	return rest[:strings.IndexAny(rest, "/?")]
}

func TestConformanceS3(t *testing.T) {
	t.Parallel()
	const prefix = "pre/fix/"
	s := newS3Server(t, 13)
	drivertest.Tree(t, drivertest.TreeHarness{
		Kind: Kind(),
		Empty: func(t *testing.T) string {
			t.Helper()
			bucket := s.Bucket(t)
			for _, key := range []string{"pre/fi", "pre/fix", "pre/fix-", "pre/fix0", "zzz"} { // none of its business
				s.Write(t, bucket, key, nil, []byte("beside"))
			}
			return s.URL(bucket, "/pre/fix")
		},
		Write: func(t *testing.T, place, path string, data []byte) {
			t.Helper()
			s.Write(t, bucketOf(place), prefix+path, nil, data)
		},
		Remove: func(t *testing.T, place, path string) {
			t.Helper()
			_, err := s.Backend.Backend.DeleteObject(t.Context(), bucketOf(place), prefix+path)
			must(t, err)
		},
		Names: fewKeys, Unsafe: unsafeKeys,
	})
}
