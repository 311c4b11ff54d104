//go:build linux

package syscalls

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack/socket"
)

// A Side is one of the two that are compared: calls on an empty descriptor table,
// and what a script needs to know about where they go.
type Side struct {
	Sockets
	// settle waits until what the calls have set off has come to rest.
	settle    func()
	addresses addresses
	// device is the index of its network device.
	device uint32
}

// newSide returns a side whose agreed ports follow base.
func newSide(s Sockets, settle func(), base int, device uint32) *Side {
	return &Side{
		Sockets:   s,
		settle:    settle,
		device:    device,
		addresses: addresses{base: base, ports: map[int]string{}, autos: map[string]string{}},
	}
}

// Observed is what is seen of one step.
type Observed struct {
	// Result is what the call returned.
	Result string
	// Ready says for each descriptor what poll(2) says after the call, in the
	// order in which they were made.
	Ready []Readiness
}

// Readiness is a descriptor and its events.
type Readiness struct {
	Name, Kind, Events string
}

// every is what readiness is asked about; POLLERR, POLLHUP and POLLNVAL are
// always told.
const every = unix.POLLIN | unix.POLLPRI | unix.POLLOUT | unix.POLLRDHUP

// A player plays a script on a side.
type player struct {
	side  *Side
	names []string // of descriptors, in the order in which they were made
	fds   map[string]int
	kinds map[string]string
	// registered are the names under which epoll knows descriptors.
	registered map[int32]string
}

// Play makes the calls of a script. An error means that the script is wrong, never
// that a call failed.
func Play(side *Side, script Script) ([]Observed, error) {
	p := &player{side: side, fds: map[string]int{}, kinds: map[string]string{}, registered: map[int32]string{}}
	var all []Observed
	for _, s := range script {
		o, err := p.play(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		all = append(all, o)
	}
	return all, nil
}

func (p *player) play(s Step) (Observed, error) {
	c, ok := calls[s.Call]
	if !ok {
		return Observed{}, errors.New("unknown call")
	}
	a := &arguments{p: p, names: s.Names, words: s.Args}
	result := c.make(p.side, a)
	if a.err == nil && len(a.words) > 0 {
		a.err = fmt.Errorf("too many arguments: %q", a.words)
	}
	if a.err != nil {
		return Observed{}, a.err
	}
	p.side.settle()
	return Observed{Result: result, Ready: p.ready()}, nil
}

// ready polls every descriptor.
func (p *player) ready() []Readiness {
	fds := make([]unix.PollFd, len(p.names))
	for i, name := range p.names {
		fds[i] = unix.PollFd{Fd: int32(p.fds[name]), Events: every}
	}
	if _, err := p.side.Poll(fds, 0); err != nil {
		return []Readiness{{Name: "all", Kind: "all", Events: errname(err)}}
	}
	var all []Readiness
	for i, name := range p.names {
		if p.fds[name] >= 0 {
			all = append(all, Readiness{name, p.kinds[name], events.words(int(fds[i].Revents))})
		}
	}
	return all
}

// define gives a new descriptor the next name; kind says what it is.
func (p *player) define(name string, fd int, kind string) {
	if !slices.Contains(p.names, name) {
		p.names = append(p.names, name)
	}
	p.fds[name], p.kinds[name] = fd, kind
}

// arguments reads the words of a step. After the first error it returns zero
// values.
type arguments struct {
	p     *player
	names []string
	words []string
	err   error
}

// next returns the next word.
func (a *arguments) next() string {
	if len(a.words) == 0 {
		a.fail(errors.New("too few arguments"))
		return ""
	}
	word := a.words[0]
	a.words = a.words[1:]
	return word
}

func (a *arguments) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// more reports whether there are words left.
func (a *arguments) more() bool { return len(a.words) > 0 }

// number returns the next word as a number; without words left it is 0.
func (a *arguments) number(v vocabulary) int {
	if !a.more() {
		return 0
	}
	n, err := v.number(a.next())
	if err != nil {
		a.fail(err)
	}
	return n
}

// fd returns the descriptor that the next word names: one that a call was to make
// and did not is -1.
func (a *arguments) fd() int { return a.descriptor(a.next()) }

func (a *arguments) descriptor(word string) int {
	if fd, ok := a.p.fds[word]; ok {
		return fd
	}
	n, err := vocabulary{}.number(word)
	if err != nil {
		a.fail(fmt.Errorf("%q is no descriptor", word))
	}
	return n
}

// addr returns the next word as an address; &a is the name of socket a.
func (a *arguments) addr() unix.Sockaddr {
	word := a.next()
	if name, ok := strings.CutPrefix(word, "&"); ok {
		addr, err := a.p.side.Getsockname(a.descriptor(name))
		if err != nil {
			return socket.SockaddrUnspec{}
		}
		if a, ok := addr.(*unix.SockaddrUnix); ok && a.Name == "@" {
			return &unix.SockaddrUnix{} // how golang.org/x/sys/unix shows no name
		}
		return addr
	}
	addr, err := a.p.side.addresses.parse(word)
	if err != nil {
		a.fail(err)
	}
	return addr
}

// data returns the bytes of the next word: "text", or fill*100 for 100 bytes.
func (a *arguments) data() []byte {
	word := a.next()
	if count, ok := strings.CutPrefix(word, "fill*"); ok {
		n, err := vocabulary{}.number(count)
		if err != nil || n < 0 {
			a.fail(fmt.Errorf("%q is no data", word))
			return nil
		}
		return fill(n)
	}
	text, ok := strings.CutPrefix(word, `"`)
	if text, ok2 := strings.CutSuffix(text, `"`); ok && ok2 {
		return []byte(text)
	}
	a.fail(fmt.Errorf("%q is no data", word))
	return nil
}

// fill returns bytes that show where they are from.
func fill(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return b
}

// list returns the parts of the next word, which commas separate; - is none.
func (a *arguments) list() []string {
	word := a.next()
	if word == "-" || word == "" {
		return nil
	}
	return strings.Split(word, ",")
}

// buffers returns room for as many bytes as the numbers of the next word say.
func (a *arguments) buffers() [][]byte {
	var iov [][]byte
	for _, part := range a.list() {
		n, err := vocabulary{}.number(part)
		if err != nil || n < 0 {
			a.fail(fmt.Errorf("%q is no size", part))
			return nil
		}
		iov = append(iov, make([]byte, n))
	}
	return iov
}

// define gives the step's next name to a descriptor.
func (a *arguments) define(fd int, kind string) {
	if len(a.names) == 0 {
		a.fail(errors.New("a name is missing"))
		return
	}
	a.p.define(a.names[0], fd, kind)
	a.names = a.names[1:]
}

// kind returns what the socket behind a descriptor is.
func (a *arguments) kind(fd int) string {
	for _, name := range slices.Backward(a.p.names) {
		if a.p.fds[name] == fd {
			return a.p.kinds[name]
		}
	}
	return "nothing"
}
