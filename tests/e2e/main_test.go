//go:build linux

package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/refs"
	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/ulisten/ulisten/tests/netlab"
)

// TestMain runs the tests in a private network namespace, with every packet
// buffer on record, and looks for what they left behind.
func TestMain(m *testing.M) {
	refs.SetLeakMode(refs.LeaksPanic)
	code := netlab.Main(m)
	if code == 0 {
		if err := leftovers(); err != nil {
			fmt.Fprintln(os.Stderr, "after the last test:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// leftovers waits until no stack has left anything, and else says what there is.
func leftovers() error {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = leftover(); err == nil {
			return nil
		}
	}
	return err
}

func leftover() (err error) {
	if g := stackGoroutines(); len(g) > 0 {
		return fmt.Errorf("%d goroutines:\n\n%s", len(g), strings.Join(g, "\n\n"))
	}
	if d := tcpip.GetDanglingEndpoints(); len(d) > 0 {
		return fmt.Errorf("%d endpoints of netstack, the first %+v", len(d), d[0].Info())
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	refs.DoRepeatedLeakCheck()
	return nil
}

// stackGoroutines returns the goroutines that run code of a stack or a link.
func stackGoroutines() []string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var found []string
	for _, g := range strings.Split(string(buf), "\n\n")[1:] { // the first is this one
		for _, ours := range []string{"gvisor.dev/gvisor/", "/ulisten/stack.", "/ulisten/tun."} {
			if strings.Contains(g, ours) {
				found = append(found, g)
				break
			}
		}
	}
	return found
}
