//go:build linux

package socket

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Whatever control messages a send is given: it takes them or says what is wrong,
// every file of them arrives or is dropped, and none stays under way.
func FuzzUnixControlMessages(f *testing.F) {
	own := mine()
	f.Add(unix.UnixRights(0, 1))
	f.Add(unix.UnixCredentials(&own))
	f.Add(append(unix.UnixRights(0), unix.UnixCredentials(&own)...))
	f.Add(append(unix.UnixCredentials(&own)[:28], unix.UnixRights(7, 0)...))
	f.Add(make([]byte, 17))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 1, 0, 0, 0})
	s := newTestStack(f)
	f.Fuzz(func(t *testing.T, control []byte) {
		for _, typ := range []int{stream, dgram, seqpacket} {
			p := NewNamespace(s).Process(300)
			fds, err := p.Socketpair(unix.AF_UNIX, typ, 0)
			require.NoError(t, err)
			require.NoError(t, p.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
			n, err := p.Sendmsg(fds[0], [][]byte{{'x'}}, control, nil, 0)
			if err == nil {
				require.Equal(t, 1, n)
				oob := make([]byte, 64)
				n, oobn, _, _, err := p.Recvmsg(fds[1], [][]byte{{0}}, oob, 0)
				require.NoError(t, err)
				require.Equal(t, 1, n)
				messages, err := unix.ParseSocketControlMessage(oob[:oobn])
				require.NoError(t, err)
				require.NotEmpty(t, messages, "the credentials at least")
			} else {
				require.Contains(t, []error{unix.EINVAL, unix.EBADF, unix.EPERM}, err)
			}
			p.CloseAll()
			require.Zero(t, p.ns.filesUnderWay.Load())
		}
	})
}
