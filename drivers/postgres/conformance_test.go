package postgres

import (
	"context"
	"encoding/json"
	"testing"

	"salvor/drivers/drivertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	s := server(t, "max_connections = 200")
	s.Exec("postgres", "CREATE DATABASE seed")
	s.Exec("seed", seed)
	var changes counter
	drivertest.Stream(t, drivertest.StreamHarness{
		Kind:    Kind(),
		Options: json.RawMessage(`{"chunk": 200000}`),
		Adapt:   createAll,
		New: func(t *testing.T) string {
			t.Helper()
			name := s.NewName()
			s.Exec("postgres", "CREATE DATABASE "+name+" TEMPLATE seed")
			return s.URL(name)
		},
		Absent: func(t *testing.T) string {
			t.Helper()
			return s.URL(s.NewName())
		},
		Empty: func(t *testing.T) string {
			t.Helper()
			return s.URL(s.NewDatabase())
		},
		Mutate: func(ctx context.Context, source string) error {
			changes.next(source)
			_, err := s.Do(ctx, databaseOf(source), "BEGIN; INSERT INTO shop.change SELECT n + 1 FROM shop.counter; UPDATE shop.counter SET n = n + 1; COMMIT")
			return err
		},
		Contents: func(t *testing.T, source string) string {
			t.Helper()
			text, err := rowsOf(t.Context(), s, databaseOf(source))
			requireNoError(t, "read rows", err)
			return text
		},
		Consistent: consistent,
		Leftovers: func(t *testing.T, target string) []string {
			t.Helper()
			found, err := s.Do(t.Context(), databaseOf(target), "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'salvor%'")
			if err != nil || found == "" {
				return nil
			}
			return []string{found}
		},
	})
}
