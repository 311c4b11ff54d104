//go:build linux

package socket

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Random calls on a few unix sockets, watched by an epoll instance, with random
// names, sizes and flags: after each, the kernel and ours agree on what it returned,
// on what every socket is ready for and on what epoll reports.
func TestUnixRandomCalls(t *testing.T) {
	s := newTestStack(t)
	rapid.Check(t, func(rt *rapid.T) {
		linux, own := newWorlds(rt, s)
		defer linux.end()
		defer own.end()
		both := func(f func(w *world)) {
			f(linux)
			f(own)
		}
		both(func(w *world) { w.epoll("e") })
		var handles []string
		made := 0
		fresh := func() string {
			made++
			h := fmt.Sprintf("s%d", made)
			handles = append(handles, h)
			return h
		}
		types := []int{rapid.SampledFrom([]int{stream, dgram, seqpacket}).Draw(rt, "type"), rapid.SampledFrom([]int{stream, dgram, seqpacket}).Draw(rt, "type")}
		typ := rapid.SampledFrom(types)
		name := rapid.SampledFrom([]string{"@x", "@x", "@y", "/x", "/y", ""})
		target := rapid.SampledFrom([]string{"@x", "@x", "@y", "/x", "/y"})
		size := rapid.SampledFrom([]int{0, 1, 3, 100, 4000, 40000})
		sendFlags := rapid.SampledFrom([]int{0, unix.MSG_DONTWAIT, unix.MSG_NOSIGNAL})
		recvFlags := rapid.SampledFrom([]int{0, 0, unix.MSG_PEEK, unix.MSG_TRUNC, unix.MSG_WAITALL})
		events := rapid.SampledFrom([]uint32{in, out, in | out, in | edge, out | edge, in | out | rdhup | edge, in | oneShot, in | out | edge | oneShot, 0})
		defer requireNothingLeft(rt, own)
		for range rapid.IntRange(1, 60).Draw(rt, "calls") {
			h := "s0"
			if len(handles) > 0 {
				h = rapid.SampledFrom(handles).Draw(rt, "socket")
			}
			switch call := rapid.IntRange(0, 15).Draw(rt, "call"); call {
			case 0:
				new, typ := fresh(), typ.Draw(rt, "type")
				both(func(w *world) { w.socket(new, typ) })
			case 1:
				a, b, typ := fresh(), fresh(), typ.Draw(rt, "type")
				both(func(w *world) { w.pair(a, b, typ) })
			case 2:
				name := name.Draw(rt, "name")
				both(func(w *world) { w.bind(h, name) })
			case 3:
				backlog := rapid.IntRange(-1, 2).Draw(rt, "backlog")
				both(func(w *world) { w.listen(h, backlog) })
			case 4, 5:
				name := rapid.OneOf(target, rapid.Just("unspec")).Draw(rt, "name")
				both(func(w *world) { w.connect(h, name) })
			case 6:
				new := fresh()
				both(func(w *world) { w.accept(new, h) })
			case 7, 8:
				to, size, flags := "-", size.Draw(rt, "size"), sendFlags.Draw(rt, "flags")
				if rapid.IntRange(0, 3).Draw(rt, "to") == 0 {
					to = target.Draw(rt, "name")
				}
				both(func(w *world) { w.sendIov(h, [][]byte{make([]byte, size)}, to, flags) })
			case 9, 10:
				size, flags := size.Draw(rt, "size"), recvFlags.Draw(rt, "flags")
				both(func(w *world) { w.recv(h, size, flags) })
			case 11:
				how := rapid.IntRange(0, 2).Draw(rt, "how")
				both(func(w *world) { w.shutdown(h, how) })
			case 12:
				both(func(w *world) { w.close(h) })
			case 13:
				both(func(w *world) {
					w.option(h, unix.SOL_SOCKET, unix.SO_ERROR)
					w.option(h, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
					w.ioctl(h, unix.TIOCINQ)
					w.ioctl(h, unix.TIOCOUTQ)
					w.names(h)
				})
			case 14:
				op, events := rapid.IntRange(add, mod).Draw(rt, "op"), events.Draw(rt, "events")
				both(func(w *world) { w.ctl("e", op, h, events) })
			case 15:
				room := rapid.IntRange(1, 4).Draw(rt, "room")
				both(func(w *world) { w.wait("e", room) })
			}
			both(func(w *world) { w.poll(allPoll) })
			requireSameLog(rt, linux, own)
		}
	})
}

// requireNothingLeft closes everything, after which only paths are left.
func requireNothingLeft(t require.TestingT, own *world) {
	ns := own.syscalls.(ours).ns
	own.syscalls.(ours).CloseAll()
	require.Empty(t, ns.names.abstract)
	for path, s := range ns.names.paths {
		require.Nil(t, s, path)
	}
	require.Zero(t, ns.filesUnderWay.Load())
}
