package memnet_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/memnet"
)

// A shop listens with a backlog of 5 and is busy for 1.5 s. How many users fit,
// and what the first one too many feels, is the platform's business.
//
// An Example has no test to give to synctest.Test; in a test of your own hand it
// your t.
func Example() {
	for _, platform := range []string{"linux-6", "windows", "macos"} {
		synctest.Test(new(testing.T), func(*testing.T) {
			server, err := listenq.ProfileNamed(platform)
			if err != nil {
				panic(err)
			}
			n := memnet.New(memnet.Config{Server: server})
			l, err := n.Listen("tcp", "shop:80", 5, nil)
			if err != nil {
				panic(err)
			}
			time.AfterFunc(1500*time.Millisecond, func() { l.Accept() })
			for user := 1; ; user++ {
				start := time.Now()
				_, err := n.Dial("tcp", "shop:80")
				if took := time.Since(start); took > 0 || err != nil {
					fmt.Printf("%s: user %d waited %v, error %v\n", platform, user, took, err)
					return
				}
			}
		})
	}
	// Output:
	// linux-6: user 7 waited 2s, error <nil>
	// windows: user 6 waited 0s, error dial tcp 198.18.0.1:80: connect: connection refused
	// macos: user 6 waited 2s, error <nil>
}

// The same wait on the user's side: when the SYN is sent again is the business of
// the system that dials.
func ExampleConfig() {
	for _, platform := range client.Profiles() {
		synctest.Test(new(testing.T), func(*testing.T) {
			n := memnet.New(memnet.Config{Client: platform})
			l, err := n.Listen("tcp", "shop:80", 0, nil)
			if err != nil {
				panic(err)
			}
			n.Dial("tcp", "shop:80")
			time.AfterFunc(1500*time.Millisecond, func() { l.Accept() })

			start := time.Now()
			_, err = n.Dial("tcp", "shop:80")
			fmt.Printf("%-9s connected after %v, error %v\n", platform.Name, time.Since(start), err)
		})
	}
	// Output:
	// linux-6   connected after 2s, error <nil>
	// linux-5   connected after 3s, error <nil>
	// windows   connected after 3s, error <nil>
	// windows-7 connected after 3s, error <nil>
	// macos     connected after 2s, error <nil>
	// freebsd   connected after 3s, error <nil>
}

// A listener that answers with RST when it is full, whatever its platform would
// do: a client on Linux believes the first one.
func ExampleListenOptions() {
	synctest.Test(new(testing.T), func(*testing.T) {
		n := memnet.New(memnet.Config{})
		opts := &memnet.ListenOptions{Overflow: listenq.Overflow{ResetSYN: true}}
		if _, err := n.Listen("tcp", "shop:80", 4, opts); err != nil {
			panic(err)
		}
		for i := range 6 {
			_, err := n.Dial("tcp", "shop:80")
			fmt.Println(i+1, errors.Is(err, syscall.ECONNREFUSED))
		}
	})
	// Output:
	// 1 false
	// 2 false
	// 3 false
	// 4 false
	// 5 false
	// 6 true
}

// An http.Server and an http.Client over a network with a round trip of 80 ms:
// one for the handshake, one for the request.
func ExampleNetwork_DialContext() {
	synctest.Test(new(testing.T), func(*testing.T) {
		n := memnet.New(memnet.Config{Latency: 40 * time.Millisecond})
		l, err := n.Listen("tcp", "shop.example:80", 128, nil)
		if err != nil {
			panic(err)
		}
		server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello "+r.RemoteAddr)
		})}
		go server.Serve(l)
		defer server.Close()

		transport := &http.Transport{DialContext: n.DialContext}
		defer transport.CloseIdleConnections()
		start := time.Now()
		resp, err := (&http.Client{Transport: transport}).Get("http://shop.example/")
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		fmt.Printf("%s after %v\n", text, time.Since(start))
	})
	// Output:
	// hello 192.0.2.1:32768 after 160ms
}
