-- A database with every kind of object that a dump has to bring back.
SET client_min_messages = warning;
SELECT current_setting('server_version_num')::int >= 140000 AS since14, current_setting('server_version_num')::int >= 150000 AS since15,
  current_setting('server_version_num')::int >= 170000 AS since17, current_setting('server_version_num')::int >= 180000 AS since18 \gset
CREATE SCHEMA "Odd" AUTHORIZATION "Odd Owner";
COMMENT ON SCHEMA "Odd" IS 'odd; names';
CREATE EXTENSION hstore WITH SCHEMA "Odd";
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION btree_gist;
CREATE TYPE "Odd".mood AS ENUM ('sad', 'ok', 'it''s; happy');
CREATE TYPE "Odd".pair AS (a int, b text);
CREATE DOMAIN "Odd".positive AS int CHECK (VALUE > 0);
CREATE TYPE "Odd".floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE COLLATION "Odd".german (provider = icu, locale = 'de-u-co-phonebk');
CREATE FUNCTION "Odd".add(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE PROCEDURE "Odd".nothing() LANGUAGE plpgsql AS $$
--
-- TOC entry 1 (class 0 OID 0)
-- Name: not an entry; Type: TABLE; Schema: -; Owner: nobody
--
BEGIN
  SET LOCAL work_mem = '1MB';
END $$;
CREATE AGGREGATE "Odd".total(int) (sfunc = "Odd".add, stype = int, initcond = '0');
CREATE OPERATOR "Odd".=+= (leftarg = int, rightarg = int, function = "Odd".add);
CREATE CAST ("Odd".mood AS int) WITH INOUT;
CREATE TEXT SEARCH CONFIGURATION "Odd".english (COPY = pg_catalog.english);

-- Every built-in type, with values that are hard.
CREATE TABLE "Odd"."types, all" (
  id bigserial PRIMARY KEY, b boolean, i2 smallint, i4 int, i8 bigint, n numeric, n2 numeric(20, 4), f4 real, f8 double precision, m money,
  c char(7), v varchar(20), t text, n_ame name, ch "char", by bytea, ts timestamp, tz timestamptz, d date, ti time, tt timetz, iv interval,
  e "Odd".mood, p point, l line, ls lseg, bx box, pa path, po polygon, ci circle, ip inet, cd cidr, mac macaddr, mac8 macaddr8, bi bit(5),
  vb varbit, tv tsvector, tq tsquery, u uuid, x xml, j json, jb jsonb, jp jsonpath, ia int[], ta text[][], r int4range,
  o oid, rc regclass, rp regprocedure, lsn pg_lsn, xi xid8, sn txid_snapshot, co "Odd".pair, dm "Odd".positive, fr "Odd".floatrange, h "Odd".hstore
);
INSERT INTO "Odd"."types, all" VALUES
 (DEFAULT, true, -32768, 2147483647, -9223372036854775808, 'NaN', 1.5, 'Infinity', 1e-307, '12.34', 'ab', 'x', E'tab\t nl\n cr\r bs\\ \\N end', 'n', 'c',
  '\x00ff5c0a', '-infinity', 'infinity', '0044-03-15 BC', '24:00', '12:00+05:30', '1 year -3 days 04:05:06.789', 'it''s; happy',
  '(1,2)', '{1,2,3}', '[(1,2),(3,4)]', '(1,1),(0,0)', '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(1,2),3>', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03',
  '08:00:2b:01:02:03:04:05', B'10101', B'1', 'a:1 b:2A', 'a & !b', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '<a>&amp;</a>', '{"a" : 1, "a":2}', '{"b":null}',
  '$.a[*]', '{1,NULL,3}', '{{a,"b c"},{"\"",NULL}}', '[1,5)', 1, 'pg_class', 'now()', '16/B374D848', '42', '10:20:10,14', '(1,"x,y")', 5, '[1.5,2.5]',
  'a=>1, "b c"=>NULL') ON CONFLICT DO NOTHING;
INSERT INTO "Odd"."types, all" (t) VALUES (NULL), (''), ('\.'), (E'\\N'), (repeat('x', 100000));
COMMENT ON COLUMN "Odd"."types, all".t IS 'text';
\if :since14
ALTER TABLE "Odd"."types, all" ADD mr int8multirange;
UPDATE "Odd"."types, all" SET mr = '{[1,2),[5,9)}';
\endif
ALTER TABLE "Odd"."types, all" OWNER TO "Odd Owner";
GRANT SELECT (t), UPDATE (i4) ON "Odd"."types, all" TO reader WITH GRANT OPTION;

-- Tables of all kinds.
CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 7) PRIMARY KEY, name text COLLATE "Odd".german NOT NULL,
  upper text GENERATED ALWAYS AS (pg_catalog.upper(name)) STORED, during tstzrange, EXCLUDE USING gist (id WITH =, during WITH &&));
