package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

// A pack is a zip file by docs/archive-format.md: stored members only, without extra fields, times or gaps. It is written
// and read by code of our own because that format is so narrow: archive/zip would compress, add data descriptors and
// accept what is no pack.
const (
	// maxPack is the greatest length of a pack.
	maxPack        = 16 << 20
	maxPackMembers = 65000

	zipLocal     = 0x04034b50
	zipCentral   = 0x02014b50
	zipEnd       = 0x06054b50
	zipLocalLen  = 30
	zipDirLen    = 46
	zipEndLen    = 22
	zipVersion   = 10
	zipMadeBy    = 3<<8 | zipVersion // Unix: the mode counts
	zipDate      = 1<<5 | 1          // 1980-01-01
	zipFileMode  = 0o100600 << 16
	zstdEnding   = ".zst"
	maxMemberLen = 2*sha256.Size + len(zstdEnding)
)

// packMember is a member as the directory has it.
type packMember struct {
	sha    [sha256.Size]byte // of the content, as the name says
	zstd   bool
	offset int // of the stored bytes
	stored int
	crc    uint32
}

func (m *packMember) nameLen() int {
	if m.zstd {
		return maxMemberLen
	}
	return 2 * sha256.Size
}

func (m *packMember) appendName(b []byte) []byte {
	b = hex.AppendEncode(b, m.sha[:])
	if m.zstd {
		b = append(b, zstdEnding...)
	}
	return b
}

// packBuilder builds one pack in a buffer of maxPack bytes.
type packBuilder struct {
	data    []byte
	members []packMember
	dirLen  int
}

// fits tells whether a member of that length still has room.
func (p *packBuilder) fits(stored int) bool {
	return len(p.members) < maxPackMembers &&
		len(p.data)+zipLocalLen+maxMemberLen+stored+p.dirLen+zipDirLen+maxMemberLen+zipEndLen <= maxPack
}

// add appends a member.
func (p *packBuilder) add(m packMember, stored []byte) {
	m.stored = len(stored)
	m.crc = crc32.ChecksumIEEE(stored)
	m.offset = len(p.data) + zipLocalLen + m.nameLen()
	p.data = append(appendLocalHeader(p.data, &m), stored...)
	p.members = append(p.members, m)
	p.dirLen += zipDirLen + m.nameLen()
}

// appendCommon appends what a local header and a directory record share: from the flags to the extra field's length.
func appendCommon(b []byte, m *packMember) []byte {
	b = append(b, 0, 0, 0, 0, 0, 0) // flags, method: stored, time
	b = binary.LittleEndian.AppendUint16(b, zipDate)
	b = binary.LittleEndian.AppendUint32(b, m.crc)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.stored))    //nolint:gosec // at most maxPack
	b = binary.LittleEndian.AppendUint32(b, uint32(m.stored))    //nolint:gosec // at most maxPack
	b = binary.LittleEndian.AppendUint16(b, uint16(m.nameLen())) //nolint:gosec // 68 at most
	return append(b, 0, 0)
}

// finish appends the directory and returns the pack. The builder must be reset before it is used again.
func (p *packBuilder) finish() []byte {
	start := len(p.data)
	b := p.data
	for i := range p.members {
		b = appendDirRecord(b, &p.members[i])
	}
	n := uint16(len(p.members)) //nolint:gosec // at most maxPackMembers
	size := len(b) - start
	b = binary.LittleEndian.AppendUint32(b, zipEnd)
	b = append(b, 0, 0, 0, 0) // disks
	b = binary.LittleEndian.AppendUint16(b, n)
	b = binary.LittleEndian.AppendUint16(b, n)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))  //nolint:gosec // at most maxPack
	b = binary.LittleEndian.AppendUint32(b, uint32(start)) //nolint:gosec // at most maxPack
	p.data = append(b, 0, 0)
	return p.data
}

// reset starts a new pack in a buffer of maxPack bytes.
func (p *packBuilder) reset(buf []byte) {
	p.data, p.members, p.dirLen = buf[:0], p.members[:0], 0
}

// packDirectory is where a pack's directory lies.
type packDirectory struct {
	start, size, members int
}

