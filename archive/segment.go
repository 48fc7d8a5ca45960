package archive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

const (
	maxSegment     = 64 << 20  // the stored object
	maxSegmentLine = 256 << 20 // an entry of many TiB
	typeSegment    = "segment"
)

// SegmentName says which segment is written: the entries of a node in the range [From, To); an empty To has no end.
type SegmentName struct {
	Node     string
	Index    int
	From, To string // any bytes
	// Token is the attempt's: letters and digits, random. Two attempts never write one object.
	Token string
	// Root tells trees apart: a text that is equal if and only if the tree's root is the same place; "" where nobody asks. It is
	// not part of the segment's key.
	Root string
}

func (s SegmentName) check() error {
	if err := validNode(s.Node); err != nil {
		return err
	}
	switch {
	case !alphanumeric(s.Token) || len(s.Token) > 64:
		return invalid("token %q of segment %d", s.Token, s.Index)
	case s.Index < 0:
		return invalid("segment index %d", s.Index)
	case s.To != "" && s.To <= s.From:
		return invalid("range of segment %d is empty", s.Index)
	case len(s.Root) > 64 || s.Root != "" && !alphanumeric(s.Root):
		return invalid("root of segment %d", s.Index)
	}
	return nil
}

// contains tells whether a path is in the segment's range.
func (s SegmentName) contains(path string) bool { return path >= s.From && (s.To == "" || path < s.To) }

type segmentHeader struct {
	envelope
	Ref
	Node  string `json:"node"`
	Index int    `json:"index"`
	Token string `json:"token"`
	From  []byte `json:"from,omitempty"`
	To    []byte `json:"to,omitempty"`
	Root  string `json:"root,omitempty"`
}

func (h *segmentHeader) name() SegmentName {
	return SegmentName{Node: h.Node, Index: h.Index, From: string(h.From), To: string(h.To), Token: h.Token, Root: h.Root}
}

// segmentLine is a line after the header: an entry, or the trailer.
type segmentLine struct {
	entryJSON
	End *segmentEnd `json:"end,omitempty"`
}

type segmentEnd struct {
	Entries int64 `json:"entries"`
	Files   int64 `json:"files"`
	Bytes   int64 `json:"bytes"`
}

// count adds an entry that was checked; false where the sum is no length.
func (s *segmentEnd) count(e *Entry) bool {
	s.Entries++
	if e.Type != fileType {
		return true
	}
	s.Files++
	length, ok := contentLength(e.Chunks)
	if !ok || s.Bytes > math.MaxInt64-length {
		return false
	}
	s.Bytes += length
	return true
}

// PutSegment stores the entries of a range, in strictly ascending bytewise order of their paths, and returns the record for
// the node's manifest. Their chunks must be stored already (see [ContentWriter.Flush]). Anything else is refused with
// [ErrInvalid]. It may be repeated with the same arguments.
func (a *Archive) PutSegment(ctx context.Context, ref Ref, name SegmentName, entries []Entry) (SegmentRecord, error) {
	if err := errors.Join(ref.check(), name.check()); err != nil {
		return SegmentRecord{}, err
	}
	rec := SegmentRecord{Index: name.Index, Key: segmentKey(ref, name), From: bytesOrNil(name.From), To: bytesOrNil(name.To)}
	z, err := a.memory.encoder()
	if err != nil {
		return SegmentRecord{}, fmt.Errorf("make encoder: %w", err)
	}
	data, err := encodeSegment(z, ref, name, entries, &rec)
	a.memory.putEncoder(z)
	if err != nil {
		return SegmentRecord{}, fmt.Errorf("store segment %d of %s: %w", name.Index, name.Node, err)
	}
	if err := ctxError(ctx); err != nil {
		return SegmentRecord{}, err
	}
	if err := putSame(ctx, a.store, rec.Key, data); err != nil {
		return SegmentRecord{}, err
	}
	return rec, nil
}

