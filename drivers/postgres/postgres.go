// Package postgres dumps and restores PostgreSQL databases: it is the driver "postgres", a [drivers.Stream] whose source is
// a database, named by a URL or by a connection string as libpq takes it.
//
// # The dump
//
// A view is one exported snapshot. The process that froze it holds it by two sessions, so that the death of one does not
// end it; parts are read by sessions that join it, in any process on any host. The schema comes from the installed pg_dump,
// in that same snapshot; the rows come by COPY in text form, large tables cut into ranges of pages. Every part's rows are
// counted and hashed as they pass.
//
// # The restore
//
// Prepare makes the tables; Load copies one part in, in a transaction that begins with a row in salvor_progress.done, so
// that no part is ever loaded twice; as soon as a table is whole its indexes are built. Finish adds what is left in
// parallel (foreign keys), then in order (triggers, rules, materialized views), and removes salvor_progress.
//
// # What it does not know
//
// It never holds a row in memory, never changes a source, and never removes anything from a target without being told to.
package postgres

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"salvor/drivers"
	"salvor/internal/secret"
)

// Kind returns what a registry needs to know of this driver.
func Kind() drivers.Kind {
	return drivers.Kind{
		Name:    "postgres",
		Scheme:  "postgres",
		Place:   "//USER@HOST/DB",
		Shape:   drivers.ShapeStream,
		Holds:   true,
		Options: optionNames(),
		// What is restored elsewhere goes into the database that the user names.
		PlaceKeys: []string{"database", "databases"},
		Check: func(raw json.RawMessage) error {
			_, err := parseOptions(raw)
			return err
		},
		Expand: expand,
		Select: selectName,
		Scratch: func(source secret.Text, name string) (secret.Text, error) {
			place, err := parsePlace(source.Reveal(), "")
			if err != nil {
				return secret.Text{}, err
			}
			return secret.New(place.renamed(name)), nil
		},
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			return open(spec)
		},
	}
}

// Source is a database, which need not exist. It is safe for concurrent use.
type Source struct {
	config  *pgconn.Config
	tool    toolPlace // how pg_dump finds the database
	options options
	scratch string
	chunk   int64 // the size from which on a table is cut; 0 leaves it to how many read
	split   int64 // the size of an object
	limit   int   // of the sessions that work side by side; 0 where nothing is said
	idle    int   // sessions of a view that may wait for work

	lockWait time.Duration // for whoever has locked a table
}

var (
	_ drivers.Joiner   = (*Source)(nil)
	_ drivers.Punctual = (*Source)(nil)
	_ drivers.Bundler  = (*Source)(nil)
	_ drivers.Prover   = (*Source)(nil)
	_ drivers.Dropper  = (*Source)(nil)
	_ drivers.Shared   = (*view)(nil)
)

func open(spec drivers.Spec) (*Source, error) {
	o, err := parseOptions(spec.Options)
	if err != nil {
		return nil, err
	}
	place, err := parsePlace(spec.Source.Reveal(), o.Database)
	if err != nil {
		return nil, err
	}
	config, err := place.config()
	if err != nil {
		return nil, err
	}
	s := &Source{config: config, tool: place, options: o, scratch: spec.Scratch, limit: spec.Limit, split: defaultSplit, idle: idleSessions, lockWait: lockWait}
	if spec.Limit > 0 {
		s.idle = min(s.idle, spec.Limit)
	}
	if o.Chunk > 0 {
		s.chunk, s.split = int64(o.Chunk), int64(o.Chunk)
	}
	return s, nil
}

// readers is the number of sessions that are taken to work side by side: the node's limit, or what this host's processors can
// keep busy where every session needs one here.
func (s *Source) readers() int {
	if s.limit > 0 {
		return s.limit
	}
	return max(runtime.GOMAXPROCS(0), 2)
}

