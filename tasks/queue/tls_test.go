package queue_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"salvor/internal/testenv"
	"salvor/tasks/queue"
)

// A run goes over TLS to a server that lets a user of its own do no more than is needed. The certificate is of a private
// authority, which the client learns from SSL_CERT_FILE: so it is another process.
func TestTLSAndUser(t *testing.T) {
	t.Parallel()
	if url := os.Getenv("QUEUE_TEST_TLS"); url != "" {
		f := newFleet(t, url)
		f.worker("w1")
		f.start(fleetPlan("r1"))
		nothingLost(t, f.done("r1"))
		if _, err := f.conn.Workers(t.Context()); err != nil {
			t.Error(err)
		}
		if err := f.ledger.Forget(t.Context(), "r1"); err != nil {
			t.Error(err)
		}
		return
	}
	dir := t.TempDir()
	ca, cert, key := certificates(t, dir)
	port := strconv.Itoa(testenv.FreePort(t))
	testenv.Redis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no",
		"--user", "worker", "on", ">"+password, "~{salvor*}:*", "~asynq:*", "&asynq:cancel", "+@all", "-@admin", "-@dangerous", "+info")
	addr := net.JoinHostPort("localhost", port)
	url := "rediss://worker:" + password + "@" + addr + "/0"
	wantError(t, url, queue.ErrUnreachable, "certificate")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestTLSAndUser$", "-test.v", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), "QUEUE_TEST_TLS="+url, "SSL_CERT_FILE="+ca)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestTLSAndUser") {
		t.Errorf("%v\n%s", err, out)
	}
}

// certificates makes an authority, and a server's certificate and key of it.
func certificates(t *testing.T, dir string) (ca, cert, key string) {
	t.Helper()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caKey, serverKey := newKey(t), newKey(t)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, &serverKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, cert, key = write("ca.pem", "CERTIFICATE", caDER), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER)
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	return ca, cert, key
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
