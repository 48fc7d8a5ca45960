package mysql

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"salvor/drivers/drivertest"
	"salvor/drivers/relational"
)

func TestRelational(t *testing.T) {
	t.Parallel()
	s := server(t, "max_connections=400")
	nopad, expanded := "utf8mb4_general_nopad_ci", []string{"'ß'", "'ss'"}
	if s.MySQL {
		nopad, expanded = "utf8mb4_0900_ai_ci", nil // see docs/rescue.md, Limits
	}
	h := drivertest.RelationalHarness{
		Kind: Kind(),
		New: func(t *testing.T) (string, func(...string)) {
			t.Helper()
			name := s.NewDatabase()
			return s.URL(name), func(statements ...string) {
				t.Helper()
				s.Exec(name, "SET sql_mode='ANSI_QUOTES,NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES', time_zone='+00:00'; "+strings.Join(statements, ";\n"))
			}
		},
		Keys: []drivertest.RelationalKey{
			{Name: "bigint", Type: "bigint", Literals: []string{"-9223372036854775808", "-1", "0", "1", "9007199254740993", "9223372036854775807"}},
			{Name: "unsigned", Type: "bigint unsigned", Literals: []string{"0", "1", "9223372036854775807", "9223372036854775808", "18446744073709551615"}},
			{Name: "decimal", Type: "decimal(30,5)", Literals: []string{"-1e20", "-1.05", "-0.001", "0", "0.5", "1.05"}},
			{Name: "general_ci", Type: "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", Literals: []string{"''", "'A'", "'ab'", "'É'", "'z'"}, Same: []string{"'a'", "'A'", "'a '", "'Á'"}},
			{Name: "nopad", Type: "varchar(20) CHARACTER SET utf8mb4 COLLATE " + nopad, Literals: []string{"''", "'a'", "'a '", "'ab'", "'z'"}},
			{Name: "unicode_ci", Type: "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", Literals: []string{"''", "'a'", "'ab'", "'o'", "'z'"}, Same: expanded},
			{Name: "latin1", Type: "varchar(20) CHARACTER SET latin1 COLLATE latin1_german1_ci", Literals: []string{"'a'", "'ab'", "'b'"}, Same: []string{"'ä'", "'a'"}},
			{Name: "bin", Type: "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", Literals: []string{"''", "'A'", "'a'", "'é'", "'𝄞'"}},
			{Name: "varbinary", Type: "varbinary(20)", Literals: []string{"X''", "X'00'", "X'0001'", "X'61'", "X'ff'"}},
			{Name: "binary", Type: "binary(16)", Literals: []string{"X'00000000000000000000000000000000'", "X'0a000000000000000000000000000000'", "X'ff000000000000000000000000000000'"}},
			{Name: "datetime", Type: "datetime(6)", Literals: []string{"'1000-01-01 00:00:00'", "'2026-11-30 10:00:00'", "'2026-11-30 10:00:00.000001'", "'9999-12-31 23:59:59.999999'"}},
			{Name: "time", Type: "time", Literals: []string{"'-838:59:59'", "'10:00:00'", "'838:59:59'"}},
			{Name: "enum", Type: "enum('z','a')", Literals: []string{"'a'", "'z'"}},
			{Name: "year", Type: "year", Literals: []string{"1901", "2155"}},
		},
		Moment: "timestamp(6) NULL", Wall: "datetime(6)", Date: "date", Key: "varchar(60) CHARACTER SET utf8mb4",
		Text: "varchar(250) CHARACTER SET utf8mb4", Int: "bigint", Decimal: "decimal(10,2)", Float: "double", Bytes: "varbinary(100)", Bool: "boolean", BytesLiteral: "X'%s'",
		Serial: `"id" bigint AUTO_INCREMENT PRIMARY KEY`, Generated: `"twice" bigint GENERATED ALWAYS AS ("n" * 2) STORED`,
		Trigger: []string{`CREATE TRIGGER "copy" AFTER INSERT ON "t" FOR EACH ROW INSERT INTO "log" VALUES (NEW."id")`},
		Faithful: []drivertest.Faithful{
			{
				Name: "TypesOfMySQL",
				Base: []string{
					`SET sql_mode=CONCAT(@@sql_mode, ',ALLOW_INVALID_DATES')`,
					`CREATE TABLE x (id INT PRIMARY KEY, e ENUM('a','b'), s SET('x','y','z'), y YEAR, b BIT(9), d DATE, dt DATETIME(6), t TIME(6), ts TIMESTAMP(6) NULL, f FLOAT, g GEOMETRY, j JSON, l VARCHAR(50) CHARACTER SET latin1, bin BINARY(4), u BIGINT UNSIGNED, txt MEDIUMTEXT, blb BLOB, c CHAR(5))`,
					`INSERT INTO x (id, l, txt) VALUES (1, 'é', 'text'), (2, 'a', 'text')`,
				},
				Work: []string{
					`SET sql_mode='ANSI_QUOTES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'`,
					`INSERT INTO x VALUES (3, 'b', 'x,z', 0, b'100000001', '0000-00-00', '2026-02-31 00:00:00', '-838:59:59', '2026-11-30 10:00:00.000001', 16777217, ST_GeomFromText('POINT(1 2)', 4326), '{"b": 1,  "a":2}', 'ß', X'0102', 18446744073709551615, 'it''s', X'00ff', 'a')`,
					`INSERT INTO x (id, s, y, t, bin) VALUES (0, '', 2155, '838:59:59', X'')`,
					`UPDATE x SET l = 'É', txt = 'TEXT', j = '[1, 2]', f = 0.1 WHERE id = 1`,
				},
			},
			{
				Name: "TimesThatRenewThemselves",
				Base: []string{`CREATE TABLE r (id INT PRIMARY KEY, v INT, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)`, `INSERT INTO r VALUES (1, 1, '2020-01-01 00:00:00'), (2, 2, '2020-01-01 00:00:00')`},
				Work: []string{`UPDATE r SET v = 5, at = at WHERE id = 1`, `UPDATE r SET v = 6, at = '2021-01-01 00:00:00' WHERE id = 2`, `INSERT INTO r VALUES (3, 3, '2019-01-01 00:00:00')`},
			},
			{
				Name: "CollatedKeys",
				Base: []string{`CREATE TABLE k (name VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)`, `CREATE TABLE c (id INT PRIMARY KEY, k VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, FOREIGN KEY (k) REFERENCES k (name))`, `INSERT INTO k VALUES ('Ann', 1), ('b', 2)`},
				Work: []string{`INSERT INTO k VALUES ('Émile', 3)`, `INSERT INTO c VALUES (1, 'ANN'), (2, 'emile')`, `UPDATE k SET v = 5 WHERE name = 'ANN'`},
			},
		},
		Session: func(t *testing.T, source string) func(...string) {
			t.Helper()
			p, err := parsePlace(source)
			requireNoError(t, "parse", err)
			config, err := p.config()
			requireNoError(t, "configure", err)
			config.Params = map[string]string{"sql_mode": "'ANSI_QUOTES,STRICT_ALL_TABLES'", "time_zone": "'+00:00'"}
			connector, err := mysql.NewConnector(config)
			requireNoError(t, "connect", err)
			db := sql.OpenDB(connector)
			db.SetMaxOpenConns(1)
			t.Cleanup(func() { requireNoError(t, "close", db.Close()) })
			return func(statements ...string) {
				t.Helper()
				for _, statement := range statements {
					_, err := db.ExecContext(t.Context(), statement)
					requireNoError(t, statement, err)
				}
			}
		},
		UUID: "char(32)", JSON: map[string]bool{"json": !s.MySQL}, Digits: map[string]bool{"decimal(10,2)": false, "double": false},
		Enforces: true, Deep: 300, NoNegativeZero: !s.MySQL,
	}
	t.Run("Rows", func(t *testing.T) { t.Parallel(); drivertest.Relational(t, h) })
	t.Run("Compare", func(t *testing.T) { t.Parallel(); drivertest.Compare(t, h) })
	t.Run("Close", func(t *testing.T) { t.Parallel(); drivertest.Close(t, h) })
	t.Run("Damage", func(t *testing.T) { t.Parallel(); drivertest.Damage(t, h) })
	t.Run("Random", func(t *testing.T) { t.Parallel(); drivertest.Random(t, h, 8) })
	t.Run("RandomMerge", func(t *testing.T) { t.Parallel(); drivertest.RandomMerge(t, h, 4) })
	t.Run("MergeConflicts", func(t *testing.T) { t.Parallel(); drivertest.MergeConflicts(t, h) })
	t.Run("MergeOperations", func(t *testing.T) { t.Parallel(); drivertest.MergeOperations(t, h) })
	t.Run("MergeFidelity", func(t *testing.T) { t.Parallel(); drivertest.MergeFidelity(t, h) })
}

