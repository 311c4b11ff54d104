package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/trace"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// demoRun is the demo under one policy.
type demoRun struct {
	policy   demoPolicy
	link     *demoLink
	progress *progress
	printer  trace.Printer
	start    time.Time
	clients  []*demoClient

	mu     sync.Mutex
	moved  chan struct{} // closed and replaced whenever events grows
	events []trace.Event
	flows  []listenq.Flow // of the clients, in the order in which they came
	stats  stack.ListenerStats
}

// demoClient is what one client lived through. Times count from the first SYN.
type demoClient struct {
	name            string
	err             error // of connect(2), and if that succeeded of what followed
	connected       bool
	connectTime     time.Duration // when connect(2) returned
	endTime         time.Duration // when the reply, or an error, came
	retransmissions int
}

func newDemoRun(p demoPolicy, link *demoLink, progress *progress) *demoRun {
	r := &demoRun{policy: p, link: link, progress: progress, moved: make(chan struct{})}
	r.printer = trace.Printer{Name: r.nameOf}
	return r
}

// run plays the demo and cleans up after it.
func (r *demoRun) run() error {
	defer r.link.clients.Close()
	var sysctls *listenq.Sysctls // the profile's own
	if r.policy.profile == nil {
		linux := listenq.DefaultSysctls()
		linux.Syncookies = r.policy.syncookies
		sysctls = &linux
	}
	s, err := stack.New(stack.Config{
		Link:      tun.NewImpaired(r.link.LinkEndpoint, tun.Impairment{Delay: demoRoundTrip}),
		Addresses: []netip.Prefix{r.link.address},
		Profile:   r.policy.profile,
		Sysctls:   sysctls,
		Observe:   r.observe,
	})
	if err != nil {
		return err
	}
	defer s.Close()
	const port = 80
	address := netip.AddrPortFrom(r.link.address.Addr(), port)
	l, err := s.Listen("tcp", address.String(), demoBacklog, &stack.ListenOptions{Overflow: r.policy.overflow})
	if err != nil {
		return err
	}
	r.printer.Capacity = l.Stats().AcceptCapacity

	r.start = time.Now()
	var clients, connects, served sync.WaitGroup
	for i := range demoClients {
		client := &demoClient{name: fmt.Sprintf("c%d", i+1)}
		r.clients = append(r.clients, client)
		attempt, err := r.link.clients.connect(address)
		if err != nil {
			return err
		}
		connects.Add(1)
		clients.Go(func() { r.live(client, attempt, connects.Done) })
		// The next one must not overtake it.
		if err := r.await("the SYN of "+client.name, func() bool { return len(r.flows) > i }); err != nil {
			return err
		}
	}
	connected := make(chan struct{})
	go func() { connects.Wait(); close(connected) }()
	appDone := make(chan error, 1)
	go func() { appDone <- r.application(l, connected, &served) }()
	clients.Wait()
	r.stats = l.Stats()
	l.Close()
	served.Wait()
	return <-appDone
}

// application accepts one connection, is busy, and then accepts the rest.
func (r *demoRun) application(l *stack.Listener, connected <-chan struct{}, served *sync.WaitGroup) error {
	sleepUntil(r.start.Add(demoFirstAccept))
	full := demoClients // there may be room for all of them
	if most := l.Stats().AcceptCapacity; most >= 0 {
		full = min(most, full)
	}
	if err := r.await("the first overflow", func() bool { return r.promoted() >= full }); err != nil {
		return err
	}
	for accepted := 0; ; accepted++ {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if errors.Is(err, syscall.ECONNABORTED) {
			continue // the client is gone, and the platform says so
		}
		if err != nil {
			return err
		}
		if accepted == 0 {
			r.say("accept() takes %s out of the queue; then the application is busy", r.clientAt(conn.RemoteAddr()))
		}
		served.Go(func() {
			defer conn.Close()
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err == nil {
				// A client that is gone meanwhile says so itself.
				_, _ = io.WriteString(conn, line)
			}
		})
		if accepted == 0 {
			select {
			case <-connected:
			case <-time.After(time.Until(demoEnd(r.start))):
				return errStalled("the end of every connect()")
			}
			sleepUntil(r.start.Add(demoBusy))
			r.say("the application is back and accepts whatever comes")
		}
	}
}

// live is one client: connect, say something, hear it back.
func (r *demoRun) live(c *demoClient, attempt demoAttempt, decided func()) {
	conn, retransmissions, err := attempt.wait()
	c.connectTime = time.Since(r.start)
	c.endTime = c.connectTime
	c.err = err
	c.connected = err == nil
	c.retransmissions = retransmissions
	if retransmissions < 0 {
		c.retransmissions = r.repeatedSYNs(c.name)
	}
	decided()
	if err != nil {
		r.say("%s: connect(): %s", c.name, c.fate())
		return
	}
	r.say("%s: connect(): %s", c.name, c.fate())
	defer conn.Close()
	_ = conn.SetDeadline(demoEnd(r.start))
	c.err = converse(conn, c.name)
	c.endTime = time.Since(r.start)
	if c.err != nil {
		r.say("%s: after connect(): %s", c.name, c.fate())
	}
}

