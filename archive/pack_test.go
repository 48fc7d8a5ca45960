package archive

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// builtPack returns a pack with n members; every third is compressed.
func builtPack(t testing.TB, n int) []byte {
	t.Helper()
	var p packBuilder
	p.reset(make([]byte, maxPack))
	for i := range n {
		data := text(i, 100+i)
		m := packMember{sha: sha256.Sum256(data), zstd: i%3 == 0}
		stored := data
		if m.zstd {
			stored = compressed(t, data)
		}
		if !p.fits(len(stored)) {
			t.Fatal("pack is full")
		}
		p.add(m, stored)
	}
	return p.finish()
}

// Others must be able to read packs: the standard library stands for them here, unzip in the test of README.txt.
func TestPackIsAZipFile(t *testing.T) {
	t.Parallel()
	data := builtPack(t, 20)
	z := must(zip.NewReader(bytes.NewReader(data), int64(len(data))))(t)
	if len(z.File) != 20 {
		t.Fatalf("%d members", len(z.File))
	}
	d := must(zstd.NewReader(nil))(t)
	defer d.Close()
	for i, f := range z.File {
		r := must(f.Open())(t)
		content := must(io.ReadAll(r))(t)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if i%3 == 0 {
			content = must(d.DecodeAll(content, nil))(t)
		}
		if !bytes.Equal(content, text(i, 100+i)) || f.Name[:64] != sha(content) || f.Method != zip.Store || f.Mode() != 0o600 {
			t.Errorf("member %d is %+v", i, f.FileHeader)
		}
		if at := must(f.DataOffset())(t); !bytes.HasPrefix(data[at:], data[at:at+5]) {
			t.Errorf("member %d has no data", i)
		}
	}
}

func TestPackRoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 300} {
		data := builtPack(t, n)
		members, problem := parsePack(data)
		if problem != "" || len(members) != n {
			t.Fatalf("%d members: %d, %s", n, len(members), problem)
		}
		for i, m := range members {
			if sum := sha256.Sum256(text(i, 100+i)); m.sha != sum || m.zstd != (i%3 == 0) {
				t.Errorf("member %d is %+v", i, m)
			}
		}
	}
}

func TestPackIsDeterministicAndFull(t *testing.T) {
	t.Parallel()
	if !bytes.Equal(builtPack(t, 100), builtPack(t, 100)) {
		t.Error("the same members make different packs")
	}
	var p packBuilder
	p.reset(make([]byte, maxPack))
	n := 0
	for ; p.fits(0); n++ {
		p.add(packMember{sha: sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16)})}, nil)
	}
	if n != maxPackMembers {
		t.Errorf("%d empty members fit", n)
	}
	if data := p.finish(); len(data) > maxPack {
		t.Errorf("pack of %d bytes", len(data))
	}
	p.reset(make([]byte, maxPack))
	big := make([]byte, SmallSize)
	for n = 0; p.fits(len(big)); n++ {
		big[0] = byte(n)
		p.add(packMember{sha: sha256.Sum256(big)}, big)
	}
	data := p.finish()
	if _, problem := parsePack(data); n != 15 || len(data) > maxPack || problem != "" {
		t.Errorf("%d members of 1 MiB make %d bytes: %s", n, len(data), problem)
	}
}

// No byte of what surrounds the members may differ.
func TestPackFindsEveryDamage(t *testing.T) {
	t.Parallel()
	good := builtPack(t, 4)
	members, _ := parsePack(good)
	inMember := func(at int) bool {
		for _, m := range members {
			if at >= m.offset && at < m.offset+m.stored {
				return true
			}
		}
		return false
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		got, problem := parsePack(bad)
		if problem != "" || inMember(at) {
			continue
		}
		// A changed name or CRC in both places would be another member; one place alone must be noticed.
		t.Errorf("byte %d may change: %d members", at, len(got))
	}
	for n := range good {
		if _, problem := parsePack(good[:n]); problem == "" {
			t.Errorf("a pack cut to %d bytes is accepted", n)
		}
	}
}

func FuzzPackDirectory(f *testing.F) {
	f.Add(builtPack(f, 0))
	f.Add(builtPack(f, 3))
	for _, at := range []int{zipEndLen - 12, zipEndLen - 16} { // lengths of 32 bits that are none of a pack
		data := builtPack(f, 1)
		copy(data[len(data)-zipEndLen+at:], "\xff\xff\xff\xff")
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		members, problem := parsePack(data)
		if problem != "" {
			return
		}
		// What is accepted is what is written, byte for byte.
		var p packBuilder
		for _, m := range members {
			crc := m.crc
			p.add(m, data[m.offset:m.offset+m.stored])
			if p.members[len(p.members)-1].crc != crc {
				return // a damaged member, which its hash tells
			}
		}
		if !bytes.Equal(p.finish(), data) {
			t.Errorf("accepted pack of %d members is not as it is written: %s", len(members), hex.EncodeToString(data))
		}
	})
}
