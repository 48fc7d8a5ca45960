-- A database with everything that a dump has to bring back and that MariaDB and MySQL both have.
SET NAMES utf8mb4, time_zone = '+00:00', foreign_key_checks = 0;
ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION';

-- Every type, with values that are hard.
CREATE TABLE numbers (
  id int NOT NULL AUTO_INCREMENT PRIMARY KEY, i1 tinyint, u1 tinyint unsigned, z1 tinyint(3) unsigned zerofill, i2 smallint, u2 smallint unsigned,
  i3 mediumint, u3 mediumint unsigned, i4 int, u4 int unsigned, z4 int(10) unsigned zerofill, i8 bigint, u8 bigint unsigned, b bool,
  d decimal(65,30), d0 decimal(65,0), du decimal(20,10) unsigned, f float, fu float unsigned, f2 float(7,4), g double, g2 double(20,3), p float(53)
);
INSERT INTO numbers VALUES
 (NULL, -128, 255, 7, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, 42, -9223372036854775808, 18446744073709551615, true,
  -99999999999999999999999999999999999.999999999999999999999999999999, -99999999999999999999999999999999999999999999999999999999999999999,
  9999999999.9999999999, -3.40282346e38, 3.40282346e38, -999.9999, -1.7976931348623157e308, 99999999999999999.999, 0.1),
 (NULL, 127, 0, 0, 32767, 0, 8388607, 0, 2147483647, 0, 0, 9223372036854775807, 0, false,
  0.000000000000000000000000000001, 0, 0, 1.17549435e-38, 16777216, 0.0001, 2.2250738585072014e-308, 0.001, 1e23),
 (NULL, 0, 1, 1, 0, 1, 0, 1, 0, 1, 1, 0, 1, 0, -0.5, 1, 1.5, -0e0, 0.1, -0e0, -0e0, -0e0, 5e-324),
 (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0.3333333333, 123456.789, 1.1,
  0.1e0 + 0.2e0, 1e15, 9007199254740993),
 (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 8388608.5, 33554435, NULL,
  123456789.123456789, NULL, 4.35);
CREATE TABLE bits (id int PRIMARY KEY, b1 bit(1), b7 bit(7), b8 bit(8), b9 bit(9), b13 bit(13), b24 bit(24), b31 bit(31), b63 bit(63), b64 bit(64) NOT NULL);
INSERT INTO bits VALUES (1, b'1', b'1011100', 9, 10, 92, x'095c0a', 0, ~0, ~0), (2, b'0', 0, 0, 0, 0, 0, 1, 1, 0), (3, NULL, 9, 92, 256, 2353, x'000000', 2147483647, 9, x'095C0A00275C4E0D'),
 (4, 1, 127, 255, 511, 8191, 16777215, 2147483647, 9223372036854775807, 9223372036854775808);
CREATE TABLE texts (
  id int PRIMARY KEY, c char(10), c0 char(0), v varchar(1000), v0 varchar(0), tt tinytext, t text, mt mediumtext, lt longtext, bi binary(5), b1 binary,
  vb varbinary(300), tb tinyblob, bl blob, mb mediumblob, lb longblob, j json
);
INSERT INTO texts VALUES
 (1, 'ab  ', '', 'tab\t nl\n cr\r bs\\ \\N nul\0 quote'' dquote" sub\Z backspace\b end', '', 'x', '\\N', '\\', '\n', x'0100000000', x'00', x'00095c0a0d1a', x'', x'00', x'ff', x'5c4e', '{"a":1}'),
 (2, '', NULL, '', NULL, '', '', '', '', x'0000000000', x'20', x'', '', '', '', '', '{"b": [1, 2.50, null, "x\\ny\\t\\"\\u00e9"], "a": {}}'),
 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, 'NULL', '', 'NULL', '', 'NULL', '\\N\n\\N', '\t', '\\\\', '\\N\0\0\0', '\\', '\\N', '\n', '\t', '\\', '\r\n', 'null'),
 (5, '😀é€', '', 'ünï 😀 漢字 é é', '', '😀', 'ﬀ', '𝒳', '👩‍👩‍👧‍👦', x'2020202020', ' ', x'f09f9880', x'80ff', x'c3', x'e282', x'efbbbf', '"😀"'),
 (6, ' a', '', '   ', '', '  trailing  ', ' ', '', 'x', x'6120000000', x'ff', x'2000', x'2000', x'0020', '', '', '[]');
