package stacktest_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack/stacktest"
)

// busy is a lab in which much happens at once: overflow, cookies, data both ways,
// closing in every manner, retransmission.
func busy(lab *stacktest.Lab) {
	l := lab.Listen(":80", 3, nil)
	var clients []*stacktest.Client
	for i := range 12 {
		clients = append(clients, lab.DialWith(fmt.Sprint("client", i), l, stacktest.ClientConfig{
			Delay: time.Duration(i%4) * 7 * time.Millisecond,
		}))
	}
	lab.Advance(100 * time.Millisecond)
	for _, c := range clients {
		if c.Connected() {
			c.Write(strings.Repeat("x", 5000))
		}
	}
	var conns []*stacktest.Conn
	for range 3 {
		c := l.Accept()
		c.Write(strings.Repeat("y", 20000))
		conns = append(conns, c)
	}
	lab.Advance(3 * time.Second)
	l.SetOverflow(listenq.Overflow{ResetSYN: true})
	for i := range 8 {
		raw := lab.Peer(fmt.Sprint("raw", i), l)
		raw.SYN()
		raw.Send(stacktest.Segment{Flags: stacktest.ACK, Seq: 1, Ack: int64(i % 2)})
	}
	clients[0].Abort()
	conns[1].Close()
	for _, c := range clients[1:5] {
		c.Close()
	}
	lab.Advance(10 * time.Second)
	for {
		c, err := l.TryAccept()
		if err != nil {
			break
		}
		c.TryWrite([]byte("hello"))
	}
	for i := range 4 {
		lab.Peer(fmt.Sprint("late", i), l).Handshake()
	}
	l.Close() // with connections queued
	lab.Advance(200 * time.Second)
}

// record returns everything that a lab shows.
func record(t *testing.T, seed uint64, script func(*stacktest.Lab)) string {
	var b bytes.Buffer
	err := stacktest.Play(stacktest.Config{Seed: seed}, func(lab *stacktest.Lab) {
		script(lab)
		if err := lab.WritePcap(&b); err != nil {
			t.Error(err)
		}
		b.WriteString(lab.Ladder())
		b.WriteString(lab.Trace())
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const (
	// sameRuns is how many runs are compared; a slow machine stops after
	// sameTime, but not before leastRuns.
	sameRuns  = 200
	leastRuns = 20
	sameTime  = 5 * time.Second
)

func TestSameSeedSamePackets(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(procs)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // load
		for {
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	want := record(t, 1, busy)
	start := time.Now()
	for i := range sameRuns {
		if i >= leastRuns && time.Since(start) > sameTime {
			t.Logf("compared %d runs", i)
			break
		}
		runtime.GOMAXPROCS([]int{1, 2, 8}[i%3])
		if got := record(t, 1, busy); got != want {
			a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
			for j := range min(len(a), len(b)) {
				if a[j] != b[j] && strings.Contains(a[j], " s  ") {
					t.Fatalf("run %d with GOMAXPROCS %d, line %d:\n%s\n%s", i, runtime.GOMAXPROCS(0), j, a[j], b[j])
				}
			}
			t.Fatalf("run %d with GOMAXPROCS %d differs in bytes: %d and %d", i, runtime.GOMAXPROCS(0), len(want), len(got))
		}
	}
}

func TestOtherSeedOtherNumbers(t *testing.T) {
	if record(t, 1, busy) == record(t, 2, busy) {
		t.Fatal("the seed changes nothing")
	}
}