// converse sends a line and expects it back.
func converse(conn net.Conn, name string) error {
	line := "hello from " + name + "\n"
	if _, err := io.WriteString(conn, line); err != nil {
		return err
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && got != line {
		err = fmt.Errorf("reply %q instead of %q", got, line)
	}
	return err
}

// fate is how a client ended, in words.
func (c *demoClient) fate() string {
	switch {
	case c.err == nil && c.retransmissions == 0:
		return "connected at once"
	case c.err == nil && c.retransmissions == 1:
		return "connected after 1 SYN retransmission"
	case c.err == nil:
		return fmt.Sprintf("connected after %d SYN retransmissions", c.retransmissions)
	case errors.Is(c.err, syscall.ECONNREFUSED):
		return "ECONNREFUSED"
	case errors.Is(c.err, syscall.ECONNRESET), errors.Is(c.err, syscall.EPIPE):
		return "ECONNRESET"
	case errors.Is(c.err, syscall.ETIMEDOUT) && !c.connected:
		return "timed out"
	}
	return c.err.Error()
}

// observe keeps the decisions. The listener's lock is held.
func (r *demoRun) observe(e stack.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	event := trace.Event{At: e.Time, Outcome: e.Outcome}
	if e.Segment != nil {
		seg := *e.Segment
		event.Segment = &seg
	}
	if len(r.events) == 0 {
		r.printer.Start = e.Time
	}
	r.events = append(r.events, event)
	isSYN := event.Segment != nil && event.Segment.Flags&(listenq.SYN|listenq.ACK) == listenq.SYN
	if isSYN && r.nameLocked(e.Outcome.Flow) == "" {
		r.flows = append(r.flows, e.Outcome.Flow)
	}
	close(r.moved)
	r.moved = make(chan struct{})
	if overflowed(&event) && event.Segment != nil && event.Segment.Len == 0 {
		p := r.printer
		p.Name = r.nameLocked
		r.progress.say(r.policy.name, p.Line(event))
	}
}

// overflowed reports whether a full queue decided.
func overflowed(e *trace.Event) bool {
	return e.Outcome.Reason == listenq.SYNQueueFull || e.Outcome.Reason == listenq.AcceptQueueFull
}

// await waits until a condition on what was observed holds.
func (r *demoRun) await(what string, holds func() bool) error {
	deadline := time.NewTimer(time.Until(demoEnd(r.start)))
	defer deadline.Stop()
	for {
		r.mu.Lock()
		ok, moved := holds(), r.moved
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-moved:
		case <-deadline.C:
			return errStalled(what)
		}
	}
}

// promoted counts connections; the lock is held.
func (r *demoRun) promoted() int {
	n := 0
	for i := range r.events {
		if r.events[i].Outcome.Verdict == listenq.Promote {
			n++
		}
	}
	return n
}

// nameLocked names the client of a flow; "" if it is not known yet.
func (r *demoRun) nameLocked(f listenq.Flow) string {
	for i, known := range r.flows {
		if known == f {
			return fmt.Sprintf("c%d", i+1)
		}
	}
	return ""
}

func (r *demoRun) nameOf(f listenq.Flow) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nameLocked(f)
}

// clientAt names the client with an address.
func (r *demoRun) clientAt(a net.Addr) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flows {
		if f.Remote().String() == a.String() {
			return r.nameLocked(f)
		}
	}
	return a.String()
}

// repeatedSYNs counts a client's SYNs after the first.
func (r *demoRun) repeatedSYNs(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := -1
	for _, e := range r.events {
		if e.Segment != nil && e.Segment.Flags.Has(listenq.SYN) && r.nameLocked(e.Outcome.Flow) == name {
			n++
		}
	}
	return max(n, 0)
}

// say reports progress of this run.
func (r *demoRun) say(format string, args ...any) {
	r.progress.say(r.policy.name, fmt.Sprintf("%.3f s  %s", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...)))
}

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

// progress prints lines without ever holding up who reports them.
type progress struct {
	lines chan string
	done  chan struct{}
}

func newProgress(w io.Writer) *progress {
	p := &progress{lines: make(chan string, 1024), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for line := range p.lines {
			fmt.Fprintln(w, line)
		}
	}()
	return p
}

// say prints a line soon, or never if a terminal cannot keep up.
func (p *progress) say(who, what string) {
	select {
	case p.lines <- fmt.Sprintf("%-12s  %s", who, what):
	default:
	}
}

// close prints what is left. Nobody may say anything after it.
func (p *progress) close() {
	close(p.lines)
	<-p.done
}