UPDATE texts SET lt = CONCAT(REPEAT('line\twith\\ and 😀\n', 40000), 'end'), lb = REPEAT(x'00010203090a0d1a225c27ff', 50000) WHERE id = 6;
CREATE TABLE bytes (b tinyint unsigned PRIMARY KEY, v varbinary(8), t varchar(8) CHARACTER SET latin1);
INSERT INTO bytes SELECT a.i * 16 + b.i, CHAR(a.i * 16 + b.i, a.i * 16 + b.i), CONVERT(CHAR(a.i * 16 + b.i USING latin1) USING latin1) FROM
 (SELECT 0 i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9
  UNION SELECT 10 UNION SELECT 11 UNION SELECT 12 UNION SELECT 13 UNION SELECT 14 UNION SELECT 15) a,
 (SELECT 0 i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9
  UNION SELECT 10 UNION SELECT 11 UNION SELECT 12 UNION SELECT 13 UNION SELECT 14 UNION SELECT 15) b;
CREATE TABLE times (
  id int PRIMARY KEY, d date, t time, t6 time(6), dt datetime, dt3 datetime(3), dt6 datetime(6), ts timestamp NULL, ts6 timestamp(6) NULL, y year
);
INSERT INTO times VALUES
 (1, '0000-00-00', '838:59:59', '838:59:58.999999', '0000-00-00 00:00:00', 0, 0, 0, 0, 0),
 (2, '2020-00-00', '-838:59:59', '-838:59:58.999999', '2020-00-10 00:00:00', '2020-02-31 12:34:56.789', '9999-12-31 23:59:59.999999', '1970-01-01 00:00:01', '2038-01-19 03:14:07.999999', 1901),
 (3, '9999-12-31', '00:00:00', '-00:00:00.000001', '1000-01-01 00:00:00', '0001-01-01 00:00:00.001', '1969-12-31 23:59:59.000001', '2024-10-27 00:30:00', '2024-10-27 01:30:00.000001', 2155),
 (4, '0001-01-01', '24:00:01', '99:00:00.5', '2024-03-31 02:30:00', NULL, NULL, '2024-03-31 01:00:00', NULL, 2024),
 (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE automatic_times (
  id int PRIMARY KEY, made timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, changed timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  dt datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)
);
INSERT INTO automatic_times VALUES (1, '2001-02-03 04:05:06', '2001-02-03 04:05:06.070809', '2001-02-03 04:05:06.007'), (2, 0, 0, NULL);
CREATE TABLE choices (
  id int PRIMARY KEY, e enum('a','b','','0','1','2','it''s, "x"','täb\t','back\\slash') , n enum('x','y') NOT NULL, l enum('é','à') CHARACTER SET latin1,
  s set('a','b','c d','1','é','') , s64 set('0','1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17','18','19','20','21','22','23','24','25',
  '26','27','28','29','30','31','32','33','34','35','36','37','38','39','40','41','42','43','44','45','46','47','48','49','50','51','52','53','54','55','56','57',
  '58','59','60','61','62','63')
);
INSERT INTO choices VALUES (1, 'a', 'x', 'é', '', ''), (2, '', 'nothing', 'à', 'a,c d', 18446744073709551615), (3, '0', 'y', NULL, 'é', '63'),
 (4, '2', 'nothing', 'nothing', NULL, NULL), (5, 'it''s, "x"', 'x', 'é', 63, '1,2,32'), (6, 'täb\t', 'x', NULL, '1', 1), (7, 'back\\slash', 'x', NULL, 'a,b,c d,1,é', 0),
 (8, 'no such', 'x', NULL, 0, 0), (9, NULL, 'y', NULL, 32, 2);
