//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/tests/netlab"
)

// workload is what a client does to the server.
type workload string

const (
	workPush     workload = "push"     // send without end, count bytes
	workPull     workload = "pull"     // receive without end, count bytes
	workEcho     workload = "echo"     // small messages to and fro, count round trips
	workConnRST  workload = "conn-rst" // connect, be greeted, close with RST, count connections
	workConnFIN  workload = "conn-fin" // connect, be greeted, close, count connections
	workSYN      workload = "syn"      // nothing until asked to inject SYNs
	workOverflow workload = "overflow" // fill the accept queue, then like workSYN
)

// echoSize is the size of a small message in bytes.
const echoSize = 32

// clientPlayer is the client process of a trial.
type clientPlayer struct {
	assignment
	counter  atomic.Uint64
	injector *injector
}

func (p *clientPlayer) count() uint64 { return p.counter.Load() }

func (p *clientPlayer) halfOpen() int { return -1 }

func (p *clientPlayer) inject(n int, answers bool) (injection, error) {
	if p.injector == nil {
		return injection{}, errNotMine
	}
	return p.injector.inject(n, answers)
}

// serverPoint is where clients connect to.
var serverPoint = netip.AddrPortFrom(serverAddr, serverPort)

func (p *clientPlayer) start() (err error) {
	switch p.Workload {
	case workPush, workPull, workEcho:
		return p.startStream()
	case workConnRST, workConnFIN:
		loop, err := newConnLoop(p.Workers, p.Workload == workConnRST, &p.counter)
		if err != nil {
			return err
		}
		p.inBackground(loop.run)
		return nil
	case workSYN:
		p.injector, err = newInjector()
		return err
	case workOverflow:
		if err := fillAcceptQueue(); err != nil {
			return err
		}
		p.injector, err = newInjector()
		return err
	default:
		return fmt.Errorf("unknown workload %q", p.Workload)
	}
}

// inBackground runs work that only ends by failing, which voids the trial.
func (p *clientPlayer) inBackground(work func() error) {
	go func() { panic(fmt.Sprintf("%s: %v", p.Workload, work())) }()
}

// startStream works on one connection with blocking system calls: the Go
// scheduler would only add to what is measured.
func (p *clientPlayer) startStream() error {
	fd, err := blockingConnect()
	if err != nil {
		return err
	}
	size := bulkBuffer
	if p.Workload == workEcho {
		size = echoSize
	}
	buf := make([]byte, size)
	work := map[workload]func() (int, error){
		workPush: func() (int, error) { return unix.Write(fd, buf) },
		workPull: func() (int, error) { return unix.Read(fd, buf) },
		workEcho: func() (int, error) { return 1, pingPong(fd, buf) },
	}[p.Workload]
	p.inBackground(func() error {
		for {
			n, err := work()
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			p.counter.Add(uint64(n))
		}
	})
	return nil
}

func blockingConnect() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return -1, os.NewSyscallError("setsockopt TCP_NODELAY", err)
	}
	sa := &unix.SockaddrInet4{Addr: serverAddr.As4(), Port: serverPort}
	if err := unix.Connect(fd, sa); err != nil {
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// pingPong sends a message and waits for all of its echo.
func pingPong(fd int, buf []byte) error {
	if _, err := unix.Write(fd, buf); err != nil {
		return err
	}
	for got := 0; got < len(buf); {
		n, err := unix.Read(fd, buf[got:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("server closed the connection")
		}
		got += n
	}
	return nil
}

// fillAcceptQueue connects to a server that never accepts until a connection
// attempt gets no answer. The connections stay for the life of the process.
func fillAcceptQueue() error {
	const (
		most     = 64 // more than any backlog of the trial
		patience = 200 * time.Millisecond
	)
	for range most {
		s, err := netlab.Connect(netlab.ConnectConfig{Remote: serverPoint, SYNRetries: 1})
		if err != nil {
			return err
		}
		if err := s.Wait(patience); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return fmt.Errorf("the accept queue took %d connections and is not full", most)
}
