package workers

import (
	"context"
	"encoding/json"
	"fmt"

	"salvor/archive"
	"salvor/drivers/relational"
)

// capturePart writes a part that a capture is put together from. It takes its memory with the first line, so that many can be begun.
type capturePart struct {
	ctx   context.Context //nolint:containedctx // the writer lives as long as one call of its maker, whose context it is
	a     *attempt
	name  string
	ext   string
	out   *archive.PartWriter
	lines map[string]int64
}

func (a *attempt) newCapturePart(ctx context.Context, name, ext string) *capturePart {
	return &capturePart{ctx: ctx, a: a, name: name, ext: ext, lines: make(map[string]int64)}
}

// write adds bytes, which are count rows of that op.
func (w *capturePart) write(data []byte, op relational.Op, count int64) error {
	if w.out == nil {
		var err error
		w.out, err = w.a.run.archive.CreateCapturePart(w.ctx, w.a.captureRef(), archive.PartName{Name: w.name, Ext: w.ext, Token: w.a.claim.Token})
		if err != nil {
			return fmt.Errorf("create %s of capture: %w", w.name, err)
		}
	}
	if _, err := w.out.Write(data); err != nil {
		return fmt.Errorf("store %s of capture: %w", w.name, err)
	}
	w.a.bytes.Add(int64(len(data)))
	if count > 0 {
		w.lines[string(op)] += count
	}
	return nil
}

// commit stores the part and returns its record; nil where nothing was written.
func (w *capturePart) commit() (json.RawMessage, error) {
	if w.out == nil {
		return nil, nil
	}
	record, err := w.out.Commit()
	if err != nil {
		return nil, fmt.Errorf("store %s of capture: %w", w.name, err)
	}
	data, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record of %s: %w", w.name, err)
	}
	return data, nil
}

// abort gives up what was not stored.
func (w *capturePart) abort() {
	if w.out != nil {
		w.out.Abort()
	}
}
