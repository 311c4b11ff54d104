//go:build linux

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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
	fd     int
	device int // index of the device towards the server
	next   uint32
}

const (
	// injectWindow is how many SYNs may wait for the server, well below
	// tunQueueLen.
	injectWindow = 512
	// injectBatch is how many are sent between looks at the device.
	injectBatch = 64
)

func newInjector() (*injector, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// Without room for the window sends would wait, or fail with ENOBUFS.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20); err != nil {
		return nil, os.NewSyscallError("setsockopt SO_SNDBUF", err)
	}
	routes, err := netlink.RouteGet(serverAddr.AsSlice())
	if err != nil || len(routes) != 1 {
		return nil, fmt.Errorf("route to %v: %v, %w", serverAddr, routes, err)
	}
	return &injector{fd: fd, device: routes[0].LinkIndex}, nil
}

// deviceCounters are those of the kernel's device. On a TUN, taken grows when
// the process behind it reads a packet.
type deviceCounters struct{ taken, lost, back int }

func (in *injector) counters() (deviceCounters, error) {
	link, err := netlink.LinkByIndex(in.device)
	if err != nil {
		return deviceCounters{}, err
	}
	s := link.Attrs().Statistics
	return deviceCounters{taken: int(s.TxPackets), lost: int(s.TxDropped), back: int(s.RxPackets)}, nil
}

func (in *injector) inject(n int) (injection, error) {
	before, err := in.counters()
	if err != nil {
		return injection{}, err
	}
	to := &unix.SockaddrInet4{Addr: serverAddr.As4()}
	packet := make([]byte, synSize)
	began := time.Now()
	now := before
	sent := 0
	waiting := func() int { return sent - (now.taken - before.taken) - (now.lost - before.lost) }
	for sent < n {
		for range min(injectBatch, n-sent) {
			forgeSYN(packet, in.next)
			in.next++
			if err := unix.Sendto(in.fd, packet, 0, to); err != nil {
				// A full device queue shows as ENOBUFS and in its counter.
				if err != unix.ENOBUFS {
					return injection{}, os.NewSyscallError("sendto", err)
				}
			}
			sent++
		}
		for {
			if now, err = in.counters(); err != nil {
				return injection{}, err
			}
			if waiting() < injectWindow {
				break
			}
			if time.Since(began) > injectPatience {
				return injection{}, fmt.Errorf("server took %d of %d SYNs in %v", now.taken-before.taken, sent, injectPatience)
			}
			time.Sleep(20 * time.Microsecond)
		}
	}
	last, err := in.settle(now)
	if err != nil {
		return injection{}, err
	}
	end := last.counters
	return injection{
		Sent:     sent,
		Lost:     end.lost - before.lost,
		Answered: end.back - before.back,
		Took:     last.at.Sub(began),
	}, nil
}

// injectPatience bounds one injection.
const injectPatience = 20 * time.Second

type settled struct {
	counters deviceCounters
	at       time.Time
}

// settle waits until the server has nothing more to take or to send, and
// returns the last state and when it came about.
func (in *injector) settle(c deviceCounters) (settled, error) {
	const (
		pause = 5 * time.Millisecond
		quiet = 40 * time.Millisecond
	)
	s := settled{c, time.Now()}
	for deadline := time.Now().Add(injectPatience); time.Since(s.at) < quiet; {
		if time.Now().After(deadline) {
			return settled{}, fmt.Errorf("server does not come to rest in %v", injectPatience)
		}
		time.Sleep(pause)
		c, err := in.counters()
		if err != nil {
			return settled{}, err
		}
		if c != s.counters {
			s = settled{c, time.Now()}
		}
	}
	return s, nil
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
