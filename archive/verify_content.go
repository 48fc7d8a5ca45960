package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc32"
)

// packID and objectID are names in binary: there may be millions.
type (
	packID   [sha256.Size]byte
	objectID struct {
		sha  [sha256.Size]byte
		zstd bool
	}
)

type checkState uint8

const (
	onlyListed checkState = iota // no dump has asked for it so far
	isGood
	isBad  // damaged somewhere: every chunk of it is looked at by itself
	isGone // missing, or not to be read
)

type packState struct {
	state checkState
	err   error // of isGone
}

type objectState struct {
	state        checkState
	stored, size int32
	err          error
}

// packPlaces says where a good pack's members are.
type packPlaces map[[sha256.Size]byte]packPlace

type packPlace struct {
	offset, stored int32
	size           int32 // of the content; -1 where it was not decoded again
	zstd           bool
}

func hashBytes(hash string) (sum [sha256.Size]byte) {
	_, _ = hex.Decode(sum[:], []byte(hash)) // isHash was asked before
	return sum
}

// chunk checks that a chunk is where it says and what it says.
func (v *verifier) chunk(ctx context.Context, c *Chunk, of owner) error {
	if c.Pack == "" {
		return v.objectChunk(ctx, c, of)
	}
	id := packID(hashBytes(c.Pack))
	state, places, err := v.pack(ctx, id, c.Pack, of)
	switch {
	case err != nil:
		return err
	case state.state == isGone:
		return state.err
	case state.state == isBad:
		return v.single(ctx, c)
	}
	place, ok := places[hashBytes(c.SHA256)]
	if !ok || place.offset != int32(c.Offset) || place.stored != int32(c.Stored) || place.zstd != c.Zstd || //nolint:gosec // at most maxPack, by Chunk.check
		place.size >= 0 && place.size != int32(c.Size) { //nolint:gosec // at most ChunkSize
		return corrupt(c.key(), "chunk %s is not where the entry says", c.SHA256)
	}
	return nil
}

// single reads one chunk as a restore would.
func (v *verifier) single(ctx context.Context, c *Chunk) error {
	return v.borrow(ctx, func(r *ContentReader) error {
		return v.read(ctx, func() error { _, err := r.Chunk(ctx, c); return err })
	})
}

