package main

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// eager is a listener that always has a connection.
type eager struct{ net.Listener }

func (eager) Accept() (net.Conn, error) { return nil, nil }
func (eager) Close() error              { return nil }

func TestPace(t *testing.T) {
	for _, tc := range []struct {
		spec paceSpec
		want time.Duration
	}{
		{noPace, 0},
		{paceSpec{delay: 200 * time.Millisecond}, 200 * time.Millisecond},
		{paceSpec{rate: 4}, 250 * time.Millisecond},
		{paceSpec{delay: time.Second, rate: 4}, time.Second},
		{noPace.or(paceSpec{delay: time.Minute}), time.Minute},
		{paceSpec{delay: 0, rate: -1}.or(paceSpec{delay: time.Minute, rate: 1}), time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newPacedListener(eager{}, tc.spec)
			for range 3 {
				begin := time.Now()
				_, err := l.Accept()
				require.NoError(t, err)
				require.Equal(t, tc.want, time.Since(begin), "%+v", tc.spec)
			}
		})
	}
}

func TestPaceChangesAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPacedListener(eager{}, paceSpec{delay: time.Hour})
		begin := time.Now()
		go func() {
			time.Sleep(time.Second)
			l.setPace(paceSpec{delay: 3 * time.Second})
		}()
		_, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, 3*time.Second, time.Since(begin), "since the latest accept")

		go func() {
			time.Sleep(time.Second)
			l.Close()
		}()
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.Equal(t, 4*time.Second, time.Since(begin))
	})
}
