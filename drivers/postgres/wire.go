package postgres

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// wire is a session whose protocol this package speaks by itself: what a COPY sends is passed on as it arrives, however
// long a row is, where a client library would hold each row as a whole. It is used by one goroutine at a time.
type wire struct {
	net     net.Conn
	in      *bufio.Reader
	pid     uint32
	status  byte // of the transaction: I, T, or E after an error
	broken  bool
	scratch [5]byte
}

const wireBuffer = 256 << 10

// newWire takes a session over.
func newWire(ctx context.Context, c *conn) (*wire, error) {
	if err := c.SyncConn(ctx); err != nil {
		c.close(ctx)
		return nil, fmt.Errorf("prepare session: %w", told(ctx, err))
	}
	h, err := c.Hijack()
	if err != nil {
		c.close(ctx)
		return nil, fmt.Errorf("take session over: %w", err)
	}
	return &wire{status: h.TxStatus, net: h.Conn, in: bufio.NewReaderSize(h.Conn, wireBuffer), pid: h.PID}, nil
}

// errProtocol tells that the server sent what the protocol does not allow.
var errProtocol = errors.New("server does not keep to the protocol")

// close ends the session.
func (w *wire) close() {
	if !w.broken {
		_ = w.net.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = w.net.Write([]byte{'X', 0, 0, 0, 4})
	}
	w.broken = true
	_ = w.net.Close()
}

// guard makes the session's reads and writes fail once ctx ends. A session that was interrupted is broken. stop returns
// the error in place of the one that came of it.
func (w *wire) guard(ctx context.Context) (stop func(error) error) {
	done := make(chan struct{})
	gone := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = w.net.SetDeadline(time.Unix(1, 0))
	})
	return func(err error) error {
		if !gone() {
			<-done
			w.broken = true
			return context.Cause(ctx)
		}
		return err
	}
}

// exec runs statements whose rows are of no interest.
func (w *wire) exec(ctx context.Context, sql string) error {
	return w.query(ctx, sql, nil)
}

// copyOut runs a COPY TO STDOUT and hands its data on. An error of out is returned as it is, and breaks the session.
func (w *wire) copyOut(ctx context.Context, sql string, out func([]byte) error) error {
	return w.query(ctx, sql, out)
}

func (w *wire) query(ctx context.Context, sql string, out func([]byte) error) (err error) {
	if w.broken {
		return net.ErrClosed
	}
	if strings.ContainsRune(sql, 0) {
		return fmt.Errorf("run statement: %w: it holds a NUL", errProtocol)
	}
	stop := w.guard(ctx)
	defer func() { err = stop(err) }()
	msg := make([]byte, 0, len(sql)+6)
	msg = append(msg, 'Q')
	msg = binary.BigEndian.AppendUint32(msg, uint32(len(sql)+5)) //nolint:gosec // a statement is short
	msg = append(append(msg, sql...), 0)
	if _, err := w.net.Write(msg); err != nil {
		w.broken = true
		return fmt.Errorf("send statement: %w", err)
	}
	return w.answer(out)
}

// answer reads to the end of a statement's answer.
func (w *wire) answer(out func([]byte) error) error {
	var failed error
	for {
		if _, err := io.ReadFull(w.in, w.scratch[:]); err != nil {
			w.broken = true
			return errors.Join(failed, fmt.Errorf("receive: %w", err))
		}
		kind, size := w.scratch[0], int(binary.BigEndian.Uint32(w.scratch[1:]))-4
		if size < 0 {
			w.broken = true
			return errProtocol
		}
		switch kind {
		case 'd':
			if err := w.data(size, out); err != nil {
				w.broken = true
				return err
			}
		case 'Z':
			body, err := w.body(size)
			if err == nil && len(body) == 1 {
				w.status = body[0]
			}
			return errors.Join(failed, err)
		case 'E':
			body, err := w.body(size)
			if err != nil {
				return err
			}
			if failed == nil {
				failed = parseError(body)
			}
		case 'G', 'W':
			w.broken = true
			return fmt.Errorf("%w: message %q", errProtocol, kind)
		default:
			if _, err := w.in.Discard(size); err != nil {
				w.broken = true
				return fmt.Errorf("receive: %w", err)
			}
		}
	}
}

// data hands the bytes of one message on, as they lie in the buffer.
func (w *wire) data(size int, out func([]byte) error) error {
	for size > 0 {
		n := min(size, w.in.Buffered())
		if n == 0 {
			if _, err := w.in.Peek(1); err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			continue
		}
		chunk, err := w.in.Peek(n)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if out != nil {
			if err := out(chunk); err != nil {
				return err
			}
		}
		if _, err := w.in.Discard(n); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		size -= n
	}
	return nil
}

// body reads a short message.
func (w *wire) body(size int) ([]byte, error) {
	const most = 1 << 20
	if size > most {
		w.broken = true
		return nil, fmt.Errorf("%w: a message of %d bytes", errProtocol, size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(w.in, body); err != nil {
		w.broken = true
		return nil, fmt.Errorf("receive: %w", err)
	}
	return body, nil
}

// parseError reads an error message: fields of a type and a text each.
func parseError(body []byte) error {
	e := &pgconn.PgError{}
	for len(body) > 1 {
		kind := body[0]
		text, rest, ok := strings.Cut(string(body[1:]), "\x00")
		if !ok {
			break
		}
		switch kind {
		case 'S':
			e.Severity = text
		case 'C':
			e.Code = text
		case 'M':
			e.Message = text
		case 'D':
			e.Detail = text
		case 'H':
			e.Hint = text
		case 'W':
			e.Where = text
		}
		body = []byte(rest)
	}
	if len(e.Code) != 5 {
		return fmt.Errorf("%w: an error without a code: %q", errProtocol, e.Message)
	}
	return e
}
