//go:build linux

package syscalls

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"golang.org/x/sys/unix"
)

// A scriptCall is a call that scripts can make.
type scriptCall struct {
	// makes is how many descriptors it makes.
	makes int
	// make makes the call and says in words what came of it.
	make func(*Side, *arguments) string
}

// calls are all calls, by name. The comment gives the words after the name;
// those in brackets may be left out.
var calls map[string]scriptCall

func init() {
	calls = map[string]scriptCall{
		"socket":      {1, makeSocket},      // family type [protocol]
		"socketpair":  {2, makeSocketpair},  // family type [protocol]
		"bind":        {0, makeBind},        // fd address
		"listen":      {0, makeListen},      // fd backlog
		"accept":      {1, makeAccept},      // fd [type bits]
		"connect":     {0, makeConnect},     // fd address
		"getsockname": {0, makeGetsockname}, // fd
		"getpeername": {0, makeGetpeername}, // fd
		"shutdown":    {0, makeShutdown},    // fd how
		"close":       {0, makeClose},       // fd
		"getsockopt":  {0, makeGetsockopt},  // fd level name [length]
		"setsockopt":  {0, makeSetsockopt},  // fd level name value
		"read":        {0, makeRead},        // fd size
		"write":       {0, makeWrite},       // fd data
		"readv":       {0, makeReadv},       // fd sizes
		"writev":      {0, makeWritev},      // fd data ...
		"recv":        {0, makeRecv},        // fd size [flags]
		"recvfrom":    {0, makeRecvfrom},    // fd size [flags]
		"recvmsg":     {0, makeRecvmsg},     // fd sizes control-size [flags]
		"send":        {0, makeSend},        // fd data [flags]
		"sendto":      {0, makeSendto},      // fd data flags address
		"sendmsg":     {0, makeSendmsg},     // fd data control address [flags]
		"dup":         {1, makeDup},         // fd
		"dup3":        {0, makeDup3},        // fd to [flags]
		"fcntl":       {0, makeFcntl},       // fd command [argument]
		"fdup":        {1, makeFdup},        // fd least: F_DUPFD
		"ioctl":       {0, makeIoctl},       // fd request
		"poll":        {0, makePoll},        // fd:events ...
		"select":      {0, makeSelect},      // read write except: fds each, or -
		"epoll":       {1, makeEpoll},       // [flags]
		"epoll_ctl":   {0, makeEpollCtl},    // fd operation fd [events]
		"epoll_wait":  {0, makeEpollWait},   // fd count
	}
}

// outcome is a call's result in words.
func outcome(err error, format string, a ...any) string {
	if err != nil {
		return errname(err)
	}
	return fmt.Sprintf(format, a...)
}

