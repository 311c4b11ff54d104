//go:build linux

package syscalls

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A liar is the kernel with one fault: after two sockets were bound, listen fails.
type liar struct {
	*kernelMachine
}

type lyingProcess struct {
	Sockets
	bound int
}

func (p *lyingProcess) Bind(fd int, addr unix.Sockaddr) error {
	err := p.Sockets.Bind(fd, addr)
	if err == nil {
		p.bound++
	}
	return err
}

func (p *lyingProcess) Listen(fd, backlog int) error {
	err := p.Sockets.Listen(fd, backlog)
	if err == nil && p.bound >= 2 {
		return unix.ENOBUFS
	}
	return err
}

func (m liar) Play(script Script, _ bool) ([]Observed, error) {
	return m.play(script, func() {}, func(s Sockets) Sockets { return &lyingProcess{Sockets: s} })
}

// A fault in random scripts is found and made as short as it can be.
func TestShrinks(t *testing.T) {
	pair := Pair{Kernel: newKernelMachine(t), Ours: liar{newKernelMachine(t)}}
	seed := uint64(0)
	var script Script
	for differs := false; !differs; seed++ {
		require.Less(t, seed, uint64(100), "the fault is not found")
		script = RandomScript(seed, 60)
		found, err := pair.Differences(script)
		require.NoError(t, err)
		_, differs = Unexplained(found, nil)
	}
	short, err := pair.Shrink(script)
	require.NoError(t, err)
	// Two sockets, two binds, a listen; the address of a bind may be a third
	// socket's.
	require.LessOrEqual(t, len(short), 6, "%s", short)
	found, err := pair.Differences(short)
	require.NoError(t, err)
	require.Equal(t, "result", found[0].Field)
	require.Equal(t, "ENOBUFS", found[0].Ours)
}

func TestKnownDifferences(t *testing.T) {
	known, err := parseKnown("file", `
# a comment
one
  step    connect .*
  field   result
  kernel  EINVAL
  ours    ok
  it is said
  to be so
`)
	require.NoError(t, err)
	require.Len(t, known, 1)
	require.Equal(t, "it is said to be so", known[0].Reason)
	explained := Difference{Step: step("connect a unspec"), Field: "result", Kernel: "EINVAL", Ours: "ok"}
	other := Difference{Step: step("connect a unspec"), Field: "result", Kernel: "EINVAL", Ours: "EISCONN"}
	_, found := Unexplained([]Difference{explained, other}, known)
	require.False(t, found, "after a result that differs nothing counts")
	d, found := Unexplained([]Difference{other, explained}, known)
	require.True(t, found)
	require.Equal(t, other, d)

	for _, tc := range []struct{ text, err string }{
		{"  step x", "file:1: belongs to no entry"},
		{"a\n  step x\n", "file: a: need step, field, kernel, ours and a reason"},
		{"a\n  step (\n", "file:2: error parsing regexp: missing closing ): `^(?:()$`"},
		{"a\na\n", "file:2: a second a"},
	} {
		_, err := parseKnown("file", tc.text)
		require.EqualError(t, err, tc.err)
	}
}

func TestScriptErrors(t *testing.T) {
	for _, tc := range []struct{ text, err string }{
		{"fly", `s:1: no call "fly"`},
		{"\nsocket inet stream", "s:2: socket makes 1 descriptors, not 0"},
		{"bind a /x", `s:1: bind: nothing was named "a"`},
		{"a = socket inet stream\nconnect a &b", `s:2: connect: nothing was named "b"`},
		{"a =", `s:1: no call in "a ="`},
	} {
		_, err := ParseScript("s", tc.text)
		require.EqualError(t, err, tc.err)
	}
	for _, tc := range []struct{ text, err string }{
		{"a = socket inet 1 2 3 4", `a = socket inet 1 2 3 4: too many arguments: ["3" "4"]`},
		{"bind -1", "bind -1: too few arguments"},
		{"bind -1 elsewhere", `bind -1 elsewhere: "elsewhere" is no address`},
		{"bind -1 1.2.3.4:p9", `bind -1 1.2.3.4:p9: "1.2.3.4:p9": there are p1 to p8`},
		{"send -1 hello", `send -1 hello: "hello" is no data`},
		{"shutdown -1 up", `shutdown -1 up: "up" is neither a number nor one of rd wr rdwr`},
	} {
		script, err := ParseScript("s", tc.text)
		require.NoError(t, err)
		_, err = Play(newSide(nowhere{}, func() {}, 0, 0), script)
		require.EqualError(t, err, tc.err)
	}
}

// nowhere is sockets that all fail.
type nowhere struct{ Sockets }

func (nowhere) Socket(int, int, int) (int, error)    { return -1, unix.EAFNOSUPPORT }
func (nowhere) Bind(int, unix.Sockaddr) error        { return unix.EBADF }
func (nowhere) Send(int, []byte, int) (int, error)   { return -1, unix.EBADF }
func (nowhere) Shutdown(int, int) error              { return unix.EBADF }
func (nowhere) Poll([]unix.PollFd, int) (int, error) { return 0, nil }
