//go:build linux

package socket

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// selfSigned returns a certificate for an address, and who trusts it.
func selfSigned(t testing.TB, ip string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.ParseIP(ip)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// serve runs an echo of request bodies until the test ends.
func serve(t testing.TB, l net.Listener, config *tls.Config) {
	t.Helper()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Proto", r.Proto)
			io.Copy(w, r.Body)
		}),
		TLSConfig: config,
	}
	done := make(chan error)
	go func() {
		if config == nil {
			done <- server.Serve(l)
		} else {
			done <- server.ServeTLS(l, "", "")
		}
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, server.Shutdown(ctx))
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
}

func TestHTTP(t *testing.T) {
	for _, tc := range []struct {
		name, network, address string
		secure                 bool
		proto                  string
	}{
		{"HTTP/1.1", "tcp", "192.0.2.2:80", false, "HTTP/1.1"},
		{"HTTP/2 over TLS", "tcp", "192.0.2.2:443", true, "HTTP/2.0"},
		{"HTTP/1.1 within one stack", "tcp", "127.0.0.1:80", false, "HTTP/1.1"},
		{"HTTP/1.1 over unix", "unix", "/run/http", false, "HTTP/1.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := twoNamespaces(t)
			if tc.network == "unix" || tc.address == "127.0.0.1:80" {
				a = b
			}
			l, err := b.Listen(tc.network, tc.address, 64)
			require.NoError(t, err)
			transport := &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return a.DialContext(ctx, tc.network, tc.address)
				},
				MaxIdleConnsPerHost: 64,
				ForceAttemptHTTP2:   true,
			}
			defer transport.CloseIdleConnections()
			url, config := "http://192.0.2.2/", (*tls.Config)(nil)
			if tc.secure {
				cert, pool := selfSigned(t, "192.0.2.2")
				config = &tls.Config{Certificates: []tls.Certificate{cert}}
				transport.TLSClientConfig = &tls.Config{RootCAs: pool}
				url = "https://192.0.2.2/"
			}
			serve(t, l, config)
			client := &http.Client{Transport: transport}
			ask := func(body []byte) error {
				res, err := client.Post(url, "text/plain", bytes.NewReader(body))
				if err != nil {
					return err
				}
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				switch {
				case err != nil:
					return err
				case !bytes.Equal(got, body):
					return fmt.Errorf("%d bytes came back of %d, or others", len(got), len(body))
				case res.Header.Get("Proto") != tc.proto:
					return fmt.Errorf("spoken is %s", res.Header.Get("Proto"))
				}
				return nil
			}
			require.NoError(t, ask(bytes.Repeat([]byte("large"), 1<<20)))

			const clients, requests = 64, 50
			errs := make(chan error, clients)
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					for j := range requests {
						if err := ask(fmt.Appendf(nil, "client %d, request %d", i, j)); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			all.Wait()
			close(errs)
			for err := range errs {
				t.Error(err)
			}
		})
	}
}
