//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// postgresRoom is about how many bytes of disk the databases, their dumps and their copies take.
const postgresRoom = 12 * gigabyte

// postgresServer is a private server with its default settings.
type postgresServer struct {
	b        *bench
	bin, dir string
	as       []string // a command that runs another as a user without rights, because the server refuses root
	env      []string
}

// postgresDatabase is what is dumped: how it is filled, and the most that the product may take of its rivals' wall time.
type postgresDatabase struct {
	name, what            string
	fill                  []string // SQL; "pgbench" stands for its tables at scale 50
	dump, dump1, restored ratio    // to pg_dump -j2, to the same with -Z1, to pg_restore -j2
}

func postgresDatabases() []postgresDatabase {
	wide := func(rows int) string {
		return fmt.Sprintf(`CREATE TABLE wide AS SELECT i, md5(i::text) a, md5((i*7)::text) b, repeat(md5((i%%1000)::text),4) c,
			now()+i*interval '1s' d, i*1.5 e FROM generate_series(1,%d) i; ALTER TABLE wide ADD PRIMARY KEY (i)`, rows)
	}
	return []postgresDatabase{
		{"site", "pgbench at scale 50 and a wide table", []string{"pgbench", wide(1_500_000)}, 0.55, 0.95, 1},
		{"one", "one wide table", []string{wide(3_000_000)}, 0.55, 0, 0.85},
	}
}

