//go:build linux

package stress

import (
	"os"
	"testing"

	"github.com/ulisten/ulisten/tests/netlab"
)

// whole says that everything runs, at full size.
var whole = os.Getenv("ULISTEN_STRESS") == "1"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		play(role)
		return
	}
	os.Exit(netlab.Main(m))
}
