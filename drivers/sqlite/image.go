package sqlite

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"salvor/drivers"
)

// partName is the name of the only part.
const partName = "database"

// headerSize is the length of the header of a database file.
const headerSize = 100

// magic begins every database file but an empty one. See https://www.sqlite.org/fileformat2.html#the_database_header.
const magic = "SQLite format 3\x00"

// ref describes the image; it is kept in the dump. The meaning of a field never changes.
type ref struct {
	PageSize  int64 `json:"page_size"`
	PageCount int64 `json:"page_count"`
	// Header is the first 100 bytes of the image, none if it is empty. With the size it tells databases apart without
	// reading them: in rollback-journal modes it counts changes.
	Header []byte `json:"header,omitempty"`
	// SHA256 is the hash of the image, in hexadecimal; "" before it is dumped. The part has it, not its description.
	SHA256 string `json:"-"`
	// Mode holds the permission bits of the source's file, and UID and GID its owner.
	Mode uint32  `json:"mode,omitempty"`
	UID  *uint32 `json:"uid,omitempty"`
	GID  *uint32 `json:"gid,omitempty"`
}

func (r ref) size() int64 { return r.PageSize * r.PageCount }

func (r ref) part() (drivers.Part, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return drivers.Part{}, fmt.Errorf("describe part: %w", err)
	}
	return drivers.Part{Name: partName, Ext: "sqlite", Size: r.size(), Ref: text, SHA256: r.SHA256}, nil
}

// parseRef reads the description of a part, which may come from a damaged or foreign archive.
func parseRef(part drivers.Part) (ref, error) {
	var r ref
	if part.Name != partName {
		return r, fmt.Errorf("part %q: a sqlite dump has one part, %q: %w", part.Name, partName, drivers.ErrInvalid)
	}
	if err := json.Unmarshal(part.Ref, &r); err != nil {
		return r, fmt.Errorf("part %q: read description: %w: %w", part.Name, drivers.ErrInvalid, err)
	}
	switch {
	case r.PageCount == 0 && r.PageSize >= 0:
	case !validPageSize(r.PageSize), r.PageCount < 0, r.PageCount > maxPages:
		return r, fmt.Errorf("part %q: %d pages of %d bytes: %w", part.Name, r.PageCount, r.PageSize, drivers.ErrInvalid)
	}
	r.SHA256 = part.SHA256
	return r, nil
}

// maxPages is the greatest number of pages that SQLite allows.
const maxPages = 1<<32 - 2

func validPageSize(n int64) bool { return n >= 512 && n <= 65536 && n&(n-1) == 0 }

// checkHeader checks the beginning of an image of size bytes. An empty image is a database: SQLite takes an empty file
// for one. It returns [drivers.ErrCorrupt].
func checkHeader(head []byte, size int64) error {
	if size == 0 {
		return nil
	}
	if len(head) < headerSize || !bytes.HasPrefix(head, []byte(magic)) {
		return fmt.Errorf("image is not a SQLite database: %w", drivers.ErrCorrupt)
	}
	pageSize := headerPageSize(head)
	if !validPageSize(pageSize) {
		return fmt.Errorf("image names a page size of %d bytes: %w", pageSize, drivers.ErrCorrupt)
	}
	if size%pageSize != 0 {
		return fmt.Errorf("image of %d bytes is not whole pages of %d bytes: %w", size, pageSize, drivers.ErrCorrupt)
	}
	// The header counts pages only if the last writer knew that field (SQLite 3.7.0).
	count := int64(binary.BigEndian.Uint32(head[28:]))
	if count != 0 && bytes.Equal(head[24:28], head[92:96]) && count != size/pageSize {
		return fmt.Errorf("image of %d pages names %d: %w", size/pageSize, count, drivers.ErrCorrupt)
	}
	return nil
}

func headerPageSize(head []byte) int64 {
	n := int64(binary.BigEndian.Uint16(head[16:]))
	if n == 1 {
		return 65536
	}
	return n
}
