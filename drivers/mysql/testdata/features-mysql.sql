-- What MySQL alone has.
SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0;

-- JSON of its own kind, spatial references, defaults that are expressions.
CREATE TABLE my_types (
  id int PRIMARY KEY, j json NOT NULL DEFAULT (JSON_OBJECT()), p point NOT NULL SRID 4326, g geometry SRID 0, jt varchar(40) AS (j->>'$.a') STORED, SPATIAL KEY (p)
);
INSERT INTO my_types (id, j, p, g) VALUES (1, '{"b":1, "a":2.50, "c":"tab\\t\\\\ \\"q\\" 😀", "a":1.5e300, "n":18446744073709551615}', ST_GeomFromText('POINT(50 8)', 4326), ST_GeomFromText('POINT(1 2)')),
 (4, 'null', ST_GeomFromText('POINT(1 1)', 4326), NULL), (5, '1.0', ST_GeomFromText('POINT(1 1)', 4326), NULL);
/*!90000 CREATE TABLE my_vector (id int PRIMARY KEY, v vector(4)) */;
/*!90000 INSERT INTO my_vector VALUES (1, TO_VECTOR('[1,-0.1,3e38,0]')), (2, NULL), (3, x'0A095C00') */;
CREATE TABLE my_indexes (
  id int PRIMARY KEY, a varchar(40), j json, KEY functional ((UPPER(a))), KEY unseen (a) INVISIBLE, FULLTEXT KEY grams (a) WITH PARSER ngram,
  UNIQUE KEY mixed ((id + 1), a DESC)
) COMPRESSION = 'zlib';
INSERT INTO my_indexes VALUES (1, 'ü漢字漢字', '{"z": [1, 2, 3]}'), (2, NULL, NULL);
CREATE TABLE my_multi_valued (id int PRIMARY KEY, j json, KEY many ((CAST(j->'$.z' AS UNSIGNED ARRAY))));
INSERT INTO my_multi_valued VALUES (1, '{"z": [1, 2, 3]}'), (2, NULL);
CREATE TABLE my_not_enforced (id int PRIMARY KEY CHECK (id > 0) NOT ENFORCED, c int INVISIBLE CHECK (c < 5), CONSTRAINT named CHECK (id <> c) NOT ENFORCED) SECONDARY_ENGINE_ATTRIBUTE = '{"a": 1}';
INSERT INTO my_not_enforced (id, c) VALUES (-1, -1);
CREATE TABLE my_default_expression (id binary(16) PRIMARY KEY DEFAULT (UUID_TO_BIN(UUID())), p point DEFAULT (POINT(1, 2)), d date DEFAULT (CURRENT_DATE + INTERVAL 1 YEAR), r double DEFAULT (RAND()));
INSERT INTO my_default_expression (id, d, r) VALUES (x'00', '2020-01-01', 0.30000000000000004);
CREATE TABLE my_collations (k varchar(20) COLLATE utf8mb4_0900_as_cs PRIMARY KEY, j varchar(20) COLLATE utf8mb4_ja_0900_as_cs_ks, g varchar(20) CHARACTER SET gb18030, n varchar(20) COLLATE utf8mb4_0900_bin);
INSERT INTO my_collations VALUES ('a', 'カ', '漢', 'x '), ('A', 'ヵ', '\\', 'x'), ('á', NULL, NULL, NULL), ('', '', '', '');
SET sql_generate_invisible_primary_key = ON;
CREATE TABLE my_generated_key (a int, b text);
SET sql_generate_invisible_primary_key = OFF;
INSERT INTO my_generated_key VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
CREATE TABLE my_auto (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY) AUTOEXTEND_SIZE = 4M ENCRYPTION = 'N';
INSERT INTO my_auto VALUES (0), (7);
SET sql_mode = 'TIME_TRUNCATE_FRACTIONAL,NO_ZERO_DATE';
CREATE PROCEDURE my_mode() SELECT 1;
SET sql_mode = '';
CREATE VIEW my_lateral AS SELECT s.id, l.n FROM self s, LATERAL (SELECT COUNT(*) AS n FROM self x WHERE x.parent = s.id) l;
CREATE VIEW my_window AS WITH c AS (SELECT id, ROW_NUMBER() OVER (ORDER BY id DESC) AS r FROM self) SELECT * FROM c;
CREATE ALGORITHM = UNDEFINED VIEW my_json AS SELECT t.* FROM my_types, JSON_TABLE(j, '$' COLUMNS (a varchar(20) PATH '$.a')) t;
