package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"salvor/drivers"
	"salvor/drivers/drivertest"
	"salvor/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is a small database with rows enough for several writes, in tables of several ranges.
const shop = `
CREATE TABLE digit (d INT PRIMARY KEY);
INSERT INTO digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE VIEW seq AS SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS seq FROM digit a JOIN digit b JOIN digit c JOIN digit e;
CREATE TABLE customer (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL UNIQUE, data VARBINARY(1000), score FLOAT, kind ENUM('a','b') NOT NULL);
INSERT INTO customer (name, data, score, kind) SELECT CONCAT('customer ', seq), UNHEX(REPEAT(SHA2(seq, 256), 2)), seq / 7, 'b' FROM seq WHERE seq <= 4000;
CREATE TABLE ` + "`or.der/x`" + ` (shop INT NOT NULL, id VARCHAR(20) CHARACTER SET latin1 NOT NULL, customer INT, note TEXT, total INT AS (shop * 2) STORED, KEY (total), KEY (note(10)),
  PRIMARY KEY (shop, id), CONSTRAINT by_customer FOREIGN KEY (customer) REFERENCES customer (id));
INSERT INTO ` + "`or.der/x`" + ` (shop, id, customer, note) SELECT seq % 3, CONCAT('Ä', seq), 1 + seq % 4000, CONCAT('tab\t new\nline \\ end ', REPEAT('x', 150), seq) FROM seq WHERE seq <= 3000;
CREATE TABLE ` + "`empty`" + ` (a INT);
CREATE TABLE counter (n INT);
CREATE TABLE ` + "`change`" + ` (n INT);
INSERT INTO counter VALUES (0);
CREATE TABLE old (a INT PRIMARY KEY, b TEXT, FULLTEXT (b)) ENGINE=MyISAM;
INSERT INTO old SELECT seq, 'x' FROM seq WHERE seq <= 50;
CREATE VIEW b AS SELECT id, name FROM customer WHERE id < 10;
CREATE VIEW a AS SELECT * FROM b;
CREATE TRIGGER t BEFORE INSERT ON ` + "`change`" + ` FOR EACH ROW SET NEW.n = NEW.n + 0;
CREATE PROCEDURE p() SELECT 1;
CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DO SELECT 1;
`

// rowsOf lists all rows of a database's tables, by what another client would show.
func rowsOf(ctx context.Context, s *testenv.MariaDBServer, db string) (string, error) {
	tables, err := s.Do(ctx, "", "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '"+db+"' AND TABLE_TYPE = 'BASE TABLE' AND TABLE_NAME NOT LIKE 'salvor%' ORDER BY 1")
	if err != nil {
		return "", err
	}
	var all []string
	for table := range strings.Lines(tables) {
		table = strings.TrimSuffix(table, "\n")
		rows, err := s.Do(ctx, db, "SELECT * FROM `"+table+"`")
		if err != nil {
			return "", err
		}
		for row := range strings.Lines(rows) {
			all = append(all, table+"\t"+strings.TrimSuffix(row, "\n"))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n"), nil
}

// counter counts the changes of each database.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) next(place string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[place]++
	return c.n[place]
}

// consistent tells whether contents have as many changes as the counter says.
func consistent(contents string) error {
	changes, count := 0, ""
	for line := range strings.Lines(contents) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "change\t") {
			changes++
		}
		if after, ok := strings.CutPrefix(line, "counter\t"); ok {
			count = after
		}
	}
	if count != fmt.Sprint(changes) {
		return fmt.Errorf("%d changes, and the counter says %s", changes, count)
	}
	return nil
}

// databaseOf is the database of a source that testenv made.
func databaseOf(source string) string {
	source, _, _ = strings.Cut(source, "?")
	return source[strings.LastIndexByte(source, '/')+1:]
}

// seedShop makes a database. Of MySQL those who define something at the same time lock each other out, whatever the database.
func seedShop(t *testing.T, s *testenv.MariaDBServer) string {
	t.Helper()
	for {
		name := s.NewDatabase()
		_, err := s.Do(t.Context(), name, shop)
		if err == nil {
			return name
		}
		if !isCode(err, codeDeadlock) {
			t.Fatalf("make the shop: %v", err)
		}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	s := server(t, "max_connections=400")
	var changes counter
	drivertest.Stream(t, drivertest.StreamHarness{
		Kind:    Kind(),
		Options: json.RawMessage(`{"chunk": 200000}`),
		Adapt: func(rules drivers.Target) drivers.Target {
			rules.Create, rules.Clean = true, rules.Replace()
			return rules
		},
		New: func(t *testing.T) string {
			t.Helper()
			name := seedShop(t, s)
			if !s.MySQL {
				s.Exec(name, "CREATE SEQUENCE numbers START WITH 10 INCREMENT BY 5; SELECT NEXT VALUE FOR numbers")
			}
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
			_, err := s.Do(ctx, databaseOf(source), "START TRANSACTION; INSERT INTO `change` SELECT n + 1 FROM counter; UPDATE counter SET n = n + 1; COMMIT")
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
			name := databaseOf(target)
			found, err := s.Do(t.Context(), "", fmt.Sprintf("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '%s' AND TABLE_NAME LIKE 'salvor%%' "+
				"UNION SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'salvor_new_%%%08x'", name, crc32.ChecksumIEEE([]byte(name))))
			if err != nil || found == "" {
				return nil
			}
			return []string{found}
		},
	})
}
