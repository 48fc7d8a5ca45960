package sqlite

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"salvor/drivers"
)

// FuzzCheckHeader checks that what passes is at least whole pages of an allowed size, and that nothing panics.
func FuzzCheckHeader(f *testing.F) {
	_, data := image(f, newDatabase(f, wal, 10))
	f.Add(data[:headerSize], int64(len(data)))
	f.Add(data[:headerSize-1], int64(len(data)))
	f.Add([]byte{}, int64(0))
	f.Add([]byte(magic), int64(512))
	one := append([]byte(nil), data[:headerSize]...)
	binary.BigEndian.PutUint16(one[16:], 1)
	f.Add(one, int64(65536))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		err := checkHeader(head, size)
		if err != nil {
			if !errors.Is(err, drivers.ErrCorrupt) {
				t.Errorf("checkHeader = %v, want ErrCorrupt", err)
			}
			return
		}
		if size == 0 {
			return
		}
		if n := headerPageSize(head); !validPageSize(n) || size%n != 0 || string(head[:len(magic)]) != magic {
			t.Errorf("checkHeader lets %d bytes of %d-byte pages pass", size, n)
		}
	})
}

func TestParseRef(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		`{"page_size":4096,"page_count":3}`:           true,
		`{"page_size":65536,"page_count":4294967294}`: true,
		`{"page_size":4096,"page_count":0}`:           true,
		`{"page_size":4096,"page_count":-1}`:          false,
		`{"page_size":1000,"page_count":3}`:           false,
		`{"page_size":65536,"page_count":4294967295}`: false,
		`{"page_size":-4096,"page_count":3}`:          false,
		`{`:                                           false,
		``:                                            false,
	} {
		_, err := parseRef(drivers.Part{Name: partName, Ref: []byte(text)})
		if (err == nil) != ok || err != nil && !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("parseRef(%s) = %v", text, err)
		}
	}
	if _, err := parseRef(drivers.Part{Name: "other", Ref: []byte("{}")}); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("parseRef of another part = %v", err)
	}
}

// TestEmptyFile: an empty file is a database to SQLite.
func TestEmptyFile(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "empty.db")
	writeFile(t, source, nil, 0o640)
	part, data := image(t, source)
	if len(data) != 0 || part.Size != 0 {
		t.Fatalf("dump of an empty file has %d bytes, part %+v", len(data), part)
	}
	target := filepath.Join(t.TempDir(), "app.db")
	for _, run := range []string{"one", "two"} {
		if err := restoreImage(t.Context(), openSource(t, target), drivers.Target{Run: run}, "t", part, data); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(target); err != nil || info.Size() != 0 {
			t.Errorf("restored an empty file as %v, %v", info, err)
		}
	}
	if left := beside(t, target); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