// show shows data, in short if there is much of it.
func show(b []byte) string {
	const most = 40
	if len(b) <= most {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%d bytes, CRC %08x", len(b), crc32.ChecksumIEEE(b))
}

// received shows what a call has put into a buffer: n may be more than fits.
func received(b []byte, n int) string {
	if n < 0 || n > len(b) {
		return fmt.Sprintf("%d: %s", n, show(b))
	}
	return fmt.Sprintf("%d: %s", n, show(b[:n]))
}

func makeSocket(s *Side, a *arguments) string {
	family, typ, protocol := a.number(families), a.number(types), a.number(protocols)
	fd, err := s.Socket(family, typ, protocol)
	a.define(fd, kindOf(family, typ))
	return outcome(err, "fd %d", fd)
}

// kindOf is the kind of a new socket.
func kindOf(family, typ int) string {
	const modes = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	return families.name(family) + "-" + types.name(typ&^modes)
}

func makeSocketpair(s *Side, a *arguments) string {
	family, typ, protocol := a.number(families), a.number(types), a.number(protocols)
	fds, err := s.Socketpair(family, typ, protocol)
	if err != nil {
		fds = [2]int{-1, -1}
	}
	a.define(fds[0], kindOf(family, typ))
	a.define(fds[1], kindOf(family, typ))
	return outcome(err, "fds %d", fds)
}

func makeBind(s *Side, a *arguments) string {
	return outcome(s.Bind(a.fd(), a.addr()), "ok")
}

func makeListen(s *Side, a *arguments) string {
	return outcome(s.Listen(a.fd(), a.number(nil)), "ok")
}

func makeAccept(s *Side, a *arguments) string {
	listener := a.fd()
	fd, from, err := s.Accept4(listener, a.number(types))
	if err != nil {
		fd = -1
	}
	a.define(fd, a.kind(listener))
	return outcome(err, "fd %d from %s", fd, s.addresses.word(from))
}

func makeConnect(s *Side, a *arguments) string {
	return outcome(s.Connect(a.fd(), a.addr()), "ok")
}

func makeGetsockname(s *Side, a *arguments) string {
	addr, err := s.Getsockname(a.fd())
	return outcome(err, "%s", s.addresses.word(addr))
}

func makeGetpeername(s *Side, a *arguments) string {
	addr, err := s.Getpeername(a.fd())
	return outcome(err, "%s", s.addresses.word(addr))
}

func makeShutdown(s *Side, a *arguments) string {
	return outcome(s.Shutdown(a.fd(), a.number(directions)), "ok")
}

func makeClose(s *Side, a *arguments) string {
	return outcome(s.Close(a.fd()), "ok")
}

// option reads a level and the name of an option.
func (a *arguments) option() (level, name int) {
	level = a.number(levels)
	return level, a.number(options[level])
}

func makeGetsockopt(s *Side, a *arguments) string {
	fd := a.fd()
	level, name := a.option()
	length := 4
	switch {
	case a.more():
		length = a.number(nil)
	case level == unix.SOL_TCP && name == unix.TCP_INFO:
		length = unix.SizeofTCPInfo
	case level == unix.SOL_SOCKET && name == unix.SO_LINGER, level == unix.SOL_TCP && name == unix.TCP_CONGESTION:
		length = 16
	case level == unix.SOL_SOCKET && (name == unix.SO_RCVTIMEO || name == unix.SO_SNDTIMEO || name == unix.SO_BINDTODEVICE):
		length = 16
	case level == unix.SOL_SOCKET && name == unix.SO_PEERCRED:
		length = unix.SizeofUcred
	}
	if length < 0 {
		a.fail(fmt.Errorf("%d is no length", length))
		return ""
	}
	value := make([]byte, length)
	n, err := s.Getsockopt(fd, level, name, value)
	return outcome(err, "%s", optionValue(level, name, value[:min(max(n, 0), len(value))]))
}

// optionValue shows the value of an option.
func optionValue(level, name int, v []byte) string {
	switch {
	case level == unix.SOL_TCP && name == unix.TCP_INFO && len(v) > 0:
		const (
			listen  = 10 // TCP_LISTEN, Linux include/net/tcp_states.h
			unacked = 24 // struct tcp_info, Linux include/uapi/linux/tcp.h
			sacked  = 28
		)
		if v[0] != listen || len(v) < sacked+4 {
			return fmt.Sprintf("state %d", v[0])
		}
		return fmt.Sprintf("state %d queue %d limit %d", v[0],
			binary.NativeEndian.Uint32(v[unacked:]), binary.NativeEndian.Uint32(v[sacked:]))
	case level == unix.SOL_TCP && name == unix.TCP_CONGESTION:
		return fmt.Sprintf("%q", v)
	case level == unix.SOL_SOCKET && name == unix.SO_PEERCRED:
		return "credentials" // whose they are is up to each side
	case len(v) == 4:
		return fmt.Sprint(int32(binary.NativeEndian.Uint32(v)))
	}
	return fmt.Sprintf("%d: %s", len(v), hex.EncodeToString(v))
}

func makeSetsockopt(s *Side, a *arguments) string {
	fd := a.fd()
	level, name := a.option()
	return outcome(s.Setsockopt(fd, level, name, a.value()), "ok")
}

// value returns the bytes of an option's value: a number, numbers with commas
// between, hexadecimal bytes after bytes:, or data.
func (a *arguments) value() []byte {
	if !a.more() {
		return nil
	}
	word := a.words[0]
	if strings.HasPrefix(word, `"`) || strings.HasPrefix(word, "fill*") {
		return a.data()
	}
	a.next()
	if digits, ok := strings.CutPrefix(word, "bytes:"); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			a.fail(err)
		}
		return b
	}
	var value []byte
	for part := range strings.SplitSeq(word, ",") {
		size := 4
		if wide, ok := strings.CutPrefix(part, "long:"); ok {
			part, size = wide, 8
		}
		n, err := vocabulary{}.number(part)
		if err != nil {
			a.fail(err)
		}
		if size == 8 {
			value = binary.NativeEndian.AppendUint64(value, uint64(n))
		} else {
			value = binary.NativeEndian.AppendUint32(value, uint32(n))
		}
	}
	return value
}