// encodeSegment fills in what rec counts.
func encodeSegment(z *zstd.Encoder, ref Ref, name SegmentName, entries []Entry, rec *SegmentRecord) ([]byte, error) {
	var object bytes.Buffer
	z.Reset(&object)
	out := bufio.NewWriterSize(z, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(segmentHeader{
		envelope: envelope{typeSegment, Format}, Ref: ref, Node: name.Node, Index: name.Index, Token: name.Token,
		From: rec.From, To: rec.To, Root: name.Root,
	})
	if err != nil {
		return nil, err
	}
	var end segmentEnd
	var last *Entry
	for i := range entries {
		e := &entries[i]
		if last != nil && e.Path <= last.Path {
			return nil, invalid("entry %q comes after %q", e.Path, last.Path)
		}
		last = e
		if err := encodeEntry(enc, name, e); err != nil {
			return nil, err
		}
		if !end.count(e) {
			return nil, invalid("entry %q: content is too long", e.Path)
		}
		rec.note(e)
	}
	if err := errors.Join(enc.Encode(segmentLine{End: &end}), out.Flush(), z.Close()); err != nil {
		return nil, err
	}
	if object.Len() > maxSegment {
		return nil, invalid("segment of %d bytes is longer than %d: store fewer entries in one", object.Len(), maxSegment)
	}
	rec.Entries, rec.Files, rec.Bytes = end.Entries, end.Files, end.Bytes
	rec.Size, rec.SHA256 = int64(object.Len()), hashOf(object.Bytes())
	return object.Bytes(), nil
}

// note counts an entry that could not be read.
func (rec *SegmentRecord) note(e *Entry) {
	if e.Err == "" {
		return
	}
	rec.Unreadable++
	if len(rec.Problems) < MaxSegmentProblems {
		rec.Problems = append(rec.Problems, Problem{e.Path, e.Err})
	}
}

func encodeEntry(enc *json.Encoder, name SegmentName, e *Entry) error {
	if !name.contains(e.Path) {
		return invalid("entry %q is not in the range [%q, %q)", e.Path, name.From, name.To)
	}
	if problem := e.check(); problem != "" {
		return invalid("entry %q: %s", e.Path, problem)
	}
	if err := enc.Encode(e.toJSON()); err != nil {
		return fmt.Errorf("encode entry %q: %w", e.Path, err)
	}
	return nil
}

// Segment reads a segment back and calls yield for its entries, in order; it stops at yield's first error, which it
// returns as it is. The stored object is checked against its hash before the first entry is yielded. It returns
// [ErrCorrupt] where the segment is missing, damaged or not what the record says.
func (a *Archive) Segment(ctx context.Context, rec SegmentRecord, yield func(Entry) error) error {
	if !validKey(rec.Key) || rec.Size < 0 || rec.Size > maxSegment {
		return corrupt(rec.Key, "record of segment %d makes no sense", rec.Index)
	}
	data := make([]byte, rec.Size)
	n, err := readUpTo(ctx, a.store, rec.Key, data)
	if err != nil {
		return needed(rec.Key, err)
	}
	if int64(n) != rec.Size || hashOf(data) != rec.SHA256 {
		return corrupt(rec.Key, "segment does not fit its hash")
	}
	z, err := a.memory.streamDecoder(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("make decoder: %w", err)
	}
	defer a.memory.putStreamDecoder(z)
	return decodeLines(ctx, rec, z, yield)
}

// decodeLines decodes a segment whose stored bytes are known to be right; what is in them is checked here.
func decodeLines(ctx context.Context, rec SegmentRecord, r io.Reader, yield func(Entry) error) error {
	counted := rec
	if err := decodeUncounted(ctx, &counted, r, yield); err != nil {
		return err
	}
	if counted.Entries != rec.Entries || counted.Files != rec.Files || counted.Bytes != rec.Bytes {
		return corrupt(rec.Key, "segment does not hold what its record says")
	}
	return nil
}

// decodeUncounted is decodeLines for a record that does not say yet what the segment holds: it fills that in.
func decodeUncounted(ctx context.Context, rec *SegmentRecord, r io.Reader, yield func(Entry) error) error {
	lines := &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
	name, err := readSegmentHeader(*rec, lines)
	if err != nil {
		return err
	}
	rec.Unreadable, rec.Problems = 0, nil
	var (
		end  segmentEnd
		last *string
	)
	for {
		if err := ctxError(ctx); err != nil {
			return err
		}
		var line segmentLine
		if err := lines.next(&line); err != nil {
			return corrupt(rec.Key, "%v", err)
		}
		if line.End != nil {
			if *line.End != end {
				return corrupt(rec.Key, "segment does not hold what its trailer says")
			}
			rec.Entries, rec.Files, rec.Bytes = end.Entries, end.Files, end.Bytes
			if err := lines.next(&line); !errors.Is(err, io.EOF) {
				return corrupt(rec.Key, "segment goes on after its trailer")
			}
			return nil
		}
		e, ok := line.entry()
		problem := e.check()
		switch {
		case !ok:
			problem = "entry needs one path"
		case problem == "" && !name.contains(e.Path):
			problem = "entry is not in the segment's range"
		case problem == "" && last != nil && e.Path <= *last:
			problem = "entry is out of order"
		}
		if problem != "" {
			return corrupt(rec.Key, "entry %q: %s", e.Path, problem)
		}
		if !end.count(&e) {
			return corrupt(rec.Key, "entry %q: content is too long", e.Path)
		}
		rec.note(&e)
		path := e.Path
		last = &path
		if err := yield(e); err != nil {
			return err
		}
	}
}

func readSegmentHeader(rec SegmentRecord, lines *lineReader) (SegmentName, error) {
	var h segmentHeader
	if err := lines.next(&h); err != nil {
		return SegmentName{}, corrupt(rec.Key, "%v", err)
	}
	name := h.name()
	switch {
	case h.Format > Format:
		return name, fmt.Errorf("%w: %s has format %d", ErrNewerFormat, rec.Key, h.Format)
	case h.Type != typeSegment || h.Format < 1 || h.check() != nil || name.check() != nil:
		return name, corrupt(rec.Key, "segment header makes no sense")
	case segmentKey(h.Ref, name) != rec.Key || !bytes.Equal(h.From, rec.From) || !bytes.Equal(h.To, rec.To):
		return name, corrupt(rec.Key, "segment is another one")
	}
	return name, nil
}

// decodeHeader reads the first line of a segment.
func decodeHeader(r io.Reader) (segmentHeader, error) {
	var h segmentHeader
	lines := &lineReader{r: bufio.NewReaderSize(r, 4<<10)}
	if err := lines.next(&h); err != nil {
		return h, err
	}
	return h, errors.Join(h.check(), h.name().check())
}

// lineReader reads JSON lines of bounded length.
type lineReader struct {
	r   *bufio.Reader
	buf []byte
}

// next decodes the next line; io.EOF after the last.
func (l *lineReader) next(v any) error {
	l.buf = l.buf[:0]
	for {
		piece, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, piece...)
		if err == nil {
			return json.Unmarshal(l.buf, v)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(l.buf) > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		if len(l.buf) > maxSegmentLine {
			return errors.New("line is too long")
		}
	}
}

// bytesOrNil makes a record that is equal to itself read back.
func bytesOrNil(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
