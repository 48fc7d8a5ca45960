package postgres

import (
	"errors"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"salvor/drivers"
)

// TestNoTLS: that a server has no TLS is final where the source insists on it. Where it does not, the session without TLS tells
// what is wrong: of a server that starts nobody shall give up.
func TestNoTLS(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	requireNoError(t, "listen", err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			refuse(c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-served
	})
	for mode, final := range map[string]bool{"": false, "prefer": false, "require": true, "verify-full": true} {
		url := "postgres://me@" + l.Addr().String() + "/db"
		if mode != "" {
			url += "?sslmode=" + mode
		}
		_, err := openSource(t, url, "").Freeze(t.Context())
		if err == nil || errors.Is(err, drivers.ErrInvalid) != final {
			t.Errorf("sslmode %q: %v; final: %t, want %t", mode, err, !final, final)
		}
	}
}

// refuse is a server without TLS that is just starting.
func refuse(c net.Conn) {
	defer c.Close() //nolint:errcheck // the client has its answer
	b := pgproto3.NewBackend(c, c)
	m, err := b.ReceiveStartupMessage()
	if _, ok := m.(*pgproto3.SSLRequest); ok && err == nil {
		if _, err = c.Write([]byte("N")); err == nil {
			_, err = b.ReceiveStartupMessage()
		}
	}
	if err != nil {
		return
	}
	b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P03", Message: "the database system is starting up"})
	_ = b.Flush() // a client that is gone needs no answer
}
