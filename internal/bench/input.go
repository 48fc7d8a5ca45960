//go:build unix

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// directorySize is how many files lie in one directory of the input.
const directorySize = 500

// filling is endless content that is the same in each run: one half of every 8 KiB cannot be compressed, the other half
// is text.
type filling struct {
	random *rand.ChaCha8
	line   int
	text   []byte // of the last line
	block  []byte
}

// blockSize is the most that a filling gives at once.
const blockSize = 1 << 20

func newFilling(seed string) *filling {
	var key [32]byte
	copy(key[:], seed)
	return &filling{random: rand.NewChaCha8(key), block: make([]byte, blockSize)}
}

// next returns the next size bytes, at most blockSize. They are good until it is called again.
func (f *filling) next(size int64) []byte {
	for rest := f.block[:size]; len(rest) > 0; {
		piece := rest[:min(8192, len(rest))]
		rest = rest[len(piece):]
		half := len(piece) / 2
		_, _ = f.random.Read(piece[:half]) // never fails
		for text := piece[half:]; len(text) > 0; text = text[copy(text, f.text):] {
			f.line++
			f.text = fmt.Appendf(f.text[:0], "line %d of a log that says much the same as the line before it did\n", f.line)
		}
	}
	return f.block[:size]
}

// makeFiles writes count files of a size, spread over directories.
func makeFiles(ctx context.Context, dir string, count int, bytes int64) error {
	content := newFilling(filepath.Base(dir))
	for i := range count {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("make input: %w", context.Cause(ctx))
		}
		in := filepath.Join(dir, fmt.Sprintf("d%05d", i/directorySize))
		if i%directorySize == 0 {
			if err := os.MkdirAll(in, 0o755); err != nil { //nolint:gosec // as a user's directories are
				return fmt.Errorf("make input: %w", err)
			}
		}
		if err := makeFile(ctx, filepath.Join(in, fmt.Sprintf("f%07d.dat", i)), bytes, content); err != nil {
			return fmt.Errorf("make input: %w", err)
		}
	}
	return nil
}

// makeFile writes one file, by way of a block that the caller keeps: this process must stay small, see measure.
func makeFile(ctx context.Context, name string, bytes int64, content *filling) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for left := bytes; left > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		block := content.next(min(left, blockSize))
		if _, err := f.Write(block); err != nil {
			return err
		}
		left -= int64(len(block))
	}
	return nil
}

// makeSparse makes a file of a size that holds a block of data at each of ten places, and nothing between them.
func makeSparse(name string, bytes int64) (err error) {
	const places = 10
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make sparse file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(bytes); err != nil {
		return fmt.Errorf("make sparse file: %w", err)
	}
	content := newFilling("sparse")
	for i := range int64(places) {
		if _, err := f.WriteAt(content.next(blockSize), i*(bytes-blockSize)/(places-1)); err != nil {
			return fmt.Errorf("make sparse file: %w", err)
		}
	}
	return nil
}

// makeDatabase makes a small SQLite database.
func makeDatabase(ctx context.Context, name string) (err error) {
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `CREATE TABLE photo (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
		INSERT INTO photo SELECT i, 'photo ' || i FROM n`)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return nil
}

// census is what a tree holds.
type census struct {
	entries   int
	bytes     int64
	allocated int64 // on the disk
}

// count walks a tree.
func count(ctx context.Context, dir string) (census, error) {
	var c census
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.entries++
		if !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		c.bytes += info.Size()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			c.allocated += stat.Blocks * 512
		}
		return nil
	})
	if err != nil {
		return census{}, fmt.Errorf("count the entries of %s: %w", dir, err)
	}
	return c, nil
}

// same fails where a restored tree does not hold what its source does. That each byte is right is what the tests are for; this
// is against figures of programs that did nothing.
func same(ctx context.Context, source, target string) error {
	want, err := count(ctx, source)
	if err != nil {
		return err
	}
	got, err := count(ctx, target)
	if err != nil {
		return err
	}
	if want.entries != got.entries || want.bytes != got.bytes {
		return fmt.Errorf("restored %d entries with %d bytes of %d entries with %d bytes", got.entries, got.bytes, want.entries, want.bytes)
	}
	return nil
}
