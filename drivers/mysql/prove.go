package mysql

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"salvor/drivers"
	"salvor/drivers/internal/rows"
)

// mostDifferences bounds how many are named.
const mostDifferences = 100

// scan counts and hashes the rows of a part's range.
func (c *conn) scan(ctx context.Context, r *ref) (*rows.Digest, error) {
	sink := rows.NewSink(io.Discard, 0)
	reading := &reading{c: c, columns: r.Columns, sink: sink}
	if err := reading.run(ctx, r.selectSQL(c.server)); err != nil {
		return nil, err
	}
	d := &rows.Digest{}
	counts := sink.Counts()
	return d, d.AddText(counts.Digest, counts.Rows)
}

// rangesOf are the ranges of a table, each once: a part that was split is there several times.
func rangesOf(parts []loadPart) []*ref {
	var list []*ref
	seen := make(map[string]bool)
	for _, p := range parts {
		key := strings.Join(p.ref.From, "\x00") + "\x01" + strings.Join(p.ref.To, "\x00")
		if !seen[key] {
			seen[key] = true
			list = append(list, p.ref)
		}
	}
	return list
}

// compareTable tells how a table differs from the dump; "" where it does not.
func (s *Source) compareTable(ctx context.Context, c *conn, name string, parts []loadPart) (string, error) {
	want, err := expected(parts)
	if err != nil {
		return "", err
	}
	have := &rows.Digest{}
	for _, r := range rangesOf(parts) {
		d, err := c.scan(ctx, r)
		if text, err := scanError(ctx, name, err); text != "" || err != nil {
			return text, err
		}
		if err := have.AddText(d.String(), d.Rows()); err != nil {
			return "", err
		}
	}
	return have.Difference(name, want), nil
}

// scanError tells what a failed scan says of a table.
func scanError(ctx context.Context, name string, err error) (string, error) {
	switch {
	case err == nil:
		return "", nil
	case isCode(err, codeNoTable):
		return name + " is not there", nil
	case isCode(err, codeNoColumn, 1176):
		return name + " has other columns or keys", nil
	}
	return "", fmt.Errorf("compare table %s: %w", name, classify(told(ctx, err)))
}

// Prove compares every table, the sequences and the next values of AUTO_INCREMENT with the dump.
func (s *Source) Prove(ctx context.Context, target drivers.Target, parts []drivers.Part) (drivers.Proof, error) {
	c, err := readContents(parts)
	if err != nil {
		return drivers.Proof{}, err
	}
	proof := drivers.Proof{Tables: len(c.tables)}
	for _, list := range c.tables {
		for _, p := range list {
			proof.Rows += p.Rows
		}
	}
	var mu sync.Mutex
	report := func(text string) error {
		mu.Lock()
		defer mu.Unlock()
		if len(proof.Differences) < mostDifferences {
			proof.Differences = append(proof.Differences, text)
		}
		return nil
	}
	if err := s.compareAll(ctx, c, report); err != nil {
		return proof, told(ctx, err)
	}
	if err := s.compareCounters(ctx, target, c, report); err != nil {
		return proof, told(ctx, err)
	}
	slices.Sort(proof.Differences)
	return proof, nil
}

// compareAll compares tables by several sessions, which share the ranges of large ones.
func (s *Source) compareAll(ctx context.Context, c *contents, report func(string) error) error {
	type progress struct {
		name string
		want *rows.Digest
		have rows.Digest
		left int
		told bool
	}
	type job struct {
		of *progress
		r  *ref
	}
	var jobs []job
	for _, name := range c.names() {
		want, err := expected(c.tables[name])
		if err != nil {
			return err
		}
		p := &progress{name: name, want: want}
		for _, r := range rangesOf(c.tables[name]) {
			p.left++
			jobs = append(jobs, job{p, r})
		}
	}
	next := make(chan job, len(jobs))
	for _, j := range jobs {
		next <- j
	}
	close(next)
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for range min(sideBySide(), len(jobs)) {
		group.Go(func() error {
			session, err := s.connect(ctx, "compare")
			if err != nil {
				return s.explain(err)
			}
			defer session.close()
			for j := range next {
				d, err := session.scan(ctx, j.r)
				text, err := scanError(ctx, j.of.name, err)
				if err != nil {
					return err
				}
				mu.Lock()
				p := j.of
				p.left--
				if text == "" {
					err = p.have.AddText(d.String(), d.Rows())
					if p.left == 0 && !p.told {
						text = p.have.Difference(p.name, p.want)
					}
				}
				if p.told {
					text = ""
				}
				p.told = p.told || text != ""
				if err == nil && text != "" {
					err = report(text)
				}
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// compareCounters compares what gives the next rows their numbers.
func (s *Source) compareCounters(ctx context.Context, target drivers.Target, c *contents, report func(string) error) error {
	if target.Open == nil {
		return nil
	}
	schema, err := readSchema(ctx, target, c.schema)
	if err != nil {
		return err
	}
	session, err := s.connect(ctx, "compare")
	if err != nil {
		return s.explain(err)
	}
	defer session.close()
	have, err := readAuto(ctx, session)
	if err != nil {
		return err
	}
	only := len(target.Only) > 0
	for _, e := range schema {
		switch {
		case e.Kind == entryTable && (!only || c.tables[e.Name] != nil):
			_, want, err := cutAutoIncrement(e.sql)
			if err != nil {
				return fmt.Errorf("read %s: %w", e.label(), err)
			}
			if n := have[e.Name]; want > 1 && n != want {
				if err := report(fmt.Sprintf("%s: the next AUTO_INCREMENT is %d, the dump has %d", e.Name, n, want)); err != nil {
					return err
				}
			}
		case e.Kind == entrySetval && !only:
			now, err := sequenceState(ctx, session, e.Name)
			if isCode(err, codeNoTable) {
				now, err = &entry{}, nil
			}
			if err != nil {
				return err
			}
			if now.sql != e.sql {
				if err := report(fmt.Sprintf("sequence %s is not as in the dump: %s", e.Name, e.sql)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
