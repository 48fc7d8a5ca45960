-- What MariaDB alone has.
SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0;

-- Types.
CREATE TABLE maria_types (
  id int PRIMARY KEY, u uuid, i4 inet4, i6 inet6, t6 time(6), vc varchar(1000) COMPRESSED, tc text COMPRESSED=zlib, bc longblob COMPRESSED,
  g point REF_SYSTEM_ID=4326, ji json CHECK (id > 0)
);
INSERT INTO maria_types VALUES
 (1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '255.255.255.255', '::ffff:1.2.3.4', '838:59:59.999999', REPEAT('é', 900), REPEAT('x\t', 1000), REPEAT(x'00ff', 5000), POINT(1, 2),
  '{"b":1, "a" : 2, "a":1.50}'),
 (2, '00000000-0000-0000-0000-000000000000', '0.0.0.0', '::', '-838:59:59.999999', '', '', '', NULL, '[ ]'),
 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, '5c0a0009-5c5c-0a0a-0909-275c5c4e0d00', '92.10.9.0', '5c0a:9:0:5c5c::1', '-00:00:00.000001', '\\N', '\n', '\\', NULL, '{"x":"\\t"}');
CREATE TABLE key_real_uuid (k uuid NOT NULL DEFAULT uuid() PRIMARY KEY, v int);
INSERT INTO key_real_uuid SELECT INSERT(INSERT(INSERT(INSERT(MD5(seq), 21, 0, '-'), 17, 1, '-a'), 13, 1, '-4'), 9, 0, '-'), seq FROM seq_1_to_900;
CREATE TABLE key_inet (k inet6 NOT NULL, l inet4 NOT NULL, PRIMARY KEY (k, l));
INSERT INTO key_inet VALUES ('::1', '1.2.3.4'), ('::1', '0.0.0.0'), ('2001:db8::ff00:42:8329', '127.0.0.1');
CREATE TABLE times_far (id int PRIMARY KEY, t time(6), d datetime(6)) ENGINE = Aria;
INSERT INTO times_far VALUES (1, '838:59:59.999999', '0001-01-01 00:00:00.000001');
CREATE TABLE key_long (id int, t text, UNIQUE KEY long_unique (t), UNIQUE KEY by_hash (id) USING HASH);
INSERT INTO key_long VALUES (1, REPEAT('a', 5000)), (2, NULL), (NULL, NULL), (3, REPEAT('b', 5000));
CREATE TABLE old_temporal (a int INVISIBLE, b int GENERATED ALWAYS AS (a + 1) VIRTUAL INVISIBLE, c int, d varchar(50) AS (CONCAT(c, ' ü')) PERSISTENT, KEY ignored_key (c) IGNORED);
INSERT INTO old_temporal (a, c) VALUES (1, 2), (NULL, NULL);
CREATE TABLE only_virtual (a int GENERATED ALWAYS AS (1 + 1) VIRTUAL);
INSERT INTO only_virtual VALUES (), ();
CREATE SEQUENCE z_sequence;
CREATE TABLE maria_defaults (
  id int PRIMARY KEY DEFAULT (NEXTVAL(z_sequence)), u varchar(36) DEFAULT uuid(), a int DEFAULT (id + 1), t text DEFAULT 'it''s \\ ü', CHECK (a > id), c int CHECK (c <> 5)
);
INSERT INTO maria_defaults (id, u) VALUES (1, 'fixed');

-- Sequences.
CREATE SEQUENCE counted START WITH 1000 INCREMENT BY 10 MINVALUE 500 MAXVALUE 100000 CACHE 7 COMMENT = 'it''s a sequence';
SELECT NEXTVAL(counted), NEXTVAL(counted);
CREATE SEQUENCE `odd ``se'q` INCREMENT BY -5 MINVALUE -100 MAXVALUE 100 START WITH 100 CYCLE NOCACHE;
SELECT NEXTVAL(`odd ``se'q`);
CREATE SEQUENCE around INCREMENT BY 50 MINVALUE 1 MAXVALUE 100 CYCLE NOCACHE;
SELECT NEXTVAL(around), NEXTVAL(around), NEXTVAL(around);
CREATE SEQUENCE set_once; SELECT SETVAL(set_once, 41);
CREATE SEQUENCE set_next; SELECT SETVAL(set_next, 41, 0);
CREATE SEQUENCE used_up MAXVALUE 3 NOCACHE; SELECT NEXTVAL(used_up), NEXTVAL(used_up), NEXTVAL(used_up);
CREATE SEQUENCE unused START WITH -9223372036854775806 MINVALUE -9223372036854775807 MAXVALUE -5;
CREATE SEQUENCE in_aria ENGINE = Aria; SELECT NEXTVAL(in_aria);

