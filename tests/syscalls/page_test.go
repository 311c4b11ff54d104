//go:build linux

package syscalls

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/stack/socket"
	"github.com/ulisten/ulisten/stack/socket/phpsock"
)

// A function is one of the manual page's family: socket_ and a name.
type function struct {
	name string
	// calls are methods of *socket.Process, in words; php is the method of
	// *phpsock.Sockets.
	calls, goView, php string
}

var functions = []function{
	{"accept", "Accept4", "Listener.Accept", "Accept"},
	{"bind", "Bind", "Listen, ListenPacket", "Bind"},
	{"clear_error", "", "errors are values", "ClearError"},
	{"close", "Close", "Close", "Close"},
	{"cmsg_space", "", "unix.CmsgSpace", "CmsgSpace"},
	{"connect", "Connect", "Dial, DialContext", "Connect"},
	{"create", "Socket", "Listen, Dial, ListenPacket", "Create"},
	{"create_listen", "Socket, Bind, Listen", "Listen", "CreateListen"},
	{"create_pair", "Socketpair", "", "CreatePair"},
	{"get_option", "Getsockopt, GetsockoptInt", "", "GetOption"},
	{"getopt", "Getsockopt, GetsockoptInt", "", "GetOpt"},
	{"getpeername", "Getpeername", "RemoteAddr", "GetPeerName"},
	{"getsockname", "Getsockname", "LocalAddr, Addr", "GetSockName"},
	{"import_stream", "Import", "", "ImportStream"},
	{"last_error", "", "errors are values", "LastError"},
	{"listen", "Listen", "Listen", "Listen"},
	{"read", "Read, Readv", "Read", "Read"},
	{"recv", "Recv", "Read", "Recv"},
	{"recvfrom", "Recvfrom", "ReadFrom", "RecvFrom"},
	{"recvmsg", "Recvmsg", "", "RecvMsg"},
	{"select", "Select, Poll, EpollCreate1, EpollCtl, EpollWait", "goroutines", "Select"},
	{"send", "Send", "Write", "Send"},
	{"sendmsg", "Sendmsg", "", "SendMsg"},
	{"sendto", "Sendto", "WriteTo", "SendTo"},
	{"set_block", "SetNonblock, Fcntl", "", "SetBlock"},
	{"set_nonblock", "SetNonblock, Fcntl", "SetDeadline", "SetNonblock"},
	{"set_option", "Setsockopt, SetsockoptInt", "SetNoDelay and so on", "SetOption"},
	{"setopt", "Setsockopt, SetsockoptInt", "SetNoDelay and so on", "SetOpt"},
	{"shutdown", "Shutdown", "CloseRead, CloseWrite", "Shutdown"},
	{"strerror", "", "Strerror", "Strerror"},
	{"write", "Write, Writev", "Write", "Write"},
	{"", "Dup, Dup2, Dup3, Fcntl, Ioctl", "", ""},
}

// Every method that the page names exists.
func TestFunctionsExist(t *testing.T) {
	process, php := reflect.TypeFor[*socket.Process](), reflect.TypeFor[*phpsock.Sockets]()
	for _, f := range functions {
		for name := range strings.FieldsFuncSeq(f.calls, func(r rune) bool { return r == ',' || r == ' ' }) {
			_, ok := process.MethodByName(name)
			require.True(t, ok, "Process.%s", name)
		}
		if f.php != "" {
			_, ok := php.MethodByName(f.php)
			require.True(t, ok, "Sockets.%s", f.php)
		}
	}
}

// docs/sockets.md says what the code has: functions, options and differences. With
// ULISTEN_UPDATE_DOCS=1 it is written anew.
func TestSocketsPage(t *testing.T) {
	known, err := LoadKnown("differences.txt")
	require.NoError(t, err)
	page := socketsPage(known)
	file := filepath.Join("..", "..", "docs", "sockets.md")
	if os.Getenv("ULISTEN_UPDATE_DOCS") != "" {
		require.NoError(t, os.WriteFile(file, []byte(page), 0o644))
	}
	require.True(t, read(t, file) == page, "docs/sockets.md is out of date: run the test with ULISTEN_UPDATE_DOCS=1")
}

func socketsPage(known []Known) string {
	var b strings.Builder
	b.WriteString(pageTop)
	for _, f := range functions {
		name := "other calls"
		if f.name != "" {
			name = "`socket_" + f.name + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, code(f.calls), orDash(f.goView), code(f.php))
	}
	b.WriteString(pageMiddle)
	writeOptions(&b)
	b.WriteString("\n## Known differences from Linux 6.18\n\n" + pageDifferences)
	for _, k := range known {
		if k.ID == unsupported {
			continue // the table above
		}
		fmt.Fprintf(&b, "* **%s**: %s\n", strings.ReplaceAll(k.ID, "-", " "), k.Reason)
	}
	return b.String()
}