INSERT INTO customer (name) SELECT 'customer ' || i FROM generate_series(1, 2000) i;
CREATE TABLE "order" (id serial, customer int, placed date NOT NULL, primary key (id, placed, customer)) PARTITION BY RANGE (placed);
CREATE TABLE order_2020 PARTITION OF "order" FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE order_2021 PARTITION OF "order" FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (customer);
CREATE TABLE order_2021_a PARTITION OF order_2021 FOR VALUES IN (100);
CREATE TABLE order_rest PARTITION OF "order" DEFAULT;
INSERT INTO "order" (customer, placed) SELECT 100, date '2019-06-01' + i FROM generate_series(1, 900) i;
CREATE INDEX ON "order" (customer);
ALTER TABLE "order" ADD FOREIGN KEY (customer) REFERENCES customer (id);
CREATE TABLE parent (a int, b text);
CREATE TABLE child (c int) INHERITS (parent);
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child VALUES (2, 'c', 3);
CREATE UNLOGGED TABLE unlogged (a int);
INSERT INTO unlogged VALUES (1), (1), (2);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE all_generated (a int GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO all_generated DEFAULT VALUES;
CREATE TABLE dropped (a int, gone int, b int);
ALTER TABLE dropped DROP COLUMN gone;
INSERT INTO dropped VALUES (1, 2);
CREATE TABLE cyclic_a (id int PRIMARY KEY, b int);
CREATE TABLE cyclic_b (id int PRIMARY KEY, a int REFERENCES cyclic_a);
INSERT INTO cyclic_a VALUES (1, 1); INSERT INTO cyclic_b VALUES (1, 1);
ALTER TABLE cyclic_a ADD FOREIGN KEY (b) REFERENCES cyclic_b DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE self (id int PRIMARY KEY, parent int REFERENCES self);
INSERT INTO self VALUES (2, 1), (1, NULL);
ALTER TABLE self ADD CONSTRAINT not_valid CHECK (id > 1) NOT VALID;
CREATE TABLE wide AS SELECT i AS id, repeat(md5(i::text), 20) AS a FROM generate_series(1, 3000) i;
ALTER TABLE wide ALTER a SET STORAGE EXTERNAL, ADD UNIQUE (id), REPLICA IDENTITY FULL;
CREATE INDEX wide_expression ON wide (lower(a)) WHERE id > 10;
CREATE INDEX wide_brin ON wide USING brin (id);
ALTER TABLE wide CLUSTER ON wide_id_key;
CREATE STATISTICS wide_statistics ON id, a FROM wide;
CREATE TABLE "100% / a.b" ("select" int PRIMARY KEY, "a""b" text);
INSERT INTO "100% / a.b" VALUES (1, 'x');

\if :since14
CREATE TABLE compressed (a text COMPRESSION pglz);
INSERT INTO compressed VALUES (repeat('x', 10000));
CREATE FUNCTION atomic() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;
\endif
\if :since15
CREATE TABLE no_distinct (a int, UNIQUE NULLS NOT DISTINCT (a));
INSERT INTO no_distinct VALUES (NULL);
CREATE VIEW invoker WITH (security_invoker = true) AS SELECT * FROM wide;
\endif
\if :since17
CREATE TABLE part_identity (id int GENERATED ALWAYS AS IDENTITY, a int) PARTITION BY LIST (a);
CREATE TABLE part_identity_1 PARTITION OF part_identity FOR VALUES IN (1);
INSERT INTO part_identity (a) VALUES (1), (1);
CREATE COLLATION "Odd".builtin (provider = builtin, locale = 'C.UTF-8');
\endif
\if :since18
CREATE TABLE computed (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL, c int GENERATED ALWAYS AS (a * 3) STORED, d int);
INSERT INTO computed (a, d) VALUES (1, 2), (NULL, 3);
CREATE TABLE period (id int, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
INSERT INTO period VALUES (1, '[2020-01-01,2021-01-01)'), (1, '[2021-01-01,2022-01-01)');
CREATE TABLE period_of (id int, during daterange, FOREIGN KEY (id, PERIOD during) REFERENCES period (id, PERIOD during));
INSERT INTO period_of VALUES (1, '[2020-06-01,2021-06-01)');
ALTER TABLE wide ADD CONSTRAINT not_enforced CHECK (id < 0) NOT ENFORCED;
ALTER TABLE child ADD CONSTRAINT some_null NOT NULL c NOT VALID;
ALTER TABLE dropped ADD CONSTRAINT named_not_null NOT NULL a;
CREATE TABLE loose (a int REFERENCES self NOT ENFORCED);
INSERT INTO loose VALUES (99);
CREATE PUBLICATION computed_only FOR TABLE computed WITH (publish_generated_columns = stored);
\endif

-- Rules, triggers, views.
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''a trigger fired''; END';
CREATE TRIGGER touch BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION touched();
CREATE TRIGGER touch_order BEFORE INSERT ON "order" FOR EACH ROW EXECUTE FUNCTION touched();
ALTER TABLE wide ENABLE ROW LEVEL SECURITY;
CREATE POLICY wide_policy ON wide FOR SELECT TO reader USING (id < 10);
CREATE RULE no_delete AS ON DELETE TO parent DO INSTEAD NOTHING;
CREATE VIEW grouped AS SELECT id, name, during FROM customer GROUP BY id;
CREATE VIEW checked AS SELECT * FROM wide WHERE id < 5 WITH LOCAL CHECK OPTION;
CREATE MATERIALIZED VIEW "Odd".sums AS SELECT customer, count(*) AS n FROM "order" GROUP BY customer;
CREATE UNIQUE INDEX ON "Odd".sums (customer);
CREATE MATERIALIZED VIEW "Odd".sums2 AS SELECT sum(n) AS all FROM "Odd".sums;
CREATE MATERIALIZED VIEW "Odd".never AS SELECT 1 AS one WITH NO DATA;

-- Beyond tables.
CREATE SEQUENCE "Odd"."se'q" INCREMENT -5 MAXVALUE 1000 START 900 CYCLE;
SELECT nextval('"Odd"."se''q"'), nextval('"Odd"."se''q"');
CREATE SEQUENCE unused;
SELECT lo_from_bytea(5001, decode(repeat('00ff5c0a', 200000), 'hex'));
SELECT lo_from_bytea(5002, '');
SELECT lo_from_bytea(5003, 'small');
ALTER LARGE OBJECT 5003 OWNER TO "Odd Owner";
GRANT SELECT ON LARGE OBJECT 5003 TO reader;
COMMENT ON LARGE OBJECT 5001 IS 'it''s large';
SELECT lo_from_bytea(i, '') FROM generate_series(5004, 5009) i;
COMMENT ON LARGE OBJECT 5004 IS E'several\n"lines; \\ and\ttabs';
GRANT ALL ON LARGE OBJECT 5004 TO PUBLIC;
ALTER LARGE OBJECT 5005 OWNER TO "Odd Owner";
REVOKE UPDATE ON LARGE OBJECT 5005 FROM "Odd Owner";
REVOKE ALL ON LARGE OBJECT 5006 FROM CURRENT_USER;
GRANT SELECT, UPDATE ON LARGE OBJECT 5007 TO reader WITH GRANT OPTION;
SET ROLE reader;
GRANT SELECT ON LARGE OBJECT 5007 TO "Odd Owner" WITH GRANT OPTION;
GRANT UPDATE ON LARGE OBJECT 5007 TO PUBLIC;
RESET ROLE;
ALTER LARGE OBJECT 5008 OWNER TO "Odd Owner";
GRANT ALL ON LARGE OBJECT 5008 TO "Odd Owner" WITH GRANT OPTION;
\if :since18
ALTER DEFAULT PRIVILEGES FOR ROLE "Odd Owner" GRANT SELECT ON LARGE OBJECTS TO reader;
\endif
CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere');
CREATE USER MAPPING FOR reader SERVER other OPTIONS (user 'x');
CREATE FOREIGN TABLE far (a int) SERVER other;
\if :since15
CREATE PUBLICATION wide_only FOR TABLE wide (id, a) WHERE (id > 5), customer (id, name);
\else
CREATE PUBLICATION wide_only FOR TABLE wide, customer;
\endif
CREATE PUBLICATION everything FOR ALL TABLES;
ALTER DEFAULT PRIVILEGES FOR ROLE "Odd Owner" IN SCHEMA "Odd" GRANT SELECT ON TABLES TO reader;
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN IF tg_tag NOT IN (''COMMENT'', ''REFRESH MATERIALIZED VIEW'') THEN RAISE EXCEPTION ''an event trigger fired''; END IF; END';
CREATE EVENT TRIGGER watcher ON ddl_command_end EXECUTE FUNCTION watch();
COMMENT ON EVENT TRIGGER watcher IS 'watches';
