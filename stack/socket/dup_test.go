//go:build linux

package socket

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestDupDuringClose has dup, dup3 and the last close meet: either dup is too late,
// or the file lives on.
func TestDupDuringClose(t *testing.T) {
	p := newFakeProcess(16)
	calls := map[string]func(fd int) (int, error){
		"dup":  p.Dup,
		"dup3": func(fd int) (int, error) { return 9, p.Dup3(fd, 9, 0) },
	}
	for name, call := range calls {
		for range 2000 {
			s := new(fakeSock)
			fd, err := p.installNew(s, 0)
			require.NoError(t, err)
			var second int
			var dupErr error
			var both sync.WaitGroup
			both.Go(func() { second, dupErr = call(fd) })
			both.Go(func() { require.NoError(t, p.Close(fd)) })
			both.Wait()
			if dupErr != nil {
				require.Equal(t, unix.EBADF, dupErr, name)
			} else {
				require.Zero(t, freed(s), name)
				require.NoError(t, p.Close(second), name)
			}
			require.Equal(t, 1, freed(s), name)
		}
	}
}

func freed(s *fakeSock) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
}
