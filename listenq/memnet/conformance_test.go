package memnet_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/ulisten/ulisten/listenq/memnet"
)

func TestConn(t *testing.T) {
	for _, latency := range []time.Duration{0, 50 * time.Microsecond} {
		t.Run(fmt.Sprintf("latency=%v", latency), func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				n := memnet.New(memnet.Config{Latency: latency})
				l, err := n.Listen("tcp", "server:0", 1, nil)
				if err != nil {
					return nil, nil, nil, err
				}
				if c1, err = n.Dial("tcp", l.Addr().String()); err != nil {
					return nil, nil, nil, err
				}
				if c2, err = l.Accept(); err != nil {
					return nil, nil, nil, err
				}
				return c1, c2, func() {
					c1.Close()
					c2.Close()
					require.NoError(t, n.Close())
				}, nil
			})
		})
	}
}
