//go:build linux

package syscalls

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ulisten/ulisten/stack/socket"
)

// agreedPorts is how many ports a script can name: p1 and so on.
const agreedPorts = 8

// An addresses turns the words of scripts into addresses of a side, and back.
type addresses struct {
	// base is the port before p1.
	base int
	// ports and autos are the names of what the side has chosen.
	ports map[int]string
	autos map[string]string
}

// parse returns the address that a word stands for; nil is none.
func (a *addresses) parse(word string) (unix.Sockaddr, error) {
	switch {
	case word == "nil":
		return nil, nil
	case word == "unspec":
		return socket.SockaddrUnspec{}, nil
	case word == "unnamed":
		return &unix.SockaddrUnix{}, nil
	case strings.HasPrefix(word, "/"):
		return &unix.SockaddrUnix{Name: word[1:]}, nil
	case strings.HasPrefix(word, "abstract:"):
		return &unix.SockaddrUnix{Name: "@" + strings.TrimPrefix(word, "abstract:")}, nil
	}
	colon := strings.LastIndexByte(word, ':')
	if colon < 0 {
		return nil, fmt.Errorf("%q is no address", word)
	}
	host, err := netip.ParseAddr(strings.Trim(word[:colon], "[]"))
	if err != nil {
		return nil, fmt.Errorf("%q is no address: %w", word, err)
	}
	var port int
	digits, agreed := strings.CutPrefix(word[colon+1:], "p")
	if _, err := fmt.Sscan(digits, &port); err != nil || port < 0 || port > 65535 {
		return nil, fmt.Errorf("%q is no address: no port", word)
	}
	if agreed {
		if port < 1 || port > agreedPorts {
			return nil, fmt.Errorf("%q: there are p1 to p%d", word, agreedPorts)
		}
		port += a.base
	}
	if host.Is4() {
		return &unix.SockaddrInet4{Addr: host.As4(), Port: port}, nil
	}
	return &unix.SockaddrInet6{Addr: host.As16(), Port: port}, nil
}

// word returns the word for an address.
func (a *addresses) word(addr unix.Sockaddr) string {
	switch s := addr.(type) {
	case nil:
		return "nil"
	case *unix.SockaddrInet4:
		return fmt.Sprintf("%v:%s", netip.AddrFrom4(s.Addr), a.port(s.Port))
	case *unix.SockaddrInet6:
		host := netip.AddrFrom16(s.Addr).String()
		if s.ZoneId != 0 {
			host += fmt.Sprint("%", s.ZoneId)
		}
		return fmt.Sprintf("[%s]:%s", host, a.port(s.Port))
	case *unix.SockaddrUnix:
		switch {
		case s.Name == "", s.Name == "@":
			return "unnamed"
		case s.Name[0] == '@':
			return "abstract:" + a.auto(s.Name[1:])
		}
		return "/" + s.Name
	}
	return fmt.Sprintf("%T", addr)
}

func (a *addresses) port(port int) string {
	switch {
	case port == 0:
		return "0"
	case port > a.base && port <= a.base+agreedPorts:
		return fmt.Sprint("p", port-a.base)
	}
	if a.ports[port] == "" {
		a.ports[port] = fmt.Sprint("e", len(a.ports)+1)
	}
	return a.ports[port]
}

// auto returns the word for an abstract name; those that bind makes up are five
// hexadecimal digits (unix(7)).
func (a *addresses) auto(name string) string {
	if len(name) != 5 || strings.Trim(name, "0123456789abcdef") != "" {
		return name
	}
	if a.autos[name] == "" {
		a.autos[name] = fmt.Sprint("auto", len(a.autos)+1)
	}
	return a.autos[name]
}
