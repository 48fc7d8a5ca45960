package testenv

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy passes TCP connections on to a server of this machine, and cuts some of them in the middle.
type Proxy struct {
	// Port is where the proxy listens.
	Port int

	to, after  int64
	left, cuts atomic.Int64
	group      sync.WaitGroup
}

// NewProxy starts a proxy to a port, which ends with the test. A connection that is to be cut is cut after as many bytes, in
// both directions together.
func NewProxy(t testing.TB, to int, after int64) *Proxy {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start proxy: %v", err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listener has address %v", l.Addr())
	}
	p := &Proxy{Port: addr.Port, to: int64(to), after: after}
	t.Cleanup(func() {
		_ = l.Close()
		p.group.Wait()
	})
	p.group.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			p.group.Go(func() { p.join(in) })
		}
	})
	return p
}

// Cut cuts as many of the connections that pass enough bytes from now on.
func (p *Proxy) Cut(n int64) { p.left.Store(n) }

// Cuts tells how many connections were cut.
func (p *Proxy) Cuts() int64 { return p.cuts.Load() }

// Through returns a server's URL with the proxy's port instead of the server's.
func (p *Proxy) Through(url string) string {
	return strings.Replace(url, fmt.Sprintf(":%d/", p.to), fmt.Sprintf(":%d/", p.Port), 1)
}

func (p *Proxy) join(in net.Conn) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.to)) //nolint:noctx // its own listener ends it
	if err != nil {
		return // the server is down
	}
	defer func() { _ = out.Close() }()
	var passed atomic.Int64
	p.group.Go(func() { p.pass(out, in, &passed) })
	p.pass(in, out, &passed)
}

// pass copies until one side ends, or the connection is cut.
func (p *Proxy) pass(to, from net.Conn, passed *atomic.Int64) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if before := passed.Add(int64(n)) - int64(n); before < p.after && before+int64(n) >= p.after && p.left.Add(-1) >= 0 {
			p.cuts.Add(1)
			err = io.ErrUnexpectedEOF
		} else if _, writeErr := to.Write(buf[:n]); err == nil {
			err = writeErr
		}
		if err != nil {
			return
		}
	}
}