CREATE TABLE shapes (
  id int PRIMARY KEY, g geometry, p point, l linestring, po polygon, mp multipoint, ml multilinestring, mpo multipolygon, gc geometrycollection
);
INSERT INTO shapes VALUES
 (1, ST_GeomFromText('POINT(1.5 -2.25)'), ST_GeomFromText('POINT(0.1 1e300)'), ST_GeomFromText('LINESTRING(0 0,1 1,2 3)'),
  ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 10,0 0),(2 2,2 4,4 4,4 2,2 2))'), ST_GeomFromText('MULTIPOINT(1 1,2 2)'),
  ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))'), ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))'),
  ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))')),
 (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (3, ST_GeomFromText('POINT(10 92)', 4326), ST_GeomFromText('POINT(9 9)', 4326), NULL, NULL, NULL, NULL, NULL, NULL);

-- Columns that are made, hidden, or have defaults.
CREATE TABLE made (
  id int PRIMARY KEY AUTO_INCREMENT, a int NOT NULL, v int GENERATED ALWAYS AS (a * 2) VIRTUAL, s int GENERATED ALWAYS AS (a + 1) STORED COMMENT 'stored', b varchar(40),
  u varchar(40) GENERATED ALWAYS AS (UPPER(b)) STORED, j json, jv varchar(20) GENERATED ALWAYS AS (JSON_UNQUOTE(JSON_EXTRACT(j, '$.x'))) VIRTUAL,
  KEY by_virtual (v), KEY by_json (jv), UNIQUE KEY by_stored (s)
) AUTO_INCREMENT = 1000;
INSERT INTO made (a, b, j) VALUES (1, 'é', '{"x": "one"}'), (2, NULL, NULL), (30, 'tab\t', '{"x": 2}');
CREATE TABLE hidden (a int, h int INVISIBLE DEFAULT 7, b int, k varchar(10) INVISIBLE, PRIMARY KEY (a));
INSERT INTO hidden (a, h, b, k) VALUES (1, 2, 3, 'x\ty'), (2, 7, NULL, NULL);
CREATE TABLE only_made (a int NOT NULL DEFAULT 1, b int GENERATED ALWAYS AS (a + 1) VIRTUAL);
INSERT INTO only_made () VALUES (), (), ();
CREATE TABLE defaults (
  id int PRIMARY KEY, e int DEFAULT (1 + 2), u varchar(36) DEFAULT (UPPER('x')), t varchar(40) DEFAULT 'it''s \\ "x" ü', n int DEFAULT NULL, b bit(3) DEFAULT b'101',
  d datetime DEFAULT '2001-01-01 00:00:00', bl blob DEFAULT ('blob'), s set('a','b') DEFAULT 'a,b', `empty` varchar(5) DEFAULT '', x binary(3) DEFAULT x'610000'
);
INSERT INTO defaults (id) VALUES (1);
INSERT INTO defaults VALUES (2, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE checked (
  id int PRIMARY KEY, a int, b int, CONSTRAINT positive CHECK (a > 0), CONSTRAINT `odd ``name` CHECK (b <> a OR b IS NULL), CHECK (id < 1000000)
) COMMENT = 'it''s "checked" \\ ü 漢';
INSERT INTO checked VALUES (1, 1, 2), (2, NULL, NULL);

-- Keys of all kinds.
CREATE TABLE zero_id (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, a varchar(5));
INSERT INTO zero_id VALUES (0, 'zero'), (-5, 'less'), (100, 'gap');
ALTER TABLE zero_id AUTO_INCREMENT = 500;
CREATE TABLE auto_empty (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 12345678901234567890;
CREATE TABLE auto_second (a int, id int NOT NULL AUTO_INCREMENT, PRIMARY KEY (a, id), KEY (id));
INSERT INTO auto_second VALUES (1, 0), (1, 10), (2, 3);
CREATE TABLE key_unsigned (id bigint unsigned PRIMARY KEY, t varchar(20));
INSERT INTO key_unsigned VALUES (0, 'a'), (9223372036854775807, 'b'), (9223372036854775808, 'c'), (18446744073709551615, 'd');
CREATE TABLE key_composite (a int, b varchar(20), c datetime(3), d int, PRIMARY KEY (a, b DESC, c));
INSERT INTO key_composite WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
 SELECT i % 7 - 3, CONCAT('k', i % 13, CASE WHEN i % 2 THEN 'X' ELSE 'y' END), '2020-01-01' + INTERVAL i SECOND, i FROM n;
CREATE TABLE key_text (k varchar(40) NOT NULL, v int, PRIMARY KEY (k)) CHARACTER SET utf8mb4;
INSERT INTO key_text WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
 SELECT CONCAT(CASE i % 4 WHEN 0 THEN 'É' WHEN 1 THEN 'e' WHEN 2 THEN '😀' ELSE '\t\\''' END, i), i FROM n;
CREATE TABLE key_binary_text (k varchar(20) COLLATE utf8mb4_bin NOT NULL PRIMARY KEY);
INSERT INTO key_binary_text VALUES ('a'), ('A'), ('á'), ('ß'), ('ss'), (''), ('\\'), ('\t');
CREATE TABLE key_latin (k varchar(20) CHARACTER SET latin1 COLLATE latin1_german2_ci NOT NULL PRIMARY KEY, v int);
INSERT INTO key_latin VALUES ('ä', 1), ('b', 2), ('öz', 3), ('ü', 4), ('ÿ', 5), ('z', 6);
CREATE TABLE key_uuid (k char(36) CHARACTER SET ascii NOT NULL PRIMARY KEY, v int);
INSERT INTO key_uuid WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
 SELECT INSERT(INSERT(INSERT(INSERT(LEFT(SHA2(i, 256), 32), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-'), i FROM n;
CREATE TABLE key_binary (k binary(16) NOT NULL PRIMARY KEY, v int);
INSERT INTO key_binary WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT UNHEX(LEFT(SHA2(i, 256), 32)), i FROM n;
INSERT INTO key_binary VALUES (x'00', 1), (x'5c0a0900275c', 2);
CREATE TABLE key_varbinary (k varbinary(20) NOT NULL PRIMARY KEY);
INSERT INTO key_varbinary VALUES (''), (x'00'), (x'0000'), (x'ff'), (x'20'), (x'2020'), (x'5c');
CREATE TABLE key_prefix (k text NOT NULL, v int, PRIMARY KEY (k(3)));
INSERT INTO key_prefix VALUES ('abcdef', 1), ('abdxyz', 2), ('b', 3), ('', 4);
CREATE TABLE key_decimal (k decimal(40,10) NOT NULL PRIMARY KEY);
INSERT INTO key_decimal VALUES (-1.5), (0), (123456789012345678901234567890.0000000001), (0.1);
CREATE TABLE key_time (k datetime(6) NOT NULL, t time(6) NOT NULL, d date NOT NULL, ts timestamp(6) NOT NULL DEFAULT 0, y year NOT NULL, PRIMARY KEY (k, t, d, ts, y));
INSERT INTO key_time VALUES (0, '-1:00:00.5', 0, 0, 0), ('2020-00-00', 0, '2020-00-00', '2020-01-01', 1901), ('9999-12-31 23:59:59.999999', '838:59:59', '9999-12-31', '2038-01-19 03:14:07', 2155);
CREATE TABLE key_enum (k enum('z','a','m') NOT NULL, s set('q','p') NOT NULL, PRIMARY KEY (k, s));
INSERT INTO key_enum VALUES ('z', ''), ('z', 'q,p'), ('a', 'p'), ('m', 'q'), ('nothing', 'q');
CREATE TABLE key_float (k double NOT NULL PRIMARY KEY, f float);
INSERT INTO key_float VALUES (0.1, 0.1), (-1e308, 1), (5e-324, 2), (0.30000000000000004, 0.3), (0.3, 0.7);
CREATE TABLE key_bit (k bit(20) NOT NULL PRIMARY KEY);
INSERT INTO key_bit VALUES (0), (9), (92), (1048575);
CREATE TABLE key_unique (a int, b varchar(10), UNIQUE KEY (a), UNIQUE KEY (b));
INSERT INTO key_unique VALUES (1, 'x'), (NULL, 'y'), (NULL, NULL), (2, NULL), (NULL, NULL);
CREATE TABLE key_unique_not_null (b varchar(10) NOT NULL, a int NOT NULL, UNIQUE KEY second (a, b));
INSERT INTO key_unique_not_null VALUES ('x', 1), ('y', 1), ('x', 2);
CREATE TABLE no_key (a int, b text);
INSERT INTO no_key VALUES (3, 'c'), (1, 'a'), (1, 'a'), (NULL, NULL), (NULL, NULL), (2, '');
CREATE TABLE `empty` (id int PRIMARY KEY, t text);
CREATE TABLE many_rows (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, name varchar(40) NOT NULL, payload varbinary(200), KEY by_name (name), KEY by_payload (payload(8)));
INSERT INTO many_rows (name, payload) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
 SELECT CONCAT('name ', i), UNHEX(REPEAT(LEFT(SHA2(i, 256), 32), 4)) FROM n;
INSERT INTO many_rows (name, payload) SELECT CONCAT(name, 'b'), payload FROM many_rows;
INSERT INTO many_rows (id, name, payload) SELECT id + 100000, name, payload FROM many_rows;

-- Character sets.
CREATE TABLE charset_latin1 (id int PRIMARY KEY, t varchar(50), bytes varchar(50)) CHARACTER SET latin1;
INSERT INTO charset_latin1 VALUES (1, 'é€ÿ', _latin1 x'F09F9880C3A9'), (2, 'plain', _latin1 x'818D8F909D');
CREATE TABLE charset_utf8mb3 (id int PRIMARY KEY, t varchar(50), u text CHARACTER SET utf8mb4) CHARACTER SET utf8mb3;
INSERT INTO charset_utf8mb3 VALUES (1, '漢字 é', '😀');
CREATE TABLE charset_columns (
  id int PRIMARY KEY, l1 varchar(20) CHARACTER SET latin1, l2 varchar(20) CHARACTER SET latin2, u16 varchar(20) CHARACTER SET utf16, u32 varchar(20) CHARACTER SET utf32,
  uc2 varchar(20) CHARACTER SET ucs2, sj varchar(20) CHARACTER SET sjis, c932 varchar(20) CHARACTER SET cp932, gb varchar(20) CHARACTER SET gbk, b5 varchar(20) CHARACTER SET big5,
  eu varchar(20) CHARACTER SET ujis, ko varchar(20) CHARACTER SET euckr, ru varchar(20) CHARACTER SET koi8r, cp varchar(20) CHARACTER SET cp1251, a varchar(20) CHARACTER SET ascii,
  b varchar(20) CHARACTER SET binary, ci varchar(20) COLLATE utf8mb4_unicode_ci, bi varchar(20) COLLATE utf8mb4_bin, le varchar(20) CHARACTER SET utf16le
) CHARACTER SET latin1;
INSERT INTO charset_columns VALUES (1, 'é€', 'čšž', '😀é', '😀漢', '漢é', 'ソ表', 'ソ①', '誠\\', '功許', '日本', '한국', 'Привет', 'Привет', '~\\|', x'00ff5c', 'ÀÉ', 'àé', '😀');
INSERT INTO charset_columns (id, sj, c932, gb, b5) VALUES (2, _sjis x'835C', _cp932 x'835C', _gbk x'D55C', _big5 x'A55C'), (3, '\\', '\\\t', '\n\\', '\0');
CREATE TABLE charset_utf16 (k varchar(20) PRIMARY KEY, t text) CHARACTER SET utf16;
INSERT INTO charset_utf16 VALUES ('a', '\t\n\\'), ('Ü', '😀'), ('', '');
CREATE TABLE charset_binary (k varchar(20) PRIMARY KEY, t text) CHARACTER SET binary;
INSERT INTO charset_binary VALUES (x'ff00', x'00ff'), ('', '');

-- Foreign keys: cycles, tables that name themselves, names that sort the wrong way.
CREATE TABLE cycle_a (id int PRIMARY KEY, b int, CONSTRAINT a_to_b FOREIGN KEY (b) REFERENCES cycle_b (id) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE cycle_b (id int PRIMARY KEY, a int NOT NULL, CONSTRAINT b_to_a FOREIGN KEY (a) REFERENCES cycle_a (id) ON DELETE CASCADE);
INSERT INTO cycle_a VALUES (1, 1), (2, NULL); INSERT INTO cycle_b VALUES (1, 1), (2, 2);
CREATE TABLE self (id int PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES self (id));
INSERT INTO self VALUES (1, 2), (2, 1), (3, 3), (4, NULL);
CREATE TABLE a_child (id int PRIMARY KEY, x int, y varchar(10), n varchar(40), FOREIGN KEY (x, y) REFERENCES z_parent (x, y) ON UPDATE SET NULL, FOREIGN KEY (n) REFERENCES z_parent (n) ON DELETE RESTRICT);
CREATE TABLE z_parent (x int, y varchar(10), n varchar(40), PRIMARY KEY (x, y), UNIQUE KEY (n));
INSERT INTO z_parent VALUES (1, 'a', 'n1'), (1, 'b', NULL); INSERT INTO a_child VALUES (1, 1, 'a', 'n1'), (2, NULL, 'zzz', NULL), (3, 1, 'B', NULL);
CREATE TABLE orphan (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES self (id));
INSERT INTO orphan VALUES (1, 4711);

-- Indexes.
CREATE TABLE indexes (
  id int PRIMARY KEY, a int, b varchar(200), t text, g geometry NOT NULL, KEY descending (a DESC, b), KEY prefix (b(10), t(20)) COMMENT 'it''s an index',
  FULLTEXT KEY words (t), FULLTEXT KEY both_words (b, t), SPATIAL KEY place (g), UNIQUE KEY `odd ``index` (a, id), KEY using_btree (b) USING BTREE
);
INSERT INTO indexes VALUES (1, 1, 'one', 'a quick brown fox', ST_GeomFromText('POINT(1 1)')), (2, 2, 'two', 'jumps', ST_GeomFromText('POINT(2 2)'));

-- Partitions.
CREATE TABLE part_range (id int NOT NULL, d date NOT NULL, PRIMARY KEY (id, d)) PARTITION BY RANGE (YEAR(d)) (
  PARTITION p0 VALUES LESS THAN (2000) COMMENT = 'old', PARTITION p1 VALUES LESS THAN (2010), PARTITION `p max` VALUES LESS THAN MAXVALUE);
INSERT INTO part_range VALUES (1, '1999-01-01'), (2, '2005-01-01'), (3, '2050-01-01'), (4, '0000-00-00');
CREATE TABLE part_columns (a int, b varchar(10)) PARTITION BY RANGE COLUMNS (b, a) (PARTITION p0 VALUES LESS THAN ('m', 10), PARTITION p1 VALUES LESS THAN (MAXVALUE, MAXVALUE));
INSERT INTO part_columns VALUES (1, 'a'), (10, 'm'), (5, 'z'), (NULL, 'b'), (1, NULL);
CREATE TABLE part_list (id int NOT NULL, r varchar(5)) PARTITION BY LIST COLUMNS (r) (PARTITION north VALUES IN ('n', 'nw'), PARTITION rest VALUES IN ('s', 'it''s', NULL));
INSERT INTO part_list VALUES (1, 'n'), (2, 'it''s'), (3, NULL);
CREATE TABLE part_hash (id int NOT NULL PRIMARY KEY, t text) PARTITION BY LINEAR HASH (id) PARTITIONS 5;
INSERT INTO part_hash VALUES (1, 'a'), (2, 'b'), (3, 'c'), (-7, 'd');
CREATE TABLE part_key (k varchar(20) NOT NULL PRIMARY KEY) PARTITION BY KEY () PARTITIONS 3;
INSERT INTO part_key VALUES ('a'), ('b'), ('c'), ('ö');
CREATE TABLE part_sub (id int, d date) PARTITION BY RANGE (TO_DAYS(d)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (
  PARTITION p0 VALUES LESS THAN (730000), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO part_sub VALUES (1, '1990-01-01'), (2, '2020-01-01'), (3, NULL);

-- Storage.
CREATE TABLE row_compressed (id int PRIMARY KEY, t text) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8;
INSERT INTO row_compressed VALUES (1, REPEAT('x', 10000));
CREATE TABLE row_redundant (id int PRIMARY KEY, t text) ROW_FORMAT = REDUNDANT AVG_ROW_LENGTH = 50 MAX_ROWS = 1000 MIN_ROWS = 5 STATS_PERSISTENT = 1 STATS_AUTO_RECALC = 0;
INSERT INTO row_redundant VALUES (1, 'x');
CREATE TABLE in_myisam (id int PRIMARY KEY AUTO_INCREMENT, t varchar(10)) ENGINE = MyISAM PACK_KEYS = 1 CHECKSUM = 1 DELAY_KEY_WRITE = 1;
INSERT INTO in_myisam VALUES (0, 'zero'), (5, 'five');
CREATE TABLE in_merge (id int NOT NULL, t varchar(10)) ENGINE = MyISAM;
INSERT INTO in_merge VALUES (1, 'a');
CREATE TABLE merged (id int NOT NULL, t varchar(10)) ENGINE = MERGE UNION = (in_merge) INSERT_METHOD = LAST;
CREATE TABLE in_memory (id int PRIMARY KEY, KEY hashed (id) USING HASH) ENGINE = MEMORY;
INSERT INTO in_memory VALUES (1), (2);
CREATE TABLE in_csv (id int NOT NULL, t varchar(10) NOT NULL) ENGINE = CSV;
INSERT INTO in_csv VALUES (1, 'x');

-- Names.
CREATE TABLE `a``b` (`c``d` int PRIMARY KEY, `e f` int COMMENT 'odd', `g.h` int, `i/j` int, `k%l` int, `select` int, `ü漢` int, `'` int, `"` int, `\` int, `--` int, `#` int, `/*` int, `*/` int, `?` int, `@x` int, `:y` int, `$` int);
INSERT INTO `a``b` VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18);
CREATE TABLE `a b` (a int PRIMARY KEY, `A B` int); INSERT INTO `a b` VALUES (1, 1);
CREATE TABLE `a.b` (a int PRIMARY KEY); INSERT INTO `a.b` VALUES (2);
CREATE TABLE `a/b` (a int PRIMARY KEY); INSERT INTO `a/b` VALUES (3);
CREATE TABLE `a%2Fb` (a int PRIMARY KEY); INSERT INTO `a%2Fb` VALUES (4);
CREATE TABLE `..` (a int PRIMARY KEY); INSERT INTO `..` VALUES (5);
CREATE TABLE `ünï漢` (a int PRIMARY KEY); INSERT INTO `ünï漢` VALUES (6);
CREATE TABLE `a\b'"` (a int PRIMARY KEY); INSERT INTO `a\b'"` VALUES (7);
CREATE TABLE `select` (`from` int PRIMARY KEY); INSERT INTO `select` VALUES (8);
CREATE TABLE `1e5` (`2` int PRIMARY KEY); INSERT INTO `1e5` VALUES (9);
CREATE TABLE `Case` (a int PRIMARY KEY); INSERT INTO `Case` VALUES (10);
CREATE TABLE `case` (a int PRIMARY KEY); INSERT INTO `case` VALUES (11);
CREATE TABLE `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` (`yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy` int PRIMARY KEY);
INSERT INTO `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` VALUES (12);
CREATE TABLE `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy` (a int PRIMARY KEY);
INSERT INTO `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy` VALUES (13);

-- Routines, whose meaning hangs on the mode and the character set that they were made in.
DELIMITER //
CREATE FUNCTION added(a int, b int) RETURNS int DETERMINISTIC NO SQL COMMENT 'it''s a "function" ü' RETURN a + b//
CREATE FUNCTION mood(t varchar(20) CHARACTER SET latin1) RETURNS enum('sad','ok') CHARACTER SET latin1 READS SQL DATA SQL SECURITY INVOKER
BEGIN
  -- A comment with ; and // and DELIMITER $$
  DECLARE found int;
  SELECT COUNT(*) INTO found FROM no_key WHERE b = t; /* another ; */
  IF found > 0 THEN RETURN 'ok'; END IF;
  RETURN 'sad';
END//
CREATE PROCEDURE nothing() BEGIN END//
CREATE PROCEDURE `odd ``name ü`(IN a int, OUT b varchar(10), INOUT c decimal(10,2)) MODIFIES SQL DATA
BEGIN
  SET b = '\\ back ''quote'' "double" 😀', c = c + a;
END//
SET sql_mode = 'NO_BACKSLASH_ESCAPES'//
CREATE FUNCTION no_escapes() RETURNS varchar(20) CHARACTER SET utf8mb4 DETERMINISTIC RETURN '\n\''x'//
SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'//
CREATE FUNCTION "ansi quotes"() RETURNS varchar(20) CHARACTER SET utf8mb4 DETERMINISTIC RETURN 'a' || "added"(1, 2)//
SET sql_mode = ''//
SET NAMES latin1 COLLATE latin1_german1_ci//
CREATE PROCEDURE in_latin1() SELECT 'é'//
SET NAMES utf8mb4 COLLATE utf8mb4_bin//
CREATE DEFINER = 'gone'@'nowhere.example' PROCEDURE of_nobody() SQL SECURITY DEFINER SELECT 1//
SET NAMES utf8mb4//

-- Triggers in an order that is not that of their names, or of their making.
CREATE TABLE log (id int PRIMARY KEY AUTO_INCREMENT, t text)//
CREATE TABLE watched (id int PRIMARY KEY, a int)//
CREATE TRIGGER z_first BEFORE INSERT ON watched FOR EACH ROW SET NEW.a = NEW.a * 10//
CREATE TRIGGER a_second BEFORE INSERT ON watched FOR EACH ROW FOLLOWS z_first SET NEW.a = NEW.a + 1//
CREATE TRIGGER m_zeroth BEFORE INSERT ON watched FOR EACH ROW PRECEDES z_first SET NEW.a = NEW.a - 1//
CREATE TRIGGER after_insert AFTER INSERT ON watched FOR EACH ROW BEGIN INSERT INTO log (t) VALUES (CONCAT('ü ', NEW.a)); END//
CREATE DEFINER = 'gone'@'%' TRIGGER before_update BEFORE UPDATE ON watched FOR EACH ROW SET NEW.a = OLD.a//
SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'//
CREATE TRIGGER "odd ""trigger" AFTER DELETE ON watched FOR EACH ROW INSERT INTO log (t) VALUES ('\')//
SET sql_mode = ''//
CREATE TRIGGER loud BEFORE INSERT ON zero_id FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a trigger fired'//
DELIMITER ;
INSERT INTO watched VALUES (1, 5), (2, 6);

-- Views, the first of which needs the last.
CREATE VIEW later AS SELECT 1 AS id, 2 AS n;
CREATE ALGORITHM = MERGE VIEW a_view AS SELECT l.id, l.n, added(l.id, 1) AS s FROM later l;
CREATE OR REPLACE SQL SECURITY INVOKER VIEW later AS SELECT id, COUNT(*) AS n FROM no_key n JOIN self s ON n.a = s.id OR n.a IS NULL GROUP BY id;
CREATE ALGORITHM = TEMPTABLE DEFINER = 'gone'@'localhost' VIEW of_gone AS SELECT `c``d` AS `x``y`, 'it''s \\ "é😀"' AS `ü`, _latin1 x'e9' AS l FROM `a``b`;
CREATE VIEW only_small AS SELECT id, a FROM checked WHERE a < 5 WITH LOCAL CHECK OPTION;
CREATE VIEW only_smaller (i, j) AS SELECT id, a FROM only_small WHERE a < 3 WITH CASCADED CHECK OPTION;
CREATE VIEW `odd.view / %` AS SELECT `odd ``name ü`.* FROM (SELECT 1 AS one) AS `odd ``name ü`;
SET NAMES latin1;
CREATE VIEW in_latin1_view AS SELECT 'é' AS t;
SET NAMES utf8mb4;
SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT';
CREATE VIEW ansi_view AS SELECT 'a\' || "id" AS "x" FROM self;
SET sql_mode = '';

-- Events.
CREATE EVENT once ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE COMMENT 'it''s ü' DO INSERT INTO log (t) VALUES ('\\ ü');
CREATE EVENT `often ``x` ON SCHEDULE EVERY '1:30' HOUR_MINUTE STARTS '2030-01-01 00:00:00' ENDS '2037-01-01 00:00:00' DISABLE DO BEGIN END;
SET time_zone = '+05:30', sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES';
CREATE DEFINER = 'gone'@'%' EVENT elsewhere ON SCHEDULE EVERY 1 MONTH STARTS '2030-01-01 00:00:00' DISABLE DO INSERT INTO log (t) VALUES ('\');
SET time_zone = '+00:00', sql_mode = '';
