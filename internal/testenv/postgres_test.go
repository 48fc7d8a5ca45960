//go:build unix

package testenv_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"salvor/internal/testenv"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	plain := testenv.Postgres(t, testenv.PostgresOptions{})
	locked := testenv.Postgres(t, testenv.PostgresOptions{Password: "p w'\\", TLS: true})
	if plain.Port == locked.Port {
		t.Fatalf("two servers on port %d", plain.Port)
	}
	db := plain.NewDatabase()
	plain.Exec(db, "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, NULL)")
	plain.Restart()
	if got := plain.Query(db, "TABLE t"); got != "1|x\n2|NULL" {
		t.Errorf("after a restart the table holds %q", got)
	}
	if got := locked.Query("postgres", "SHOW ssl"); got != "on" {
		t.Errorf("ssl is %s", got)
	}
	right, wrong := locked.URL("postgres"), locked.URLAs("postgres", testenv.PostgresUser, "wrong")
	open := strings.Replace(right, "verify-full", "disable", 1)
	for url, want := range map[string]string{right: "", wrong: "28P01", open: "28000"} {
		conn, err := pgconn.Connect(t.Context(), url)
		if err == nil {
			_ = conn.Close(context.WithoutCancel(t.Context()))
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("connect to %s: %v, want %q", url, err, want)
		}
	}
}
