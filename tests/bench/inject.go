//go:build linux

package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/rawfile"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// injection tells how the SYNs of one request fared.
type injection struct {
	Sent     int           // handed to the kernel
	Lost     int           // of these, dropped by a full queue before the server
	Answered int           // packets that came back
	Took     time.Duration // from the first SYN to the last sign of life
}

// reached is the number of SYNs that the server got to see.
func (i injection) reached() int { return i.Sent - i.Lost }

// injector forges SYNs as fast as the server takes them, through a raw socket
// of the client's namespace, so that it costs the server nothing. Each has a
// source of its own.
type injector struct {
	fd       int
	counters *counterFile
	next     uint32 // number of the next flow
	packets  [injectBatch][synSize]byte
	messages [injectBatch]rawfile.MMsgHdr
}

const (
	// takenWindow is how many SYNs may wait for the server in the device:
	// enough to keep it busy, and well below tunQueueLen.
	takenWindow = 1024
	// answerWindow is how many SYNs may wait for an answer, where answers are
	// expected: netstack's listener loses what exceeds its queue of 300.
	answerWindow = 256
	// injectBatch is how many are sent between looks at the device.
	injectBatch = 128
	// giveUpAnswers is when answers that do not come count as lost.
	giveUpAnswers = 50 * time.Millisecond
)

func newInjector() (*injector, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The window must fit; the default of some 200 KB holds 300 packets.
	// FORCE is allowed to the owner of the namespace only on newer kernels.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20); err != nil {
			return nil, os.NewSyscallError("setsockopt SO_SNDBUF", err)
		}
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: serverAddr.As4()}); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	in := &injector{fd: fd}
	for i := range in.messages {
		iov := &unix.Iovec{Base: &in.packets[i][0]}
		iov.SetLen(synSize)
		in.messages[i].Msg.Iov = iov
		in.messages[i].Msg.SetIovlen(1)
	}
	in.counters, err = openCounters()
	return in, err
}

// inject sends n SYNs, keeping step with the server's answers if answers are
// expected, and else with its reading.
func (in *injector) inject(n int, answers bool) (injection, error) {
	before, err := in.counters.read()
	if err != nil {
		return injection{}, err
	}
	began := time.Now()
	now, moved, sent, unanswered := before, began, 0, 0
	for {
		done := now.since(before)
		// Other packets may count too, so room can exceed the window.
		room := takenWindow - (sent - done.taken - done.lost)
		allTaken, allAnswered := room >= takenWindow, true
		if answers {
			waiting := sent - done.lost - done.back - unanswered
			if waiting > 0 && time.Since(moved) > giveUpAnswers {
				unanswered += waiting
				waiting = 0
			}
			room = min(room, answerWindow-waiting)
			allAnswered = waiting <= 0
		}
		if sent == n && allTaken && allAnswered {
			break
		}
		if time.Since(began) > injectPatience {
			return injection{}, fmt.Errorf("server took %d of %d SYNs in %v", done.taken, sent, injectPatience)
		}
		if batch := min(room, n-sent, injectBatch); batch > 0 {
			k, err := in.send(batch)
			if err != nil {
				return injection{}, err
			}
			sent += k
		} else {
			time.Sleep(20 * time.Microsecond)
		}
		last := now
		if now, err = in.counters.read(); err != nil {
			return injection{}, err
		}
		if now != last {
			moved = time.Now()
		}
	}
	if !answers {
		// Taken is not done yet.
		if now, moved, err = in.settle(now, moved); err != nil {
			return injection{}, err
		}
	}
	done := now.since(before)
	return injection{Sent: sent, Lost: done.lost, Answered: done.back, Took: moved.Sub(began)}, nil
}

// send sends up to n SYNs and returns how many it was.
func (in *injector) send(n int) (int, error) {
	for i := range n {
		forgeSYN(in.packets[i][:], in.next+uint32(i))
	}
	k, errno := rawfile.NonBlockingSendMMsg(in.fd, in.messages[:n])
	switch errno {
	case 0:
		in.next += uint32(k)
		return k, nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	case unix.ENOBUFS:
		// The device dropped the first one, and has counted it.
		in.next++
		return 1, nil
	default:
		return 0, os.NewSyscallError("sendmmsg", errno)
	}
}

// injectPatience bounds one injection.
const injectPatience = 20 * time.Second

// settle waits until the server has had time to finish. It continues from
// counters that last moved at a given time and returns how both ended up.
func (in *injector) settle(now deviceCounters, moved time.Time) (deviceCounters, time.Time, error) {
	const (
		pause = 5 * time.Millisecond
		quiet = 40 * time.Millisecond
	)
	for deadline := time.Now().Add(injectPatience); time.Since(moved) < quiet; {
		if time.Now().After(deadline) {
			return now, moved, fmt.Errorf("server does not come to rest in %v", injectPatience)
		}
		time.Sleep(pause)
		c, err := in.counters.read()
		if err != nil {
			return now, moved, err
		}
		if c != now {
			now, moved = c, time.Now()
		}
	}
	return now, moved, nil
}

// synOptions are those of a Linux client.
const synOptions = 20 // bytes: MSS, SACK permitted, timestamp, window scale

const synSize = header.IPv4MinimumSize + header.TCPMinimumSize + synOptions

// forgeSYN writes the SYN of flow number i. No two numbers below 2^32 share a
// source.
func forgeSYN(b []byte, i uint32) {
	// 16 bits of address and 15 of port, above the well-known ones.
	base := spoofPool.Addr().As4()
	src := tcpip.AddrFrom4([4]byte{base[0], base[1], byte(i >> 8), byte(i)})
	port := uint16(1024 + i>>16)
	dst := tcpip.AddrFrom4(serverAddr.As4())

	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: synSize,
		TTL:         64,
		Protocol:    uint8(header.TCPProtocolNumber),
		SrcAddr:     src,
		DstAddr:     dst,
	})
	ip.SetChecksum(^ip.CalculateChecksum())

	tcp := header.TCP(b[header.IPv4MinimumSize:])
	tcp.Encode(&header.TCPFields{
		SrcPort:    port,
		DstPort:    serverPort,
		SeqNum:     i * 2654435761, // any value does; spread them
		DataOffset: header.TCPMinimumSize + synOptions,
		Flags:      header.TCPFlagSyn,
		WindowSize: 64240,
	})
	opts := tcp[header.TCPMinimumSize:]
	at := header.EncodeMSSOption(1460, opts)
	at += header.EncodeSACKPermittedOption(opts[at:])
	at += header.EncodeTSOption(i+1, 0, opts[at:])
	at += header.EncodeNOP(opts[at:])
	header.EncodeWSOption(7, opts[at:])
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, header.TCPMinimumSize+synOptions)
	tcp.SetChecksum(0)
	tcp.SetChecksum(^checksum.Checksum(tcp, sum))
}
