//go:build linux

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// web serves HTTP on a listener until the test ends: /sum answers the SHA-256
// of the body, /echo the body, /client the client's address.
func (l *lab) web(ln net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		io.Copy(h, r.Body)
		w.Write(h.Sum(nil))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	mux.HandleFunc("/client", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RemoteAddr)
	})
	srv := &http.Server{Handler: mux}
	go srv.Serve(ln)
	l.t.Cleanup(func() { srv.Close() })
}

// browser is a kernel HTTP client.
func (l *lab) browser(cfg *tls.Config) *http.Client {
	transport := &http.Transport{DialContext: l.ns.Dial, TLSClientConfig: cfg, MaxIdleConnsPerHost: 100}
	l.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func get(t testing.TB, c *http.Client, url string, body []byte) []byte {
	t.Helper()
	res, err := c.Post(url, "application/octet-stream", bytes.NewReader(body))
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	got, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return got
}

// net/http runs on a Listener as on the kernel's, and keeps connections alive.
func TestHTTPKeepAlive(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		l := lab.listen(at, 16, nil)
		lab.web(l)
		c := lab.browser(nil)
		first := get(t, c, "http://"+at.String()+"/client", nil)
		for range 50 {
			require.Equal(t, first, get(t, c, "http://"+at.String()+"/client", nil), "the same connection")
		}
		require.EqualValues(t, 1, l.Stats().Counters.PassiveOpens)
	})
}

func TestHTTPManyAtOnce(t *testing.T) {
	t.Parallel()
	lab := newLab(t, labConfig{})
	l := lab.listen(http4, 100, nil)
	lab.web(l)
	c := lab.browser(nil)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for j := range 25 {
				want := bytes.Repeat([]byte(fmt.Sprintf("%d/%d ", i, j)), 1000)
				res, err := c.Post("http://"+http4.String()+"/echo", "text/plain", bytes.NewReader(want))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || !bytes.Equal(want, got) {
					t.Errorf("%d/%d: %d bytes of %d, %v", i, j, len(got), len(want), err)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, lab.s.Drops())
}

func TestHTTPLargeBodies(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		lab.web(lab.listen(at, 16, nil))
		c := lab.browser(nil)
		body := make([]byte, 8<<20)
		mrand.NewChaCha8([32]byte{3}).Read(body)
		sum := sha256.Sum256(body)
		require.Equal(t, sum[:], get(t, c, "http://"+at.String()+"/sum", body))
		require.True(t, bytes.Equal(body, get(t, c, "http://"+at.String()+"/echo", body)))
	})
}

// TLS over a connection of the stack, certificate checked, session kept alive.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, at netip.AddrPort) {
		lab := newLab(t, labConfig{})
		certificate, roots := selfSigned(t, at.Addr())
		lab.web(tls.NewListener(lab.listen(at, 16, nil), &tls.Config{Certificates: []tls.Certificate{certificate}}))
		c := lab.browser(&tls.Config{RootCAs: roots})
		body := make([]byte, 1<<20)
		mrand.NewChaCha8([32]byte{4}).Read(body)
		require.True(t, bytes.Equal(body, get(t, c, "https://"+at.String()+"/echo", body)))

		reused := false
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "https://"+at.String()+"/client", nil)
		require.NoError(t, err)
		res, err := c.Do(r)
		require.NoError(t, err)
		res.Body.Close()
		require.True(t, reused)
		require.EqualValues(t, tls.VersionTLS13, res.TLS.Version)
	})
}

// selfSigned makes a certificate for an address.
func selfSigned(t *testing.T, addr netip.Addr) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{addr.AsSlice()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