func (v *verifier) borrow(ctx context.Context, use func(*ContentReader) error) error {
	select {
	case r := <-v.workers:
		defer func() { v.workers <- r }()
		return use(r)
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

// fly lets one goroutine at a time work on a key; the others wait and look again. done tells, with the lock held, whether
// there is nothing to do.
func (v *verifier) fly(ctx context.Context, key string, done func() bool, work func() error) error {
	for {
		v.mu.Lock()
		if done() {
			v.mu.Unlock()
			return nil
		}
		flight, busy := v.flights[key]
		if !busy {
			flight = make(chan struct{})
			v.flights[key] = flight
			v.mu.Unlock()
			err := work()
			v.mu.Lock()
			delete(v.flights, key)
			v.mu.Unlock()
			close(flight)
			return err
		}
		v.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			return ctxError(ctx)
		}
	}
}

// pack returns what is known of a pack, and reads it where that is nothing: whole the first time, its directory later. A
// pack that is damaged belongs to the first that asks for it, also if no chunk of its is lost.
func (v *verifier) pack(ctx context.Context, id packID, name string, of owner) (state packState, places packPlaces, err error) {
	for places == nil {
		err = v.fly(ctx, packKey(name), func() bool {
			state = v.packs[id]
			places = v.directories[id]
			return places != nil || state.state == isBad || state.state == isGone
		}, func() error {
			return v.borrow(ctx, func(r *ContentReader) error { return v.readPack(ctx, r, id, name, of) })
		})
		if err != nil || state.state == isBad || state.state == isGone {
			return state, nil, err
		}
	}
	return state, places, nil
}

func (v *verifier) readPack(ctx context.Context, r *ContentReader, id packID, name string, of owner) error {
	v.mu.Lock()
	state := v.packs[id]
	v.mu.Unlock()
	var places packPlaces
	var size int
	again := state.state == isGood
	err := v.read(ctx, func() (err error) {
		if again {
			places, err = v.directory(ctx, r, name)
			return err
		}
		places, size, err = v.wholePack(ctx, r, name)
		return err
	})
	if ended := ctxError(ctx); ended != nil {
		return ended
	}
	switch {
	case err == nil:
		state = packState{state: isGood}
	case errors.Is(err, ErrCorrupt) && !errors.Is(err, errMissing):
		state = packState{state: isBad}
	default:
		state = packState{state: isGone, err: err}
	}
	if err != nil {
		v.lose(ctx, packKey(name), err, of, "", 0) // even if no entry of these dumps is hit
	}
	v.mu.Lock()
	v.packs[id] = state
	if err == nil {
		v.remember(id, places)
	}
	v.mu.Unlock()
	if !again {
		v.expect(int64(size))
		v.count(int64(size))
	}
	return nil
}

// remember keeps a directory, with the lock held.
func (v *verifier) remember(id packID, places packPlaces) {
	v.directories[id] = places
	v.recent = append(v.recent, id)
	v.cached += len(places)
	for len(v.recent) > 2*verifyWorkers && v.cached > maxCachedMember {
		v.cached -= len(v.directories[v.recent[0]])
		delete(v.directories, v.recent[0])
		v.recent = v.recent[1:]
	}
}

// wholePack reads a pack and checks it and all its members.
func (v *verifier) wholePack(ctx context.Context, r *ContentReader, name string) (packPlaces, int, error) {
	key := packKey(name)
	n, err := readUpTo(ctx, v.archive.store, key, r.stored)
	if err != nil {
		return nil, n, needed(key, err)
	}
	data := r.stored[:n]
	if hashOf(data) != name {
		return nil, n, corrupt(key, "pack of %d bytes does not fit its hash", n)
	}
	members, problem := parsePack(data)
	if problem != "" {
		return nil, n, corrupt(key, "%s", problem)
	}
	places := make(packPlaces, len(members))
	for i := range members {
		m := &members[i]
		stored := data[m.offset : m.offset+m.stored]
		content := stored
		if m.zstd {
			if content, err = r.zstd.DecodeAll(stored, r.decoded[:0]); err != nil {
				return nil, n, corrupt(key, "member %x: %v", m.sha, err)
			}
		}
		sum := sha256.Sum256(content)
		if !bytes.Equal(sum[:], m.sha[:]) || crc32.ChecksumIEEE(stored) != m.crc {
			return nil, n, corrupt(key, "member %x does not fit its hash", m.sha)
		}
		places[m.sha] = m.place(int32(len(content))) //nolint:gosec // at most ChunkSize
	}
	if len(places) != len(members) {
		return nil, n, corrupt(key, "pack has a member twice")
	}
	return places, n, nil
}

func (m *packMember) place(size int32) packPlace {
	return packPlace{offset: int32(m.offset), stored: int32(m.stored), size: size, zstd: m.zstd} //nolint:gosec // at most maxPack
}

// directory reads the directory of a pack that was found good before.
func (v *verifier) directory(ctx context.Context, r *ContentReader, name string) (packPlaces, error) {
	key := packKey(name)
	info, err := v.archive.store.stat(ctx, key)
	if err != nil {
		return nil, needed(key, err)
	}
	if info.size < zipEndLen || info.size > maxPack {
		return nil, corrupt(key, "no pack by its length")
	}
	end := r.stored[:zipEndLen]
	if err := readInto(ctx, v.archive.store, key, info.size-zipEndLen, end); err != nil {
		return nil, needed(key, err)
	}
	d, problem := parsePackEnd(end, int(info.size))
	if problem != "" {
		return nil, corrupt(key, "%s", problem)
	}
	dir := r.stored[:d.size]
	if err := readInto(ctx, v.archive.store, key, int64(d.start), dir); err != nil {
		return nil, needed(key, err)
	}
	members, problem := parsePackDirectory(dir, d)
	if problem != "" {
		return nil, corrupt(key, "%s", problem)
	}
	places := make(packPlaces, len(members))
	for i := range members {
		size := int32(-1)
		if !members[i].zstd {
			size = int32(members[i].stored) //nolint:gosec // at most maxPack
		}
		places[members[i].sha] = members[i].place(size)
	}
	return places, nil
}

func (v *verifier) objectChunk(ctx context.Context, c *Chunk, of owner) error {
	id := objectID{hashBytes(c.SHA256), c.Zstd}
	var state objectState
	for state.state == onlyListed {
		err := v.fly(ctx, c.key(), func() bool {
			state = v.objects[id]
			return state.state != onlyListed
		}, func() error {
			return v.borrow(ctx, func(r *ContentReader) error { return v.readObject(ctx, r, id, c, of) })
		})
		if err != nil {
			return err
		}
	}
	if state.state != isGood {
		return state.err
	}
	if int64(state.size) != c.Size || int64(state.stored) != c.Stored {
		return corrupt(c.key(), "object has not the length that the entry says")
	}
	return nil
}

func (v *verifier) readObject(ctx context.Context, r *ContentReader, id objectID, c *Chunk, of owner) error {
	state := objectState{state: isGood}
	n := 0
	state.err = v.read(ctx, func() (err error) {
		if n, err = readUpTo(ctx, v.archive.store, c.key(), r.stored); err != nil {
			return needed(c.key(), err)
		}
		content := r.stored[:n]
		if c.Zstd {
			if content, err = r.zstd.DecodeAll(content, r.decoded[:0]); err != nil {
				return corrupt(c.key(), "%v", err)
			}
		}
		if hashOf(content) != c.SHA256 {
			return corrupt(c.key(), "content does not fit its hash")
		}
		state.stored, state.size = int32(n), int32(len(content)) //nolint:gosec // at most ChunkSize
		return nil
	})
	if ended := ctxError(ctx); ended != nil {
		return ended
	}
	if state.err != nil {
		state.state = isBad
		v.lose(ctx, c.key(), state.err, of, "", 0)
	}
	v.mu.Lock()
	v.objects[id] = state
	v.mu.Unlock()
	v.expect(int64(n))
	v.count(int64(n))
	return nil
}