// parsePackEnd reads the end record: the last zipEndLen bytes of a pack of that length. problem is "" if it is right.
func parsePackEnd(end []byte, length int) (d packDirectory, problem string) {
	if len(end) != zipEndLen || length > maxPack {
		return d, "no pack by its length"
	}
	le := binary.LittleEndian
	d = packDirectory{
		start: int(le.Uint32(end[16:])), size: int(le.Uint32(end[12:])), members: int(le.Uint16(end[10:])),
	}
	switch {
	case le.Uint32(end[12:]) > maxPack || le.Uint32(end[16:]) > maxPack:
		return packDirectory{}, "end record does not fit"
	case le.Uint32(end) != zipEnd || le.Uint32(end[4:]) != 0 || le.Uint16(end[20:]) != 0:
		return d, "no end record"
	case int(le.Uint16(end[8:])) != d.members || d.start+d.size+zipEndLen != length || d.members > maxPackMembers:
		return d, "end record does not fit"
	}
	return d, ""
}

// parsePackDirectory reads a directory that begins at offset start of its pack. Members must lie without a gap.
func parsePackDirectory(dir []byte, d packDirectory) (members []packMember, problem string) {
	if d.members*(zipDirLen+2*sha256.Size) > len(dir) {
		return nil, "directory is too short"
	}
	members = make([]packMember, d.members)
	le := binary.LittleEndian
	at := 0
	var record []byte
	for i := range members {
		m := &members[i]
		if len(dir) < zipDirLen || le.Uint32(dir) != zipCentral {
			return nil, "directory is damaged"
		}
		nameLen := int(le.Uint16(dir[28:]))
		if len(dir) < zipDirLen+nameLen || !parseMemberName(dir[zipDirLen:zipDirLen+nameLen], m) {
			return nil, "member name is none of ours"
		}
		if le.Uint32(dir[20:]) > maxPack || le.Uint32(dir[42:]) > maxPack {
			return nil, "member is outside of the pack"
		}
		m.crc, m.stored = le.Uint32(dir[16:]), int(le.Uint32(dir[20:]))
		m.offset = int(le.Uint32(dir[42:])) + zipLocalLen + nameLen
		if record = appendDirRecord(record[:0], m); !bytes.Equal(dir[:zipDirLen+nameLen], record) {
			return nil, "directory is not as it is written"
		}
		if m.offset != at+zipLocalLen+nameLen || m.stored > d.start-m.offset {
			return nil, "members do not follow each other"
		}
		at = m.offset + m.stored
		dir = dir[zipDirLen+nameLen:]
	}
	if len(dir) != 0 || at != d.start {
		return nil, "directory does not fit the members"
	}
	return members, ""
}

// appendDirRecord appends the directory's record of a member. The format leaves no choice, so a reader compares with it.
func appendDirRecord(b []byte, m *packMember) []byte {
	b = binary.LittleEndian.AppendUint32(b, zipCentral)
	b = binary.LittleEndian.AppendUint16(b, zipMadeBy)
	b = binary.LittleEndian.AppendUint16(b, zipVersion)
	b = appendCommon(b, m)
	b = append(b, 0, 0, 0, 0, 0, 0) // comment, disk, internal attributes
	b = binary.LittleEndian.AppendUint32(b, zipFileMode)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.offset-m.nameLen()-zipLocalLen)) //nolint:gosec // at most maxPack
	return m.appendName(b)
}

// appendLocalHeader appends what stands before a member's bytes.
func appendLocalHeader(b []byte, m *packMember) []byte {
	b = binary.LittleEndian.AppendUint32(b, zipLocal)
	b = binary.LittleEndian.AppendUint16(b, zipVersion)
	return m.appendName(appendCommon(b, m))
}

func parseMemberName(name []byte, m *packMember) bool {
	text, compressed := strings.CutSuffix(string(name), zstdEnding)
	if !isHash(text) {
		return false
	}
	m.zstd = compressed
	_, err := hex.Decode(m.sha[:], []byte(text))
	return err == nil
}

// parsePack reads a whole pack and checks everything but the members' hashes.
func parsePack(data []byte) (members []packMember, problem string) {
	if len(data) < zipEndLen {
		return nil, "no pack by its length"
	}
	d, problem := parsePackEnd(data[len(data)-zipEndLen:], len(data))
	if problem != "" {
		return nil, problem
	}
	members, problem = parsePackDirectory(data[d.start:d.start+d.size], d)
	if problem != "" {
		return nil, problem
	}
	var header []byte
	for i := range members {
		m := &members[i]
		header = appendLocalHeader(header[:0], m)
		if !bytes.Equal(data[m.offset-len(header):m.offset], header) {
			return nil, "member header is damaged"
		}
	}
	return members, ""
}