func makeRead(s *Side, a *arguments) string {
	fd, b := a.fd(), make([]byte, max(0, a.number(nil)))
	n, err := s.Read(fd, b)
	return outcome(err, "%s", received(b, n))
}

func makeWrite(s *Side, a *arguments) string {
	n, err := s.Write(a.fd(), a.data())
	return outcome(err, "%d", n)
}

func makeReadv(s *Side, a *arguments) string {
	fd, iov := a.fd(), a.buffers()
	n, err := s.Readv(fd, iov)
	return outcome(err, "%s", received(join(iov), n))
}

func join(iov [][]byte) []byte {
	var all []byte
	for _, b := range iov {
		all = append(all, b...)
	}
	return all
}

func makeWritev(s *Side, a *arguments) string {
	fd := a.fd()
	var iov [][]byte
	for a.more() {
		iov = append(iov, a.data())
	}
	n, err := s.Writev(fd, iov)
	return outcome(err, "%d", n)
}

func makeRecv(s *Side, a *arguments) string {
	fd, b := a.fd(), make([]byte, max(0, a.number(nil)))
	n, err := s.Recv(fd, b, a.number(flags))
	return outcome(err, "%s", received(b, n))
}

func makeRecvfrom(s *Side, a *arguments) string {
	fd, b := a.fd(), make([]byte, max(0, a.number(nil)))
	n, from, err := s.Recvfrom(fd, b, a.number(flags))
	return outcome(err, "%s from %s", received(b, n), s.addresses.word(from))
}

func makeRecvmsg(s *Side, a *arguments) string {
	fd, iov, oob := a.fd(), a.buffers(), make([]byte, max(0, a.number(nil)))
	n, oobn, recvflags, from, err := s.Recvmsg(fd, iov, oob, a.number(flags))
	if err != nil {
		return errname(err)
	}
	return fmt.Sprintf("%s from %s flags %s control %s", received(join(iov), n), s.addresses.word(from), flags.words(recvflags), s.control(oob[:oobn]))
}

// control shows control messages; values that each side has for itself are left
// out.
func (s *Side) control(oob []byte) string {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return errname(err)
	}
	var words []string
	for _, m := range messages {
		data := m.Data
		switch {
		case m.Header.Level == unix.SOL_SOCKET:
			data = make([]byte, len(data))
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO:
			s.hideDevice(data, 0)
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO:
			s.hideDevice(data, 16)
		}
		words = append(words, fmt.Sprintf("%d/%d=%x", m.Header.Level, m.Header.Type, data))
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}

// hideDevice makes the index of the device that data has at an offset 1, as if
// each side had numbered it so.
func (s *Side) hideDevice(data []byte, at int) {
	if len(data) >= at+4 && binary.NativeEndian.Uint32(data[at:]) == s.device {
		binary.NativeEndian.PutUint32(data[at:], 1)
	}
}

func makeSend(s *Side, a *arguments) string {
	fd, b := a.fd(), a.data()
	n, err := s.Send(fd, b, a.number(flags))
	return outcome(err, "%d", n)
}

func makeSendto(s *Side, a *arguments) string {
	fd, b, how := a.fd(), a.data(), a.number(flags)
	n, err := s.Sendto(fd, b, how, a.addr())
	return outcome(err, "%d", n)
}

func makeSendmsg(s *Side, a *arguments) string {
	fd, b, oob, to := a.fd(), a.data(), a.control(), a.addr()
	n, err := s.Sendmsg(fd, [][]byte{b}, oob, to, a.number(flags))
	return outcome(err, "%d", n)
}

