package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"salvor/drivers"
)

// place is a source: how a server is reached, and which database of it is meant.
type place struct {
	url      *url.URL
	user     string
	password string
	host     string // "" where there is a socket
	port     int
	socket   string
	database string // "" for none
	tls      tlsMode
	ca       string
	cert     string
	key      string
}

// tlsMode says how a connection is protected, in the words of MySQL's own programs.
type tlsMode string

const (
	tlsDisabled   tlsMode = "disabled"
	tlsPreferred  tlsMode = "preferred"   // where the server can, without asking who it is
	tlsRequired   tlsMode = "required"    // or not at all
	tlsVerifyCA   tlsMode = "verify-ca"   // the server's certificate must be of a known authority
	tlsVerifyFull tlsMode = "verify-full" // and for the host's name
)

const defaultPort = 3306

func badSource(why string) error {
	return drivers.WithHint(fmt.Errorf("open mysql database: %s: %w", why, drivers.ErrInvalid),
		"write mysql://USER:PASSWORD@HOST:PORT/DATABASE, or mysql://USER@localhost/DATABASE?socket=/PATH, special characters percent-encoded")
}

// parsePlace reads a URL. Its errors never quote the text, which may hold a password.
func parsePlace(text string) (*place, error) {
	if strings.ContainsRune(text, 0) {
		return nil, badSource("the source holds a NUL byte")
	}
	if !strings.HasPrefix(text, "mysql://") {
		return nil, badSource("the source is no URL that begins with mysql://")
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, badSource("the URL cannot be read")
	}
	if u.Fragment != "" || u.RawFragment != "" || strings.Contains(text, "#") {
		return nil, badSource("the URL has a # that is not percent-encoded")
	}
	p := &place{url: u, host: u.Hostname(), port: defaultPort}
	if u.User != nil {
		p.user = u.User.Username()
		p.password, _ = u.User.Password()
	}
	if text := u.Port(); text != "" {
		if p.port, err = strconv.Atoi(text); err != nil || p.port < 1 || p.port > 65535 {
			return nil, badSource("the port is no number from 1 to 65535")
		}
	}
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if strings.Contains(path, "/") {
		return nil, badSource("more than a database follows the host")
	}
	if p.database, err = url.PathUnescape(path); err != nil {
		return nil, badSource("the database's name cannot be read")
	}
	if err := p.parameters(u.RawQuery); err != nil {
		return nil, err
	}
	if p.user == "" {
		p.user = systemUser()
	}
	if p.user == "" {
		return nil, badSource("the source names no user")
	}
	return p, nil
}

// systemUser is whom MySQL's own programs log in as where nobody is named.
func systemUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func (p *place) parameters(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return badSource("the parameters cannot be read")
	}
	into := map[string]*string{"socket": &p.socket, "ca": &p.ca, "cert": &p.cert, "key": &p.key, "tls": (*string)(&p.tls)}
	for name, values := range query {
		to, ok := into[name]
		if !ok {
			const most = 40
			if len(name) > most || strings.ContainsAny(name, "@:/") {
				name = "that name"
			}
			return drivers.WithHint(fmt.Errorf("open mysql database: there is no parameter %s: %w", name, drivers.ErrInvalid),
				"a source's parameters are socket, tls, ca, cert and key")
		}
		if len(values) != 1 || values[0] == "" {
			return badSource("the parameter " + name + " is empty, or is there twice")
		}
		*to = values[0]
	}
	if p.socket != "" && !strings.HasPrefix(p.socket, "/") {
		return badSource("the socket is no absolute path")
	}
	if p.socket != "" && p.host != "" && p.host != "localhost" {
		return badSource("the source has a socket and a host")
	}
	if p.socket == "" && p.host == "" {
		return badSource("the source names no host and no socket")
	}
	if p.socket != "" {
		p.host = ""
	}
	switch {
	case p.tls == "" && p.ca != "":
		p.tls = tlsVerifyCA
	case p.tls == "" && p.cert != "":
		p.tls = tlsRequired
	case p.tls == "" && p.socket != "":
		p.tls = tlsDisabled
	case p.tls == "":
		p.tls = tlsPreferred
	}
	switch p.tls {
	case tlsDisabled, tlsPreferred, tlsRequired, tlsVerifyCA, tlsVerifyFull:
	default:
		return drivers.WithHint(fmt.Errorf("open mysql database: there is no such value of tls: %w", drivers.ErrInvalid),
			"tls is disabled, preferred, required, verify-ca or verify-full")
	}
	if (p.cert == "") != (p.key == "") {
		return badSource("cert and key come together")
	}
	if p.tls == tlsVerifyFull && p.socket != "" {
		return badSource("by a socket there is no host's name to verify")
	}
	return nil
}

// address is where the server is, as people write it.
func (p *place) address() string {
	if p.socket != "" {
		return p.socket
	}
	return net.JoinHostPort(p.host, strconv.Itoa(p.port))
}

// renamed returns the source with another database, password included.
func (p *place) renamed(database string) string {
	u := *p.url
	u.Path, u.RawPath = "/"+database, "/"+url.PathEscape(database)
	return u.String()
}

// config returns how the driver of the protocol connects, but for what each session has of its own.
func (p *place) config() (*mysql.Config, error) {
	config := mysql.NewConfig()
	config.User, config.Passwd = p.user, p.password
	config.Net, config.Addr = "tcp", net.JoinHostPort(p.host, strconv.Itoa(p.port))
	if p.socket != "" {
		config.Net, config.Addr = "unix", p.socket
	}
	config.DBName = p.database
	config.Logger = &mysql.NopLogger{}
	config.Timeout = connectTimeout
	config.CheckConnLiveness = false
	config.MaxAllowedPacket = 0 // the server's own
	if p.tls == tlsDisabled {
		return config, nil
	}
	t := &tls.Config{ServerName: p.host, MinVersion: tls.VersionTLS12}
	config.TLS = t
	if p.ca != "" {
		pem, err := os.ReadFile(p.ca)
		if err != nil {
			return nil, fmt.Errorf("open mysql database: read ca: %w", errors.Join(drivers.ErrInvalid, err))
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("open mysql database: read ca: %w: it holds no certificate", drivers.ErrInvalid)
		}
	}
	if p.cert != "" {
		pair, err := tls.LoadX509KeyPair(p.cert, p.key)
		if err != nil {
			return nil, fmt.Errorf("open mysql database: read cert and key: %w", errors.Join(drivers.ErrInvalid, err))
		}
		t.Certificates = []tls.Certificate{pair}
	}
	switch p.tls {
	case tlsPreferred:
		t.InsecureSkipVerify = true // the user asked for no more
		config.AllowFallbackToPlaintext = true
	case tlsRequired:
		t.InsecureSkipVerify = true // the user asked for no more
	case tlsVerifyCA:
		t.InsecureSkipVerify = true // the chain is verified below, the name is not
		t.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(t.RootCAs, state) }
		config.AllowCleartextPasswords = true
	case tlsVerifyFull:
		config.AllowCleartextPasswords = true // to a server that is known
	case tlsDisabled:
	}
	return config, nil
}

var errNoCertificate = errors.New("the server has no certificate")

// verifyChain tells whether a server's certificate is of a known authority, for whatever name.
func verifyChain(roots *x509.CertPool, state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errNoCertificate
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}
