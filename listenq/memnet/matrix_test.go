package memnet_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/memnet"
)

// A burst is eight clients of a listener with backlog 2 whose application
// accepts a connection at 1.25 s and then every 1.5 s, and answers what it sends.
const (
	burstClients = 8
	burstBacklog = 2
	burstAccepts = 12
)

// clientFate is when a client's connect returned and how, and what became of the
// connection and when.
type clientFate struct {
	connect time.Duration
	how     string
	end     time.Duration
	then    string
}

func (f clientFate) String() string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }
	if f.how != "connected" {
		return seconds(f.connect) + " " + map[string]string{"ECONNREFUSED": "refused", "ETIMEDOUT": "timeout"}[f.how]
	}
	return seconds(f.connect) + " " + f.then + seconds(f.end)
}

// burst plays one server under one client platform. Clients dial apart from each
// other, send a byte once they are connected, and wait for one.
func burst(t *testing.T, server *listenq.Profile, dialing *client.Profile, latency, apart time.Duration) (fates [burstClients]clientFate) {
	bubble(t, memnet.Config{Server: server, Client: dialing, Latency: latency}, func(lab *lab) {
		l := lab.listen(burstBacklog, nil)
		var everybody sync.WaitGroup
		everybody.Go(func() {
			time.Sleep(1250 * ms)
			for range burstAccepts {
				l.SetDeadline(time.Now().Add(5 * time.Minute))
				if c, err := l.Accept(); err == nil {
					everybody.Go(func() { answer(c) })
				}
				time.Sleep(1500 * ms)
			}
		})
		for i := range fates {
			everybody.Go(func() {
				time.Sleep(time.Duration(i) * max(apart, time.Nanosecond)) // never at the same moment
				f := &fates[i]
				start := lab.now()
				c, err := lab.Dial("tcp", "shop:80")
				f.connect, f.how = lab.now()-start, outcome(err)
				if err != nil {
					return
				}
				c.SetDeadline(time.Now().Add(10 * time.Minute))
				if _, err = c.Write([]byte("x")); err == nil {
					_, err = c.Read(make([]byte, 1))
				}
				f.end = lab.now() - start
				if err != nil {
					require.Equal(t, "ECONNRESET", outcome(err), "client %d", i)
					f.then = "reset "
				}
			})
		}
		everybody.Wait()
	})
	return fates
}

// answer waits for a request and answers it.
func answer(c net.Conn) {
	c.SetDeadline(time.Now().Add(10 * time.Minute))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		c.Write([]byte("y"))
	}
}

// Every server platform with every client platform. The table is a golden file:
// the test rewrites it if ULISTEN_UPDATE_SCRIPTS is set.
func TestPlatformMatrix(t *testing.T) {
	for _, tc := range []struct {
		file, title    string
		latency, apart time.Duration
	}{
		{"testdata/one-after-the-other.txt", "Handshakes one after the other: no latency, clients 1 ms apart", 0, ms},
		{"testdata/at-the-same-time.txt", "Handshakes that overlap: latency 10 ms, all SYNs at once", 10 * ms, 0},
	} {
		t.Run(strings.TrimSuffix(tc.file[len("testdata/"):], ".txt"), func(t *testing.T) {
			var table strings.Builder
			fmt.Fprintf(&table, "%s.\nBacklog %d, %d clients; accept at 1.25 s and every 1.5 s from then on.\n"+
				"Seconds from a client's first SYN to the end of its connect, and to the server's answer or RST.\n", tc.title, burstBacklog, burstClients)
			for _, server := range listenq.Profiles() {
				fmt.Fprintf(&table, "\nserver %s\n", server.Name)
				for _, dialing := range client.Profiles() {
					fates := burst(t, server, dialing, tc.latency, tc.apart)
					fmt.Fprintf(&table, "  %-10s", dialing.Name)
					for _, f := range fates {
						fmt.Fprintf(&table, " %-16v", f)
					}
					trimmed := strings.TrimRight(table.String(), " ")
					table.Reset()
					table.WriteString(trimmed + "\n")
				}
			}
			if os.Getenv("ULISTEN_UPDATE_SCRIPTS") != "" {
				require.NoError(t, os.WriteFile(tc.file, []byte(table.String()), 0o644))
			}
			want, err := os.ReadFile(tc.file)
			require.NoError(t, err)
			require.Equal(t, string(want), table.String(), "run the test with ULISTEN_UPDATE_SCRIPTS=1 and look at the difference")
		})
	}
}
