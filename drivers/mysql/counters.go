package mysql

import (
	"context"
	"errors"
	"fmt"

	"salvor/drivers"
)

// readCounters reads what changes without any transaction: the next values of AUTO_INCREMENT and of sequences.
func (f *freezing) readCounters(ctx context.Context) error {
	var err error
	f.auto, err = readAuto(ctx, f.side)
	if err != nil {
		return err
	}
	for _, t := range f.tables {
		if t.kind != sequenceTable {
			continue
		}
		e, err := sequenceState(ctx, f.side, t.name)
		if err != nil {
			return err
		}
		f.entries = append(f.entries, e)
	}
	return nil
}

// readAuto reads the next values of AUTO_INCREMENT by table.
func readAuto(ctx context.Context, c *conn) (map[string]uint64, error) {
	list, err := c.catalog(ctx, "SELECT TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND AUTO_INCREMENT IS NOT NULL")
	if err != nil {
		return nil, fmt.Errorf("read AUTO_INCREMENT: %w", classify(err))
	}
	auto := make(map[string]uint64, len(list))
	for _, r := range list {
		var n uint64
		if _, err := fmt.Sscan(r[1], &n); err != nil {
			return nil, fmt.Errorf("read AUTO_INCREMENT of %s: %w", r[0], err)
		}
		auto[r[0]] = n
	}
	return auto, nil
}

// sequenceState is the statement that sets the state of a sequence.
func sequenceState(ctx context.Context, c *conn, name string) (*entry, error) {
	list, err := c.rows(ctx, "SELECT next_not_cached_value, cycle_count FROM "+ident(name))
	if err != nil || len(list) != 1 {
		if isCode(err, codeTableDenied) {
			return nil, drivers.WithHint(fmt.Errorf("read sequence %s: %w", name, classify(err)), hintSelect)
		}
		return nil, fmt.Errorf("read sequence %s: %w", name, classify(errors.Join(err, ctx.Err())))
	}
	return &entry{Kind: entrySetval, Name: name, sql: fmt.Sprintf("DO SETVAL(%s, %s, 0, %s)", ident(name), list[0][0], list[0][1])}, nil
}
