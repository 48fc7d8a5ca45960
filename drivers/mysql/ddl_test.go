package mysql

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const orders = "CREATE TABLE `or,d(ers` (\n" +
	"  `id` int(11) NOT NULL AUTO_INCREMENT COMMENT 'a, b) \\' '' KEY',\n" +
	"  `KEY` varchar(10) DEFAULT ')',\n" +
	"  `n` decimal(10,2) GENERATED ALWAYS AS (coalesce(`id`,0)) STORED,\n" +
	"  `e` enum('a,b','c)') /*!80023 INVISIBLE */,\n" +
	"  PRIMARY KEY (`id`),\n" +
	"  UNIQUE KEY `u` (`KEY`),\n" +
	"  KEY `k` (`n`,`id`) USING BTREE COMMENT 'x, y',\n" +
	"  FULLTEXT KEY `f` (`KEY`),\n" +
	"  FULLTEXT KEY `g` (`KEY`),\n" +
	"  KEY `x` ((cast(`n` as char(10) charset utf8mb4))),\n" +
	"  CONSTRAINT `fk` FOREIGN KEY (`id`) REFERENCES `o` (`i`) ON DELETE CASCADE,\n" +
	"  CONSTRAINT `ch` CHECK (`n` > 0 and `KEY` <> 'a, b')\n" +
	") ENGINE=InnoDB AUTO_INCREMENT=42 DEFAULT CHARSET=utf8mb4 COMMENT='AUTO_INCREMENT=7'\n" +
	"/*!50100 PARTITION BY HASH (`id`) PARTITIONS 2 */"

func TestSplitTable(t *testing.T) {
	t.Parallel()
	d, err := splitTable(orders)
	if err != nil {
		t.Fatal(err)
	}
	want := "CREATE TABLE `or,d(ers` (\n" +
		"  `id` int(11) NOT NULL AUTO_INCREMENT COMMENT 'a, b) \\' '' KEY',\n" +
		"  `KEY` varchar(10) DEFAULT ')',\n" +
		"  `n` decimal(10,2) GENERATED ALWAYS AS (coalesce(`id`,0)) STORED,\n" +
		"  `e` enum('a,b','c)') /*!80023 INVISIBLE */,\n" +
		"  PRIMARY KEY (`id`),\n" +
		"  CONSTRAINT `ch` CHECK (`n` > 0 and `KEY` <> 'a, b')\n" +
		") ENGINE=InnoDB AUTO_INCREMENT=42 DEFAULT CHARSET=utf8mb4 COMMENT='AUTO_INCREMENT=7'\n" +
		"/*!50100 PARTITION BY HASH (`id`) PARTITIONS 2 */"
	if diff := cmp.Diff(want, d.create()); diff != "" {
		t.Errorf("create (-want +got):\n%s", diff)
	}
	wantAlters := []string{
		"ALTER TABLE `t` ADD UNIQUE KEY `u` (`KEY`), ADD KEY `k` (`n`,`id`) USING BTREE COMMENT 'x, y'",
		"ALTER TABLE `t` ADD FULLTEXT KEY `f` (`KEY`)",
		"ALTER TABLE `t` ADD FULLTEXT KEY `g` (`KEY`)",
		"ALTER TABLE `t` ADD KEY `x` ((cast(`n` as char(10) charset utf8mb4)))",
	}
	if diff := cmp.Diff(wantAlters, alters("t", d.indexes)); diff != "" {
		t.Errorf("alters (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"CONSTRAINT `fk` FOREIGN KEY (`id`) REFERENCES `o` (`i`) ON DELETE CASCADE"}, d.foreign); diff != "" {
		t.Errorf("foreign keys (-want +got):\n%s", diff)
	}
	if got := indexName(d.indexes[1]) + indexName(d.foreign[0]) + indexName("KEY (`a`)"); got != "kfk" {
		t.Errorf("names = %s", got)
	}
}

// TestKeptIndexes looks which indexes stay with the table.
func TestKeptIndexes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string
		want []string
	}{
		"no primary key": {
			"CREATE TABLE `t` (\n `a` int NOT NULL,\n `b` int,\n UNIQUE KEY `a` (`a`),\n KEY `b` (`b`)\n) ENGINE=InnoDB",
			[]string{"KEY `b` (`b`)"},
		},
		"auto_increment by a key": {
			"CREATE TABLE `t` (\n `p` int,\n `a` int NOT NULL AUTO_INCREMENT,\n PRIMARY KEY (`p`),\n KEY `z` (`p`),\n KEY `a` (`a`),\n KEY `b` (`p`)\n) ENGINE=InnoDB",
			[]string{"KEY `b` (`p`)"},
		},
		"another engine": {
			"CREATE TABLE `t` (\n `p` int,\n PRIMARY KEY (`p`),\n KEY `z` (`p`)\n) ENGINE=MyISAM",
			nil,
		},
	} {
		d, err := splitTable(c.sql)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, d.indexes, cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAutoIncrement(t *testing.T) {
	t.Parallel()
	sql, n, err := cutAutoIncrement(orders)
	if err != nil || n != 42 || strings.Contains(sql, "=42") || !strings.Contains(sql, "ENGINE=InnoDB DEFAULT") || !strings.Contains(sql, "'AUTO_INCREMENT=7'") {
		t.Fatalf("cutAutoIncrement = %s, %d, %v", sql, n, err)
	}
	back, err := withAutoIncrement(sql, 42)
	if err != nil || back != orders {
		t.Errorf("withAutoIncrement = %s, %v", back, err)
	}
	if same, err := withAutoIncrement(sql, 1); err != nil || same != sql {
		t.Errorf("withAutoIncrement(1) = %s, %v", same, err)
	}
}

func TestWithoutDefiner(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"CREATE DEFINER=`a``b`@`%` PROCEDURE `p`() SELECT 'DEFINER=x'":                          "CREATE PROCEDURE `p`() SELECT 'DEFINER=x'",
		"CREATE ALGORITHM=UNDEFINED DEFINER=`r`@`h` SQL SECURITY DEFINER VIEW `v` AS select 1":  "CREATE ALGORITHM=UNDEFINED SQL SECURITY DEFINER VIEW `v` AS select 1",
		"CREATE DEFINER=`role` FUNCTION `f`() RETURNS int RETURN 1":                             "CREATE FUNCTION `f`() RETURNS int RETURN 1",
		"CREATE DEFINER = 'u'@'h' EVENT `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1":                "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1",
		"CREATE VIEW `v` AS select `definer` from `t` where a = b and c = d and definer = user": "CREATE VIEW `v` AS select `definer` from `t` where a = b and c = d and definer = user",
	} {
		if got, err := withoutDefiner(sql); err != nil || got != want {
			t.Errorf("withoutDefiner(%s) = %s, %v", sql, got, err)
		}
	}
}