-- System-versioned tables.
SET @@timestamp = UNIX_TIMESTAMP('2020-01-01 00:00:00.000001');
CREATE TABLE versioned (id int PRIMARY KEY, a int, t varchar(20)) WITH SYSTEM VERSIONING;
CREATE TABLE versioned_columns (
  id int PRIMARY KEY, a int, w int WITHOUT SYSTEM VERSIONING, since timestamp(6) GENERATED ALWAYS AS ROW START, until timestamp(6) GENERATED ALWAYS AS ROW END,
  PERIOD FOR SYSTEM_TIME (since, until)
) WITH SYSTEM VERSIONING;
CREATE TABLE versioned_parts (a int) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION p0 HISTORY, PARTITION now CURRENT);
CREATE TABLE versioned_no_key (a int) WITH SYSTEM VERSIONING;
INSERT INTO versioned VALUES (1, 1, 'first'), (2, 2, 'x\ty'); INSERT INTO versioned_columns (id, a, w) VALUES (1, 1, 1), (2, 2, 2);
INSERT INTO versioned_parts VALUES (1), (2); INSERT INTO versioned_no_key VALUES (1), (1);
SET @@timestamp = UNIX_TIMESTAMP('2021-06-01 12:00:00.5');
UPDATE versioned SET a = a + 10; UPDATE versioned_columns SET a = a + 10; UPDATE versioned_parts SET a = a + 10; UPDATE versioned_no_key SET a = 2;
SET @@timestamp = UNIX_TIMESTAMP('2022-06-01 12:00:00.25');
DELETE FROM versioned WHERE id = 1; INSERT INTO versioned VALUES (1, 5, 'again'); UPDATE versioned_columns SET w = 9; DELETE FROM versioned_columns WHERE id = 2;
DELETE FROM versioned_parts WHERE a = 11; DELETE FROM versioned_no_key LIMIT 1;
SET @@timestamp = DEFAULT;
CREATE TABLE periods (id int, since date, until date, PERIOD FOR valid (since, until), UNIQUE KEY (id, valid WITHOUT OVERLAPS));
INSERT INTO periods VALUES (1, '2020-01-01', '2020-02-01'), (1, '2020-02-01', '9999-12-31');

-- Storage.
CREATE TABLE page_compressed (id int PRIMARY KEY, t text) PAGE_COMPRESSED = 1 PAGE_COMPRESSION_LEVEL = 3;
INSERT INTO page_compressed VALUES (1, REPEAT('x', 20000));
CREATE TABLE in_aria_table (id int PRIMARY KEY AUTO_INCREMENT, t text) ENGINE = Aria TRANSACTIONAL = 1 PAGE_CHECKSUM = 1 ROW_FORMAT = PAGE AUTO_INCREMENT = 77;
INSERT INTO in_aria_table VALUES (0, 'zero'), (5, 'é');

-- Programs.
DELIMITER //
CREATE AGGREGATE FUNCTION total(x int) RETURNS int
BEGIN
  DECLARE sum int DEFAULT 0;
  DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN sum;
  LOOP FETCH GROUP NEXT ROW; SET sum = sum + x; END LOOP;
END//
CREATE PROCEDURE defaults_too(IN a int) BEGIN FOR i IN 1..3 DO SELECT i; END FOR; END//
SET sql_mode = 'ORACLE'//
CREATE PACKAGE accounts COMMENT 'it''s a package' AS
  FUNCTION balance(n INT) RETURN INT;
  PROCEDURE move(a INT, b INT);
END//
CREATE PACKAGE BODY accounts AS
  total INT := 5;
  FUNCTION balance(n INT) RETURN INT AS BEGIN RETURN n + total; END;
  PROCEDURE move(a INT, b INT) AS BEGIN total := total + a - b; SELECT 'ü'; END;
BEGIN
  total := 6;
END//
CREATE PROCEDURE oracle_way(a IN VARCHAR2, b OUT INT) AS x INT := 1; BEGIN b := x; END//
SET sql_mode = ''//
DELIMITER ;
CREATE VIEW from_sequence AS SELECT NEXTVAL(counted) AS n;
CREATE VIEW of_versions AS SELECT id, a FROM versioned FOR SYSTEM_TIME ALL;
CREATE TRIGGER on_versioned BEFORE UPDATE ON versioned FOR EACH ROW SET NEW.t = CONCAT(OLD.t, 'x');
