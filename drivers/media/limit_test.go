package media

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/internal/secret"
)

// TestLimit: a node's limit holds for all that is asked together, and without one as much is asked as pays.
func TestLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 1, 3, 100} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			s := newS3Server(t, 1000)
			bucket := s.Bucket(t)
			for i := range 50 {
				s.Write(t, bucket, fmt.Sprintf("%02d", i), nil, []byte("text"))
			}
			var now, most atomic.Int64
			fake := s.Fake.Server()
			s.Handle = func(w http.ResponseWriter, r *http.Request) bool {
				n := now.Add(1)
				defer now.Add(-1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				fake.ServeHTTP(w, r)
				return true
			}
			tree, err := Open(t.Context(), drivers.Spec{Node: "n", Source: secret.New(s.URL(bucket, "")), Limit: limit})
			must(t, err)
			t.Cleanup(func() { must(t, tree.Close()) })
			want := requestsAtOnce
			if limit > 0 {
				want = min(want, limit)
			}
			objects, ok := tree.(drivers.Bucket)
			if !ok || objects.AtOnce() != want {
				t.Fatalf("%T is no bucket of which %d are asked together", tree, want)
			}
			var group errgroup.Group
			for range 3 { // walks and openings at the same time
				group.Go(func() error {
					return tree.Walk(t.Context(), drivers.Range{}, func(e drivers.Entry) error {
						group.Go(func() error {
							c, err := tree.Open(t.Context(), e)
							if err != nil {
								return err
							}
							if _, err := c.Next(); err != nil {
								return err
							}
							if _, err := io.Copy(io.Discard, c); err != nil {
								return err
							}
							return c.Close()
						})
						return nil
					})
				})
			}
			must(t, group.Wait())
			must(t, tree.Target().Prepare(t.Context(), careful))
			if got := most.Load(); limit > 0 && got > int64(want) {
				t.Errorf("%d requests at the same time, the limit is %d", got, limit)
			}
		})
	}
}