func TestInheritCollation(t *testing.T) {
	t.Parallel()
	d, err := splitTable("CREATE TABLE `t` (\n  `a` varchar(10) COLLATE utf8mb4_unicode_ci NOT NULL,\n  `b` enum('COLLATE utf8mb4_unicode_ci','x') COLLATE utf8mb4_unicode_ci DEFAULT NULL,\n" +
		"  `c` text CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci,\n  `d` text COLLATE utf8mb4_bin,\n  PRIMARY KEY (`a`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci")
	requireNoError(t, "split", err)
	requireNoError(t, "inherit", d.inheritCollation())
	want := []string{
		"`a` varchar(10) NOT NULL", "`b` enum('COLLATE utf8mb4_unicode_ci','x') DEFAULT NULL",
		"`c` text CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", "`d` text COLLATE utf8mb4_bin", "PRIMARY KEY (`a`)",
	}
	if diff := cmp.Diff(want, d.defs); diff != "" {
		t.Errorf("definitions (-want +got):\n%s", diff)
	}
}

func TestUnqualify(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"CREATE VIEW `v` AS select `w`.`t`.`i` AS `i`,`w`.`f`(`t`.`i`) AS `x`,nextval(`w`.`s`) AS `y` from `t`": "CREATE VIEW `v` AS select `t`.`i` AS `i`,`f`(`t`.`i`) AS `x`,nextval(`s`) AS `y` from `t`",
		"CREATE VIEW `v` AS select `w`.`i` AS `i`,'`w`.`t`.`i`' from (`w` join `o`.`w` join `o`.`w`.`x`)":       "CREATE VIEW `v` AS select `w`.`i` AS `i`,'`w`.`t`.`i`' from (`w` join `o`.`w` join `o`.`w`.`x`)",
		"CREATE TABLE `d` (\n  `a` int DEFAULT nextval(`w`.`s`)\n)":                                             "CREATE TABLE `d` (\n  `a` int DEFAULT nextval(`s`)\n)",
	} {
		if got, err := unqualify(sql, "w"); err != nil || got != want {
			t.Errorf("unqualify(%s) = %s, %v", sql, got, err)
		}
	}
}

func FuzzSplitTable(f *testing.F) {
	f.Add(orders)
	f.Add("CREATE TABLE `t` (`a` int) ENGINE=InnoDB")
	f.Add("CREATE TABLE t (a int, /* ( */ `b` int 'x")
	f.Fuzz(func(t *testing.T, sql string) {
		d, err := splitTable(sql)
		if err != nil {
			return
		}
		again, err := splitTable(d.create())
		if err != nil {
			t.Fatalf("what was split cannot be: %v\n%s", err, d.create())
		}
		if diff := cmp.Diff(d.defs, again.defs); diff != "" && len(d.indexes) == 0 {
			t.Fatalf("definitions change (-first +second):\n%s", diff)
		}
		if _, err := withoutDefiner(sql); err != nil {
			t.Fatalf("withoutDefiner: %v", err)
		}
		if cut, n, err := cutAutoIncrement(sql); err == nil && n > 1 {
			if _, m, err := cutAutoIncrement(cut); err != nil || m == n && strings.Count(strings.ToUpper(sql), "AUTO_INCREMENT") < 2 {
				t.Fatalf("cutAutoIncrement left %d: %v", m, err)
			}
		}
	})
}
