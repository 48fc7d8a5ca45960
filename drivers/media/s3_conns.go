package media

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// conns are the connections of one client. The SDK gives each client a pool of its own and no way to end it: without this,
// each opened and closed bucket would leave its idle connections for a minute and a half.
type conns struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// watch returns a client whose connections are known, with as many idle ones as are used together; a client of another
// making as it is.
func (c *conns) watch(client aws.HTTPClient) aws.HTTPClient {
	buildable, ok := client.(*awshttp.BuildableClient)
	if !ok {
		return client
	}
	return buildable.WithTransportOptions(func(tr *http.Transport) {
		tr.MaxIdleConnsPerHost = 2 * requestsAtOnce // some read, some look
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			known := &knownConn{Conn: conn, of: c}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.open == nil {
				c.open = make(map[net.Conn]struct{})
			}
			c.open[known] = struct{}{}
			return known, nil
		}
	})
}

// close closes what is open.
func (c *conns) close() {
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Close() // nobody uses it
	}
}

// knownConn is one of conns until it is closed.
type knownConn struct {
	net.Conn
	of *conns
}

// Close closes the connection and forgets it.
func (k *knownConn) Close() error {
	k.of.mu.Lock()
	delete(k.of.open, k)
	k.of.mu.Unlock()
	return k.Conn.Close()
}
