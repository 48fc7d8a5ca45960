package mysql

import "testing"

// TestJSONTypes dumps JSON values of types that text does not have: MySQL makes others of them when it reads them back, and no
// row is said to differ for it.
func TestJSONTypes(t *testing.T) {
	t.Parallel()
	s := server(t)
	db := s.NewDatabase()
	s.Exec(db, "CREATE TABLE t (id int PRIMARY KEY, j json)")
	if s.MySQL {
		s.Exec(db, `INSERT INTO t VALUES (1, CAST(1.10 AS JSON)), (2, JSON_OBJECT('date', CAST('2020-01-01' AS DATE), 'time', CAST('12:00:00.123456' AS TIME(6)),
			'price', CAST(1.230 AS DECIMAL(10,3)), 'bit', b'101', 'blob', x'00ff', 'double', 1e20))`)
	}
	s.Exec(db, `INSERT INTO t VALUES (3, '{"a": 1.10, "b": 1e2, "c": 18446744073709551615, "d": -0.0}'), (4, '123456789012345678901234567890.5'), (5, NULL)`)
	d := dumpDatabase(t, s.URL(db), "")
	name := s.NewName()
	d.mustProve(t, s, name)
	const values = "SELECT id, JSON_EXTRACT(j, '$.price') + 0, JSON_UNQUOTE(JSON_EXTRACT(j, '$.date')), JSON_UNQUOTE(JSON_EXTRACT(j, '$.time')), JSON_EXTRACT(j, '$.c') FROM t ORDER BY id"
	if want, got := s.Query(db, values), s.Query(name, values); want != got {
		t.Errorf("values %s, want %s", got, want)
	}
}