// Identities returns where the database is by name and, where its server answers, which server that is.
func (s *Source) Identities(ctx context.Context) ([]string, error) {
	c := s.config
	ids := []string{fmt.Sprintf("server:%s:%d/%s", c.Host, c.Port, c.Database)}
	conn, err := s.connectMaintenance(ctx, "identify")
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return ids, nil // what is wrong with the server, Freeze and CheckTarget say
	}
	defer conn.close(ctx)
	id, err := conn.text(ctx, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
	if err != nil {
		if isCode(err, codePrivilege, codeNoFunction) {
			return ids, nil // some providers do not tell
		}
		return nil, fmt.Errorf("identify server: %w", classify(err))
	}
	return append(ids, drivers.Global+"postgres:"+id+"/"+c.Database), nil
}

// Close does nothing: a source holds nothing open, its views do.
func (*Source) Close() error { return nil }

// name is the database as messages name it, without a password.
func (s *Source) name() string {
	return fmt.Sprintf("%s on %s:%d", s.config.Database, s.config.Host, s.config.Port)
}

// expand lists the databases of a server that the option databases takes.
func expand(ctx context.Context, spec drivers.Spec) ([]drivers.Place, error) {
	s, err := open(spec)
	if err != nil {
		return nil, err
	}
	if len(s.options.Databases) == 0 {
		return nil, nil
	}
	conn, err := s.connectMaintenance(ctx, "list databases")
	if err != nil {
		return nil, s.explain(err)
	}
	defer conn.close(ctx)
	rows, err := conn.rows(ctx, "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname")
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", classify(err))
	}
	var places []drivers.Place
	for _, row := range rows {
		if !s.options.Databases.Any(row[0]) {
			continue
		}
		options := s.options.of(row[0], len(places) == 0)
		raw, err := json.Marshal(options)
		if err != nil {
			return nil, fmt.Errorf("describe database %s: %w", row[0], err)
		}
		places = append(places, drivers.Place{Name: row[0], Options: raw})
	}
	if len(places) == 0 {
		return nil, drivers.WithHint(
			fmt.Errorf("no database of the server fits databases: %s: %w", strings.Join(s.options.Databases, ", "), drivers.ErrNotFound),
			"list them with psql -l")
	}
	slices.SortFunc(places, func(a, b drivers.Place) int { return strings.Compare(a.Name, b.Name) })
	return places, nil
}

// refusedTLS is what pgconn says of a server that answers that it has no TLS.
const refusedTLS = "server refused TLS connection"

// insistsOnTLS tells whether no session without TLS is tried. Where one is (sslmode=prefer), what became of that one counts.
func (s *Source) insistsOnTLS() bool {
	plain := func(f *pgconn.FallbackConfig) bool { return f.TLSConfig == nil }
	return s.config.TLSConfig != nil && !slices.ContainsFunc(s.config.Fallbacks, plain)
}

// isCertificate tells whether a server's certificate was refused, which no later attempt changes.
func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// explain gives an error of connecting its class and a hint.
func (s *Source) explain(err error) error {
	err = fmt.Errorf("connect to %s: %w", s.name(), classify(err))
	switch {
	case isCode(err, "28P01", "28000"):
		return drivers.WithHint(err, "check the user and the password of the source, and the server's pg_hba.conf")
	case isCode(err, "3D000"):
		return drivers.WithHint(err, "check the database's name; psql -l lists those of the server")
	case isCode(err, "53300"):
		return drivers.WithHint(err, "the server has no free connection: lower the node's limit, or raise max_connections")
	case errors.Is(err, drivers.ErrAccess), errors.Is(err, drivers.ErrNotFound):
		return err
	case strings.Contains(err.Error(), refusedTLS) && s.insistsOnTLS():
		return drivers.WithHint(fmt.Errorf("%w: %w", drivers.ErrInvalid, err),
			"the server has TLS turned off, and the source's sslmode asks for it: set ssl = on there; sslmode=disable sends all in the clear")
	case isCertificate(err):
		return drivers.WithHint(fmt.Errorf("%w: %w", drivers.ErrInvalid, err),
			"the server's certificate is not of an authority that sslrootcert names, or not for this name")
	}
	return drivers.WithHint(err, "check that the server runs and can be reached from here")
}
