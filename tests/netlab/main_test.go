//go:build linux

package netlab_test

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ulisten/ulisten/tests/netlab"
)

// roleEnv makes the test binary play a part in a test of process handling
// instead of running tests.
const roleEnv = "NETLAB_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	if os.Getenv(outerEnv) == "" {
		outer, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			panic(err)
		}
		os.Setenv(outerEnv, outer)
	}
	os.Exit(netlab.Main(m))
}

// outerEnv names the network namespace in which go test started the tests.
const outerEnv = "NETLAB_TEST_OUTER"

// play enters a namespace and does what a test asked for.
func play(role string) int {
	if code, done := netlab.Enter(); done {
		return code
	}
	verb, argument, _ := strings.Cut(role, " ")
	switch verb {
	case "exit":
		var code int
		fmt.Sscan(argument, &code)
		return code
	case "die": // by a signal that nothing catches
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "trap": // print the signal that arrives
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready", os.Getpid())
		fmt.Println(<-c)
		return 0
	case "linger": // until killed
		fmt.Println("ready", os.Getpid())
		time.Sleep(time.Minute)
		return 0
	case "report":
		ns, err := os.Readlink("/proc/self/ns/net")
		fmt.Println(ns, err)
		fmt.Println("missing:", netlab.Missing())
		fmt.Println("tun missing:", netlab.TUNMissing())
		return 0
	default:
		return 99
	}
}