// control returns the control message of the next word: level/type=bytes, or -.
func (a *arguments) control() []byte {
	word := a.next()
	if word == "-" {
		return nil
	}
	var level, typ int
	head, digits, _ := strings.Cut(word, "=")
	if _, err := fmt.Sscanf(head, "%d/%d", &level, &typ); err != nil {
		a.fail(fmt.Errorf("%q is no control message", word))
		return nil
	}
	data, err := hex.DecodeString(digits)
	if err != nil {
		a.fail(err)
		return nil
	}
	oob := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(oob, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(oob[8:], uint32(level))
	binary.NativeEndian.PutUint32(oob[12:], uint32(typ))
	copy(oob[unix.SizeofCmsghdr:], data)
	return oob
}

func makeDup(s *Side, a *arguments) string {
	fd := a.fd()
	n, err := s.Dup(fd)
	if err != nil {
		n = -1
	}
	a.define(n, a.kind(fd))
	return outcome(err, "fd %d", n)
}

func makeDup3(s *Side, a *arguments) string {
	fd, to := a.fd(), a.fd()
	return outcome(s.Dup3(fd, to, a.number(commands)), "ok")
}

func makeFcntl(s *Side, a *arguments) string {
	fd, command := a.fd(), a.number(commands)
	n, err := s.Fcntl(fd, command, a.number(commands))
	return outcome(err, "%#x", n)
}

func makeFdup(s *Side, a *arguments) string {
	fd := a.fd()
	n, err := s.Fcntl(fd, unix.F_DUPFD, a.number(nil))
	if err != nil {
		n = -1
	}
	a.define(n, a.kind(fd))
	return outcome(err, "fd %d", n)
}

func makeIoctl(s *Side, a *arguments) string {
	fd, request := a.fd(), a.number(requests)
	n, err := s.Ioctl(fd, uint(request))
	return outcome(err, "%d", n)
}

func makePoll(s *Side, a *arguments) string {
	var fds []unix.PollFd
	var names []string
	for a.more() {
		name, asked, _ := strings.Cut(a.next(), ":")
		n, err := events.number(asked)
		if err != nil {
			a.fail(err)
		}
		fds = append(fds, unix.PollFd{Fd: int32(a.descriptor(name)), Events: int16(n)})
		names = append(names, name)
	}
	n, err := s.Poll(fds, 0)
	words := fmt.Sprint(n)
	for i, name := range names {
		words += fmt.Sprintf(" %s:%s", name, events.words(int(uint16(fds[i].Revents))))
	}
	return outcome(err, "%s", words)
}

func makeSelect(s *Side, a *arguments) string {
	var sets [3]*unix.FdSet
	var names [3][]string
	top := 0
	for i := range sets {
		names[i] = a.list()
		if names[i] == nil {
			continue
		}
		sets[i] = new(unix.FdSet)
		for _, name := range names[i] {
			fd := a.descriptor(name)
			if fd < 0 || fd >= tableSize {
				continue // no set can hold it
			}
			sets[i].Set(fd)
			top = max(top, fd+1)
		}
	}
	n, err := s.Select(top, sets[0], sets[1], sets[2], &unix.Timeval{})
	words := fmt.Sprint(n)
	for i, label := range []string{"read", "write", "except"} {
		var in []string
		for _, name := range names[i] {
			if fd := a.descriptor(name); fd >= 0 && fd < tableSize && sets[i].IsSet(fd) {
				in = append(in, name)
			}
		}
		if names[i] != nil {
			words += fmt.Sprintf(" %s %s", label, strings.Join(append(in, "-")[:max(1, len(in))], ","))
		}
	}
	return outcome(err, "%s", words)
}

func makeEpoll(s *Side, a *arguments) string {
	fd, err := s.EpollCreate1(a.number(commands))
	if err != nil {
		fd = -1
	}
	a.define(fd, "epoll")
	return outcome(err, "fd %d", fd)
}

func makeEpollCtl(s *Side, a *arguments) string {
	epfd, op, name := a.fd(), a.number(epollOps), a.next()
	fd := a.descriptor(name)
	event := &unix.EpollEvent{Events: uint32(a.number(events)), Fd: int32(len(a.p.registered))}
	a.p.registered[event.Fd] = name
	return outcome(s.EpollCtl(epfd, op, fd, event), "ok")
}

func makeEpollWait(s *Side, a *arguments) string {
	epfd := a.fd()
	found := make([]unix.EpollEvent, min(max(0, a.number(nil)), tableSize))
	n, err := s.EpollWait(epfd, found, 0)
	words := fmt.Sprint(n)
	for _, e := range found[:max(0, n)] {
		words += fmt.Sprintf(" %s:%s", a.p.registered[e.Fd], events.words(int(e.Events)))
	}
	return outcome(err, "%s", words)
}
