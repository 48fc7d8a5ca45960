package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver of the demo's database
)

// site is the demo's photo site.
type site struct{ dir string }

func (s site) database() string { return filepath.Join(s.dir, "photos.db") }
func (s site) uploads() string  { return filepath.Join(s.dir, "uploads") }

const (
	demoAlbums = 4
	demoPhotos = 12 // in each album
)

func photoName(album, photo int) string { return fmt.Sprintf("album-%d/photo-%02d.png", album, photo) }

// open opens the site's database.
func (s site) open() (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: s.database(), RawQuery: "_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)"}
	return sql.Open("sqlite", u.String())
}

// build makes the site and returns the number of photos.
func (s site) build(ctx context.Context) (_ int, err error) {
	if err := os.MkdirAll(s.uploads(), 0o755); err != nil { //nolint:gosec // uploads are served to everybody
		return 0, fmt.Errorf("make site: %w", err)
	}
	db, err := s.open()
	if err != nil {
		return 0, fmt.Errorf("make database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `CREATE TABLE albums (id INTEGER PRIMARY KEY, title TEXT NOT NULL, opened TEXT NOT NULL);
		CREATE TABLE photos (id INTEGER PRIMARY KEY, album INTEGER NOT NULL REFERENCES albums, file TEXT NOT NULL UNIQUE,
			caption TEXT, width INTEGER NOT NULL, height INTEGER NOT NULL, rating REAL);
		CREATE INDEX photos_album ON photos (album);`)
	if err != nil {
		return 0, fmt.Errorf("make tables: %w", err)
	}
	photos := 0
	for album := 1; album <= demoAlbums; album++ {
		if err := s.addAlbum(ctx, db, album); err != nil {
			return 0, err
		}
		photos += demoPhotos
	}
	return photos, s.addOddities()
}

// addAlbum adds an album with its photos.
func (s site) addAlbum(ctx context.Context, db *sql.DB, album int) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("add album: %w", err)
	}
	defer func() {
		if rollbackErr := tx.Rollback(); !errors.Is(rollbackErr, sql.ErrTxDone) {
			err = errors.Join(err, rollbackErr)
		}
	}()
	opened := fmt.Sprintf("2026-%02d-01", album)
	if _, err := tx.ExecContext(ctx, `INSERT INTO albums VALUES (?, ?, ?)`, album, fmt.Sprintf("Été %d — días", album), opened); err != nil {
		return fmt.Errorf("add album: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(s.uploads(), fmt.Sprintf("album-%d", album)), 0o750); err != nil {
		return fmt.Errorf("add album: %w", err)
	}
	for photo := 1; photo <= demoPhotos; photo++ {
		width, height := 64+8*photo, 48+4*album
		name := photoName(album, photo)
		if _, err := tx.ExecContext(ctx, `INSERT INTO photos (album, file, caption, width, height, rating) VALUES (?, ?, ?, ?, ?, ?)`,
			album, name, fmt.Sprintf("photo %d of album %d", photo, album), width, height, float64(photo)/3); err != nil {
			return fmt.Errorf("add photo: %w", err)
		}
		when := time.Date(2026, time.Month(album), photo, 12, 30, 15, 123456789, time.UTC)
		if err := writePhoto(filepath.Join(s.uploads(), name), width, height, when); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// writePhoto draws a picture that no other photo has.
func writePhoto(name string, width, height int, when time.Time) (err error) {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	seed := int(when.Unix() / 86400)
	for y := range height {
		for x := range width {
			img.SetRGBA(x, y, color.RGBA{R: byte(x*seed + y), G: byte(x ^ y ^ seed), B: byte(seed * (x + 1) * (y + 1)), A: 255}) //nolint:gosec // colours wrap around
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640) //nolint:gosec // the web server reads it
	if err != nil {
		return fmt.Errorf("write photo: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := png.Encode(f, img); err != nil {
		return fmt.Errorf("write photo: %w", err)
	}
	return os.Chtimes(name, when, when)
}

// addOddities adds what backups are known to lose: a hidden file, an empty directory, a symbolic link, odd names.
func (s site) addOddities() error {
	root := s.uploads()
	files := map[string]string{".htaccess": "Options -Indexes\n", "album-1/Ünïcødé & spaces.txt": "a caption\n", "album-2/-rf": "not an option\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := os.Symlink(photoName(1, 1), filepath.Join(root, "cover.png")); err != nil {
		return fmt.Errorf("link cover: %w", err)
	}
	if err := os.Mkdir(filepath.Join(root, "incoming"), 0o700); err != nil {
		return fmt.Errorf("make incoming: %w", err)
	}
	return nil
}

// damageText is what damage does, as it would be typed.
func (s site) damageText() []string {
	at := func(name string) string { return shellQuote(filepath.Join(s.uploads(), name)) }
	return []string{
		"sqlite3 " + shellQuote(s.database()) + " 'DELETE FROM photos WHERE album = 2; UPDATE albums SET title = upper(title);'",
		"rm -r " + at("album-3") + " " + at(".htaccess"),
		"echo oops > " + at(photoName(1, 2)),
		"chmod 777 " + at(photoName(1, 3)),
		"echo '<?php' > " + at("shell.php"),
	}
}

// damage does the site harm.
func (s site) damage(ctx context.Context) (err error) {
	db, err := s.open()
	if err != nil {
		return fmt.Errorf("damage database: %w", err)
	}
	_, err = db.ExecContext(ctx, `DELETE FROM photos WHERE album = 2; UPDATE albums SET title = upper(title);`)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("damage database: %w", err)
	}
	at := func(name string) string { return filepath.Join(s.uploads(), name) }
	return errors.Join(
		os.RemoveAll(at("album-3")),
		os.Remove(at(".htaccess")),
		os.WriteFile(at(photoName(1, 2)), []byte("oops\n"), 0o600),
		os.Chmod(at(photoName(1, 3)), 0o777), //nolint:gosec // that is the damage
		os.WriteFile(at("shell.php"), []byte("<?php\n"), 0o600),
	)
}

// fingerprint is what must be the same after a restore.
type fingerprint struct {
	tables map[string]string      // the hash of each table's rows
	files  map[string]fileDetails // by path below the uploads
}

type fileDetails struct {
	mode fs.FileMode
	time time.Time
	hash string // of a file's content or a link's text
}

func (s site) fingerprint(ctx context.Context) (fingerprint, error) {
	tables, err := s.tables(ctx)
	if err != nil {
		return fingerprint{}, err
	}
	files, err := s.files()
	return fingerprint{tables, files}, err
}

// tables hashes the rows of every table, in their order.
func (s site) tables(ctx context.Context) (_ map[string]string, err error) {
	db, err := s.open()
	if err != nil {
		return nil, fmt.Errorf("read database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	hashes := make(map[string]string)
	for table, query := range map[string]string{
		"sqlite_schema": `SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name`,
		"albums":        `SELECT * FROM albums ORDER BY id`,
		"photos":        `SELECT * FROM photos ORDER BY id`,
	} {
		if hashes[table], err = hashRows(ctx, db, query); err != nil {
			return nil, fmt.Errorf("read table %s: %w", table, err)
		}
	}
	return hashes, nil
}

func hashRows(ctx context.Context, db *sql.DB, query string) (_ string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		if _, err := fmt.Fprintf(h, "%#v\n", values); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), rows.Err()
}

// files describes everything below the uploads.
func (s site) files() (map[string]fileDetails, error) {
	files := make(map[string]fileDetails)
	root := s.uploads()
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		d := fileDetails{mode: info.Mode(), time: info.ModTime()}
		switch {
		case info.Mode().IsRegular():
			d.hash, err = hashFile(name)
		case info.Mode()&fs.ModeSymlink != 0:
			d.hash, err = os.Readlink(name)
		}
		path, relErr := filepath.Rel(root, name)
		files[path] = d
		return errors.Join(err, relErr)
	})
	if err != nil {
		return nil, fmt.Errorf("read uploads: %w", err)
	}
	return files, nil
}

func hashFile(name string) (_ string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// compare names what differs, sorted.
func (f fingerprint) compare(other fingerprint) []string {
	var out []string
	for table, hash := range f.tables {
		if other.tables[table] != hash {
			out = append(out, "table "+table+" has other rows")
		}
	}
	for name, want := range f.files {
		have, ok := other.files[name]
		var what []string
		switch {
		case !ok:
			what = append(what, "is missing")
		default:
			if have.hash != want.hash {
				what = append(what, "has another content")
			}
			if have.mode != want.mode {
				what = append(what, fmt.Sprintf("has mode %v, not %v", have.mode, want.mode))
			}
			if !have.time.Equal(want.time) {
				what = append(what, "has another time")
			}
		}
		if len(what) > 0 {
			out = append(out, "file "+quoteName(name)+" "+strings.Join(what, ", "))
		}
	}
	for name := range other.files {
		if _, ok := f.files[name]; !ok {
			out = append(out, "file "+quoteName(name)+" is extra")
		}
	}
	slices.Sort(out)
	return out
}
