package queue_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"salvor/internal/testenv"
)

// TestCluster carries a run on a cluster of one: every script and pipeline must keep to one slot.
func TestCluster(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t, "--cluster-enabled", "yes")
	server.Do("CLUSTER ADDSLOTSRANGE 0 16383")
	f := newFleet(t, "redis://"+server.Addr()+"?addr="+server.Addr())
	if _, ok := f.conn.Redis().(*redis.ClusterClient); !ok {
		t.Fatalf("the client is a %T", f.conn.Redis())
	}
	testenv.Eventually(t, soon, func() string {
		if err := f.conn.Redis().Set(t.Context(), "ready", 1, 0).Err(); err != nil {
			return err.Error()
		}
		return ""
	})
	f.worker("w1")
	f.worker("w2")
	f.start(fleetPlan("r1"))
	nothingLost(t, f.done("r1"))
	keys, err := f.conn.Redis().Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if !strings.HasPrefix(k, "{salvor2}:") && !strings.HasPrefix(k, "asynq:") && k != "ready" {
			t.Errorf("key %s has not the ledger's tag", k)
		}
	}
	if err := f.ledger.Forget(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	if keys, err = f.conn.Redis().Keys(t.Context(), "{salvor2}:*").Result(); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k != "{salvor2}:sweep" { // when the runs of all were swept last
			t.Errorf("forget left %s", k)
		}
	}
}
