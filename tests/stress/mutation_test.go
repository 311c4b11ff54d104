//go:build linux

package stress

import (
	"testing"

	"github.com/ulisten/ulisten/tests/mutation"
)

// Every bug of testdata/mutations.txt makes a stress test fail.
func TestBugsAreCaught(t *testing.T) { mutation.Catch(t, "testdata/mutations.txt") }
