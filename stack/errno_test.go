package stack

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/syserr"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// Every error type that netstack's source declares has its row, and no row is left
// of one that is gone.
func TestErrnoOfEveryError(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "gvisor.dev/gvisor/pkg/tcpip").Output()
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "errors.go"), nil, 0)
	require.NoError(t, err)
	declared := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.TypeSpec); ok && strings.HasPrefix(s.Name.Name, "Err") && s.Name.Name != "Error" {
			declared[s.Name.Name] = true
		}
		return true
	})
	require.Greater(t, len(declared), 40)
	rows := make(map[string]bool)
	for typ := range errnos {
		rows[typ.Elem().Name()] = true
	}
	require.Equal(t, declared, rows)
	require.Zero(t, Errno(nil))
}

// gVisor's sentry has a table of its own (pkg/syserr). The rows agree, except where
// the calls that can fail so are other ones here.
func TestErrnoAgreesWithSentry(t *testing.T) {
	differ := map[string]syscall.Errno{
		"ErrUnknownProtocol":  syscall.EPROTONOSUPPORT, // of socket(2), not of a call on a NIC
		"ErrNoPortAvailable":  syscall.EADDRINUSE,      // of bind(2); connect(2) has EADDRNOTAVAIL
		"ErrClosedForReceive": syscall.ENOTCONN,        // where the end of a stream is an error at all
		"ErrInvalidNICID":     syscall.ENODEV,          // the sentry has no row
	}
	for typ, errno := range errnos {
		name := typ.Elem().Name()
		err := reflect.New(typ.Elem()).Interface().(tcpip.Error)
		require.Equal(t, errno, Errno(err))
		if want, ok := differ[name]; ok {
			require.Equal(t, want, errno, name)
			continue
		}
		var sentry syscall.Errno
		if e := syserr.TranslateNetstackError(err); e != nil {
			sentry = syscall.Errno(e.ToLinux())
		}
		require.Equal(t, sentry, errno, name)
	}
}
