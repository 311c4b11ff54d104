//go:build linux

package e2e

import (
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tun"
)

// bulkSize is what crosses in each direction.
func bulkSize() int64 {
	switch {
	case raceEnabled:
		return 32 << 20
	case os.Getenv("ULISTEN_SHORT") != "" || testing.Short():
		return 64 << 20
	default:
		return 1 << 30
	}
}

// stream is random bytes, the same ones for the same seed.
func stream(seed byte, size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
}

// A gigabyte crosses each way, byte for byte, over both kinds of device: both
// directions of one connection at the same time.
func TestBulk(t *testing.T) {
	bothLinks(t, func(t *testing.T, offload tun.Offload) {
		lab := newLab(t, labConfig{offload: offload})
		client, server := lab.pair(http4)
		size := bulkSize()
		var wg sync.WaitGroup
		send := func(c interface {
			net.Conn
			CloseWrite() error
		}, seed byte) hash.Hash {
			h := sha256.New()
			wg.Go(func() {
				buf := make([]byte, 256<<10)
				_, err := io.CopyBuffer(io.MultiWriter(h, c), stream(seed, size), buf)
				if err == nil {
					err = c.CloseWrite()
				}
				if err != nil {
					t.Errorf("send: %v", err)
				}
			})
			return h
		}
		receive := func(c net.Conn) hash.Hash {
			h := sha256.New()
			wg.Go(func() {
				buf := make([]byte, 256<<10)
				n, err := io.CopyBuffer(h, struct{ io.Reader }{c}, buf)
				if err != nil || n != size {
					t.Errorf("receive: %d bytes of %d, %v", n, size, err)
				}
			})
			return h
		}
		for _, c := range []net.Conn{client, server} {
			require.NoError(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
		}
		began := time.Now()
		fromClient, fromServer := send(client, 1), send(server, 2)
		atServer, atClient := receive(server), receive(client)
		wg.Wait()
		t.Logf("%d MiB each way in %v, %+v", size>>20, time.Since(began), lab.link.Stats())
		require.Equal(t, fromClient.Sum(nil), atServer.Sum(nil), "towards the stack")
		require.Equal(t, fromServer.Sum(nil), atClient.Sum(nil), "from the stack")
	})
}
