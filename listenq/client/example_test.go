package client_test

import (
	"fmt"
	"time"

	"github.com/ulisten/ulisten/listenq/client"
)

// A full listener on Windows answers a SYN with RST. A Linux client fails at
// once; a Windows client tries four times more.
func ExampleAttempt_Reset() {
	for _, name := range []string{"linux-6", "windows"} {
		p, err := client.ProfileNamed(name)
		if err != nil {
			fmt.Println(err)
			return
		}
		now := time.Duration(0)
		a := client.NewAttempt(p, now)
		for a.Reset(now) != client.Refused { // each SYN is answered by RST
			now, _ = a.NextTimeout()
			a.Advance(now)
		}
		fmt.Printf("%s: %s after %v and %d SYN\n", p.Name, p.Refused, now, a.SYNs())
	}
	// Output:
	// linux-6: ECONNREFUSED after 0s and 1 SYN
	// windows: WSAECONNREFUSED after 2s and 5 SYN
}

// Where nothing answers: when the SYN is sent, and when connect gives up.
func ExampleProfile() {
	for _, p := range client.Profiles() {
		fmt.Printf("%-9s %v, %s after %v\n", p.Name, p.Repeats, p.TimedOut, p.GiveUp)
	}
	// Output:
	// linux-6   [1s 2s 3s 4s 5s 7s 11s 19s 35s 1m7s], ETIMEDOUT after 2m11s
	// linux-5   [1s 3s 7s 15s 31s 1m3s], ETIMEDOUT after 2m7s
	// windows   [1s 3s 7s 15s], WSAETIMEDOUT after 21s
	// windows-7 [3s 9s], WSAETIMEDOUT after 21s
	// macos     [1s 2s 3s 4s 5s 7s 11s 19s 35s 1m7s], ETIMEDOUT after 1m15s
	// freebsd   [1s 3s 7s 15s 31s 1m3s], ETIMEDOUT after 1m15s
}