// postgres compares the product with pg_dump and pg_restore. The product hashes every stored byte and every row meanwhile, and
// a database that it has restored has statistics.
func (b *bench) postgres(ctx context.Context) (err error) {
	s, err := b.newPostgres(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		b.note("postgres: no server is installed, not compared")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
	for _, d := range postgresDatabases() {
		if err := s.compare(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// newPostgres makes and starts a server.
func (b *bench) newPostgres(ctx context.Context) (_ *postgresServer, err error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		path, err := exec.LookPath("initdb")
		if err != nil {
			return nil, fs.ErrNotExist
		}
		found = []string{filepath.Dir(path)}
	}
	s := &postgresServer{b: b, bin: found[len(found)-1]}
	if s.dir, err = os.MkdirTemp(b.options.dir, "salvor-pg-"); err != nil {
		return nil, fmt.Errorf("make scratch directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, fmt.Errorf("find a user without rights: %w", err)
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("find a user without rights: %w", err)
		}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return nil, fmt.Errorf("give scratch directory away: %w", err)
		}
		s.as = []string{"runuser", "-u", "postgres", "--"}
	}
	data := filepath.Join(s.dir, "data")
	s.env = []string{"PGHOST=" + s.dir, "PGPORT=5432", "PGUSER=bench"}
	if err := s.server(ctx, "initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"); err != nil {
		return nil, err
	}
	return s, s.server(ctx, "pg_ctl", "-D", data, "-w", "-l", filepath.Join(s.dir, "log"), "-o", "-k "+s.dir+" -c listen_addresses=", "start")
}

// server runs one of the server's programs as its user.
func (s *postgresServer) server(ctx context.Context, program string, args ...string) error {
	words := append(slices.Clone(s.as), append([]string{filepath.Join(s.bin, program)}, args...)...)
	_, err := s.b.measure(ctx, command{name: words[0], args: words[1:], dir: s.dir})
	return err
}

func (s *postgresServer) close(ctx context.Context) error {
	err := s.server(ctx, "pg_ctl", "-D", filepath.Join(s.dir, "data"), "-m", "immediate", "-w", "stop")
	return errors.Join(err, os.RemoveAll(s.dir))
}

// client runs one of the client programs.
func (s *postgresServer) client(ctx context.Context, program string, args ...string) (usage, error) {
	return s.b.measure(ctx, command{name: filepath.Join(s.bin, program), args: args, env: s.env})
}

func (s *postgresServer) sql(ctx context.Context, database string, statements ...string) error {
	for _, sql := range statements {
		if _, err := s.client(ctx, "psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql); err != nil {
			return err
		}
	}
	return nil
}

// compare lets the product and PostgreSQL's own programs take turns.
func (s *postgresServer) compare(ctx context.Context, d postgresDatabase) (err error) {
	if err := s.sql(ctx, "postgres", "CREATE DATABASE "+d.name); err != nil {
		return err
	}
	for _, fill := range d.fill {
		if fill == "pgbench" {
			_, err = s.client(ctx, "pgbench", "-i", "-q", "-s", "50", d.name)
		} else {
			err = s.sql(ctx, d.name, fill)
		}
		if err != nil {
			return err
		}
	}
	if err := s.sql(ctx, d.name, "VACUUM ANALYZE"); err != nil {
		return err
	}
	dir, clean, err := s.b.scratch("postgres")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	var ours, plain, fast, back, theirs, analyzed []usage
	sizes := map[string]int64{}
	for range s.b.rounds {
		for _, turn := range []struct {
			name string
			all  *[]usage
			run  func() (usage, error)
		}{
			{"salvor", &ours, func() (usage, error) {
				return s.salvor(ctx, "dump", "--archive", filepath.Join(dir, "salvor"), "db="+s.source(d.name))
			}},
			{"pg_dump -Fd -j2", &plain, func() (usage, error) {
				return s.client(ctx, "pg_dump", "-Fd", "-j2", "-f", filepath.Join(dir, "pg_dump -Fd -j2"), d.name)
			}},
			{"pg_dump -Fd -j2 -Z1", &fast, func() (usage, error) {
				return s.client(ctx, "pg_dump", "-Fd", "-j2", "-Z1", "-f", filepath.Join(dir, "pg_dump -Fd -j2 -Z1"), d.name)
			}},
		} {
			if err := os.RemoveAll(filepath.Join(dir, turn.name)); err != nil {
				return fmt.Errorf("remove the turn before: %w", err)
			}
			settle()
			u, err := turn.run()
			if err != nil {
				return err
			}
			*turn.all = append(*turn.all, u)
			if sizes[turn.name], err = treeSize(filepath.Join(dir, turn.name)); err != nil {
				return err
			}
		}
		u, err := s.copied(ctx, func(copied string) (usage, error) {
			return s.salvor(ctx, "restore", "--archive", filepath.Join(dir, "salvor"), "--into", s.source(copied))
		})
		if err != nil {
			return err
		}
		back = append(back, u)
		u, err = s.copied(ctx, func(copied string) (usage, error) {
			return s.client(ctx, "pg_restore", "-j2", "-d", copied, filepath.Join(dir, "pg_dump -Fd -j2"))
		})
		if err != nil {
			return err
		}
		theirs = append(theirs, u)
		more, err := s.client(ctx, "vacuumdb", "--analyze-only", "-j2", "-q", "-d", "copied")
		if err != nil {
			return err
		}
		u.wall, u.processor = u.wall+more.wall, u.processor+more.processor
		analyzed = append(analyzed, u)
	}
	b := s.b
	for name, n := range sizes {
		b.note("%s by %s: %s", d.what, name, size(n))
	}
	figure(b, "dump of "+d.what+", salvor to pg_dump -Fd -j2", paired(ours, plain), d.dump)
	figure(b, "dump of "+d.what+", salvor to pg_dump -Fd -j2 -Z1", paired(ours, fast), d.dump1)
	figure(b, "restore of "+d.what+", salvor to pg_restore -j2", paired(back, theirs), d.restored)
	b.note("restore of %s, salvor to pg_restore -j2 and vacuumdb --analyze-only -j2, which it does too: %.2fx", d.what, paired(back, analyzed))
	figure(b, "dump of "+d.what+", salvor, most resident memory", largest(ours), residentLimit)
	figure(b, "restore of "+d.what+", salvor, most resident memory", largest(back), residentLimit)
	for _, m := range []struct {
		name string
		all  []usage
	}{{"dump by salvor", ours}, {"pg_dump", plain}, {"pg_dump -Z1", fast}, {"restore by salvor", back}, {"pg_restore", theirs}} {
		u := medians(m.all)
		b.note("%s, %s, median of %d: %s, %s of processor time beside the server's", d.what, m.name, b.rounds, seconds(u.wall), seconds(u.processor))
	}
	return s.sql(ctx, "postgres", "DROP DATABASE "+d.name)
}

// copied runs a restore into an empty database of its own.
func (s *postgresServer) copied(ctx context.Context, run func(string) (usage, error)) (usage, error) {
	const name = "copied"
	if err := s.sql(ctx, "postgres", "DROP DATABASE IF EXISTS "+name); err != nil {
		return usage{}, err
	}
	if err := s.sql(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		return usage{}, err
	}
	if err := s.sql(ctx, "postgres", "CHECKPOINT"); err != nil {
		return usage{}, err
	}
	settle()
	return run(name)
}

func (s *postgresServer) source(database string) string {
	return fmt.Sprintf("postgres:host=%s port=5432 user=bench dbname=%s", s.dir, database)
}

func (s *postgresServer) salvor(ctx context.Context, args ...string) (usage, error) {
	return s.b.measure(ctx, command{name: s.b.salvor, args: append(args, "--quiet")})
}

// paired is the median of the rounds' ratios of wall time: what else happens on the machine meets both of a round.
func paired(ours, theirs []usage) ratio {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = float64(ours[i].wall) / float64(max(theirs[i].wall, time.Nanosecond))
	}
	return ratio(median(ratios))
}

// treeSize adds up the files of a directory.
func treeSize(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