func TestModelOfMySQL(t *testing.T) {
	t.Parallel()
	s := server(t)
	db, other := s.NewDatabase(), s.NewDatabase()
	s.Exec(other, "CREATE TABLE far (id INT PRIMARY KEY)")
	s.Exec(db, "CREATE TABLE g (id INT PRIMARY KEY, far INT, CONSTRAINT leads_away FOREIGN KEY (far) REFERENCES "+other+".far (id))")
	s.Exec(db, `CREATE TABLE a (id BIGINT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(50) NOT NULL, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, UNIQUE beginning (v(5)));
		INSERT INTO a (id, v) VALUES (41, 'x');
		CREATE TABLE old (i INT PRIMARY KEY) ENGINE=MyISAM;
		CREATE TRIGGER t BEFORE UPDATE ON a FOR EACH ROW SET NEW.v = NEW.v;
		CREATE VIEW w AS SELECT 1;
		CREATE TABLE f (id INT PRIMARY KEY, x FLOAT, y YEAR, e ENUM('a', ''), b BIT(9), u TEXT CHARACTER SET latin1);
		INSERT INTO f VALUES (1, 16777217, 0, '', b'100000001', 'é');
		SET sql_mode=''; INSERT INTO f VALUES (2, 0.1, 1999, 'nothing', NULL, NULL)`)
	if !s.MySQL {
		s.Exec(db, "CREATE SEQUENCE numbers START WITH 10 INCREMENT BY 5")
	}
	v, err := openSource(t, s.URL(db), "").Observe(t.Context())
	requireNoError(t, "observe", err)
	t.Cleanup(func() { requireNoError(t, "end", v.End(context.WithoutCancel(t.Context()))) })
	m, err := v.Model(t.Context())
	requireNoError(t, "model", err)
	requireNoError(t, "check", m.Check())
	a, f := m.Table(relational.Name{Name: "a"}), m.Table(relational.Name{Name: "f"})
	if a == nil || f == nil || len(m.Tables) != 3 || len(m.Omitted) != 2 || m.Omitted[1].Name.Name != "old" {
		t.Fatalf("tables %v, omitted %+v", m.Tables, m.Omitted)
	}
	if o := m.Omitted[0]; o.Name.Name != "g" || !strings.Contains(o.Reason, "leads_away refers to "+other+".far") || len(m.Table(o.Name).Foreign) != 0 {
		t.Errorf("a reference to another database: %+v", o)
	}
	if c := a.Columns; !c[0].Identity || !c[2].Renewed || c[2].Clock != relational.ClockMoment {
		t.Errorf("columns: %+v", c)
	}
	if len(a.Unique) != 1 || !a.Unique[0].Expression || len(a.Triggers) != 1 || a.Triggers[0].Events[0] != "update" {
		t.Errorf("unique keys %+v, triggers %+v", a.Unique, a.Triggers)
	}
	for _, q := range m.Sequences {
		if q.Name.Name == "a" && (q.Last != "41" || q.Column != "id") || q.Name.Name == "numbers" && (q.Last != "10" || q.Increment != "5") {
			t.Errorf("sequence: %+v", q)
		}
	}
	rows, err := v.Scan(t.Context(), relational.Scan{Table: f, Key: f.Primary})
	requireNoError(t, "scan", err)
	var got []string
	for {
		row, err := rows.Next()
		if err != nil {
			break
		}
		for i := range row.Values {
			got = append(got, string(relational.AppendJSON(nil, &f.Columns[i], row.Values[i])))
		}
	}
	requireNoError(t, "close", rows.Close())
	want := `1 1.6777216e+07 "0000" "" {"$b64":"AQE="} "é" 2 0.10000000149011612 "1999" "" null null` //nolint:dupword // two values that are null
	if text := strings.Join(got, " "); text != want {
		t.Errorf("rows: %s, want %s", text, want)
	}
}