// unsupported is the entry of differences.txt that lists options.
const unsupported = "unsupported-option"

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}

// code shows names, which commas separate, as code.
func code(names string) string {
	if names == "" {
		return "–"
	}
	return "`" + strings.ReplaceAll(names, ", ", "`, `") + "`"
}

// writeOptions writes a table of the options that some socket knows, and a list of
// those that none does.
func writeOptions(b *strings.Builder) {
	b.WriteString("| level | option | TCP | UDP | unix |\n| --- | --- | --- | --- | --- |\n")
	mark := map[bool]string{true: "yes", false: "–"}
	absent := map[string][]string{}
	var levels []string
	for _, o := range socket.Options() {
		if o.TCP || o.UDP || o.Unix {
			fmt.Fprintf(b, "| %s | `%s` | %s | %s | %s |\n", o.LevelText, o.NameText, mark[o.TCP], mark[o.UDP], mark[o.Unix])
			continue
		}
		if absent[o.LevelText] == nil {
			levels = append(levels, o.LevelText)
		}
		absent[o.LevelText] = append(absent[o.LevelText], "`"+o.NameText+"`")
	}
	b.WriteString("\nLinux has these, and here they are ENOPROTOOPT for every socket:\n\n")
	for _, level := range levels {
		fmt.Fprintf(b, "* %s: %s\n", level, strings.Join(absent[level], ", "))
	}
}

const pageTop = `# Sockets

Package ` + "`stack/socket`" + ` is the sockets API of a stack: descriptors, the calls of section 2 of the
Linux manual and the kernel's errors, in userspace. ` + "`stack/socket/phpsock`" + ` is the same with the
functions of the manual page that this project began with, and ` + "`Namespace.Listen`, `Dial` and" + `
` + "`ListenPacket`" + ` are Go's view. This page is printed by ` + "`tests/syscalls`" + `, which also plays the calls
below on the kernel of the machine and compares.

` + "```go" + `
ns := socket.NewNamespace(s) // s is a *stack.Stack
p := ns.Process(1024)        // a descriptor table, RLIMIT_NOFILE 1024
fd, err := p.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
err = p.Bind(fd, &unix.SockaddrInet4{Port: 80})
err = p.Listen(fd, 5)
conn, peer, err := p.Accept4(fd, 0)
` + "```" + `

## The functions of the family

| manual page | descriptors, ` + "`socket.Process`" + ` | Go's view | ` + "`phpsock.Sockets`" + ` |
| --- | --- | --- | --- |
`

const pageMiddle = `
Sockets are of AF_INET and AF_INET6 (dual stack, unless IPV6_V6ONLY) with SOCK_STREAM (TCP) and
SOCK_DGRAM (UDP), and of AF_UNIX with SOCK_STREAM, SOCK_SEQPACKET and SOCK_DGRAM. Descriptors of
the calls are sockets and epoll instances.

## Errors

Each call returns the bare errno that Linux 6.18 returns, found in the same order of checks; texts
are those of strerror(3). A call that waits on a descriptor that is closed by another goroutine
ends with EBADF (poll reports POLLNVAL); Linux lets it wait. There is no EINTR and no SIGPIPE.

## Flags

| | send | receive |
| --- | --- | --- |
| ` + "`MSG_DONTWAIT`" + ` | yes | yes |
| ` + "`MSG_NOSIGNAL`" + ` | yes, and never a signal without it | ignored, as on Linux |
| ` + "`MSG_MORE`" + ` | TCP and UDP | – |
| ` + "`MSG_PEEK`, `MSG_TRUNC`, `MSG_WAITALL`" + ` | – | yes |
| ` + "`MSG_CMSG_CLOEXEC`" + ` | – | yes |
| ` + "`MSG_ERRQUEUE`" + ` | ignored | nothing is ever queued: EAGAIN |
| ` + "`MSG_OOB`" + ` | EOPNOTSUPP | EINVAL, as there is no urgent data |
| ` + "`MSG_EOR`, `MSG_CONFIRM`, `MSG_DONTROUTE`" + ` | accepted, without effect | – |

Control messages: IP_PKTINFO, IP_TTL, IP_TOS, IPV6_PKTINFO, IPV6_HOPLIMIT and IPV6_TCLASS, both ways,
timestamps (SO_TIMESTAMP, SO_TIMESTAMPNS) of UDP; SCM_RIGHTS and SCM_CREDENTIALS of unix sockets.

## Options

An option that a kind of socket does not know is ENOPROTOOPT, or EOPNOTSUPP where Linux says so to a
foreign level. SOL_LISTENQ is ours: the backlog in force and why, the overflow policy, the counters
and the profile of a listening socket.

`

const pageDifferences = `Scripts of calls are played on the kernel and here: tables of every call with wrong arguments in every
state, every option, and random sequences. What they may differ in is this, each with a script in which
it must occur (` + "`tests/syscalls/differences.txt`" + `):

`
