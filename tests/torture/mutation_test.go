//go:build linux

package torture

import (
	"testing"

	"github.com/ulisten/ulisten/tests/mutation"
)

// Every bug of testdata/mutations.txt makes the torture test fail.
func TestBugsAreCaught(t *testing.T) { mutation.Catch(t, "testdata/mutations.txt") }
