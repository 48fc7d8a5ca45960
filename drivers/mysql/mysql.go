// Package mysql dumps and restores databases of MariaDB and MySQL: it is the driver "mysql", a [drivers.Stream] whose source
// is a database, named by a URL.
//
// # The dump
//
// A view is a set of sessions whose transactions see one moment: they begin while the server's backup lock keeps every commit
// away, which is for some milliseconds. They cannot be joined by others, so the parts are read in the process that holds the
// view. Definitions are read from the server, each with the settings it was made with; rows come as lines of LOAD DATA, large
// tables cut into ranges of their keys, and are counted and hashed as they pass.
//
// # The restore
//
// Prepare makes the tables without their secondary indexes; Load copies one part in, in a transaction that begins with a row in
// salvor_progress_done, so that no part is ever loaded twice; as soon as a table is whole its indexes are built. Finish adds
// foreign keys, then routines, views, triggers and events, and removes the restore's own tables.
//
// # What it does not know
//
// It holds one row in memory at a time, never changes a source, and never removes anything from a target without being told
// to. What differs between MariaDB, MySQL and their versions is in dialect.go.
package mysql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"salvor/drivers"
	"salvor/internal/secret"
)

// Kind returns what a registry needs to know of this driver.
func Kind() drivers.Kind {
	return drivers.Kind{
		Name:    "mysql",
		Scheme:  "mysql",
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
		Scratch: func(source secret.Text, name string) (secret.Text, error) {
			p, err := parsePlace(source.Reveal())
			if err != nil {
				return secret.Text{}, err
			}
			return secret.New(p.renamed(name)), nil
		},
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			return open(spec)
		},
	}
}

// Source is a database, which need not exist. It is safe for concurrent use.
type Source struct {
	place    *place
	options  options
	scratch  string
	sessions int   // of a view, for parts
	chunk    int64 // the size of a table from which on it is cut
	split    int64 // the size of an object

	lockLimit time.Duration // how long others may have to wait for the view to be opened
}

var (
	_ drivers.Stream  = (*Source)(nil)
	_ drivers.Prover  = (*Source)(nil)
	_ drivers.Dropper = (*Source)(nil)
	_ drivers.View    = (*view)(nil)
)

const (
	// defaultSessions is the number of sessions that a view has for its parts, where the node has no limit.
	defaultSessions = 4
	// defaultChunk is the size of a range of a table, and of the objects that a part is stored as.
	defaultChunk = 64 << 20
	// defaultLockLimit bounds how long the view may keep others waiting.
	defaultLockLimit = 30 * time.Second
)

func open(spec drivers.Spec) (*Source, error) {
	o, err := parseOptions(spec.Options)
	if err != nil {
		return nil, err
	}
	p, err := parsePlace(spec.Source.Reveal())
	if err != nil {
		return nil, err
	}
	if o.Database != "" {
		p.database = o.Database
	}
	if p.database == "" && len(o.Databases) == 0 {
		return nil, drivers.WithHint(fmt.Errorf("open mysql database: %w: the source names no database", drivers.ErrInvalid),
			"write mysql://USER@HOST:PORT/DATABASE, or give the node the key database")
	}
	s := &Source{
		place: p, options: o, scratch: spec.Scratch,
		sessions: defaultSessions, chunk: defaultChunk, split: defaultChunk, lockLimit: defaultLockLimit,
	}
	if spec.Limit > 0 {
		s.sessions = spec.Limit
	}
	if o.Chunk > 0 {
		s.chunk, s.split = int64(o.Chunk), int64(o.Chunk)
	}
	if o.LockTimeout > 0 {
		s.lockLimit = time.Duration(o.LockTimeout) * time.Second
	}
	return s, nil
}

// Identities returns where the database is by name and, where its server answers, which server that is.
func (s *Source) Identities(ctx context.Context) ([]string, error) {
	ids := []string{"server:" + s.place.address() + "/" + s.place.database}
	c, err := s.connectTo(ctx, "", "identify")
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return ids, nil // what is wrong with the server, Freeze and CheckTarget say
	}
	defer c.close()
	id, err := c.text(ctx, c.server.identitySQL())
	if err != nil {
		return nil, fmt.Errorf("identify server: %w", classify(err))
	}
	return append(ids, drivers.Global+"mysql:"+id+"/"+s.place.database), nil
}

// Close does nothing: a source holds nothing open, its views do.
func (*Source) Close() error { return nil }

// name is the database as messages name it, without a password.
func (s *Source) name() string { return s.place.database + " on " + s.place.address() }

// at is the source with another database.
func (s *Source) at(database string) *Source {
	other := *s
	p := *s.place
	p.database = database
	other.place = &p
	return &other
}

// isScratch tells whether the database was made for a trial, to be dropped after it.
func (s *Source) isScratch() bool { return strings.HasPrefix(s.place.database, drivers.ScratchPrefix) }

// isServersOwn tells whether a database belongs to the server.
func isServersOwn(database string) bool {
	switch strings.ToLower(database) {
	case "mysql", "sys", "information_schema", "performance_schema":
		return true
	}
	return false
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
	c, err := s.connectTo(ctx, "", "list databases")
	if err != nil {
		return nil, s.explain(err)
	}
	defer c.close()
	list, err := c.rows(ctx, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME")
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", classify(err))
	}
	var places []drivers.Place
	for _, row := range list {
		if isServersOwn(row[0]) || !s.options.Databases.Any(row[0]) {
			continue
		}
		raw, err := json.Marshal(s.options.of(row[0], len(places) == 0))
		if err != nil {
			return nil, fmt.Errorf("describe database %s: %w", row[0], err)
		}
		places = append(places, drivers.Place{Name: row[0], Options: raw})
	}
	if len(places) == 0 {
		return nil, drivers.WithHint(
			fmt.Errorf("no database of the server fits databases: %s: %w", strings.Join(s.options.Databases, ", "), drivers.ErrNotFound),
			"list them with SHOW DATABASES")
	}
	slices.SortFunc(places, func(a, b drivers.Place) int { return strings.Compare(a.Name, b.Name) })
	return places, nil
}

// explain gives an error of connecting its class and a hint.
func (s *Source) explain(err error) error {
	err = fmt.Errorf("connect to %s: %w", s.name(), classify(err))
	switch {
	case isCode(err, codeLogin, codeNoPassword):
		return drivers.WithHint(err, "check the user and the password of the source, and from which hosts the account may log in")
	case isCode(err, codeDatabaseDenied):
		return drivers.WithHint(err, "grant the account rights on the database; SHOW DATABASES lists those that it may see")
	case isCode(err, codeNoDatabase):
		return drivers.WithHint(err, "check the database's name; SHOW DATABASES lists those of the server")
	case isCode(err, codeNeedsTLS):
		return drivers.WithHint(err, "the server takes connections by TLS alone: write tls=required, or better tls=verify-full, in the source")
	case isCode(err, codeTooMany, codeTooManyOfUser):
		return drivers.WithHint(err, "the server has no free connection: lower the node's limit, or raise max_connections")
	case errors.Is(err, drivers.ErrAccess), errors.Is(err, drivers.ErrNotFound), errors.Is(err, drivers.ErrInvalid), errors.Is(err, drivers.ErrFailed):
		return err
	}
	return drivers.WithHint(err, "check that the server runs and can be reached from here")
}
