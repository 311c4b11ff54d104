package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/profile"
	"github.com/ulisten/ulisten/stack"
)

// defaultBacklog is SOMAXCONN of the C library.
const defaultBacklog = 4096

// listenSpec is what --listen describes: an address and settings behind commas.
type listenSpec struct {
	address string // as given, for stack.Listen
	backlog int
	profile *listenq.Profile // nil: that of the stack
	policy  listenq.Overflow
	app     application
	pace    paceSpec
}

// profileOr is the profile in force where p is that of the stack.
func (s *listenSpec) profileOr(p *listenq.Profile) *listenq.Profile {
	if s.profile != nil {
		return s.profile
	}
	return p
}

// paceSpec is how slowly an application accepts; a negative value is not given.
type paceSpec struct {
	delay time.Duration // between two calls of accept
	rate  float64       // calls of accept per second
}

var noPace = paceSpec{delay: -1, rate: -1}

// or fills in what is not given.
func (p paceSpec) or(d paceSpec) paceSpec {
	if p.delay < 0 {
		p.delay = d.delay
	}
	if p.rate < 0 {
		p.rate = d.rate
	}
	return p
}

// interval is the time between two calls of accept: the slower of both.
func (p paceSpec) interval() time.Duration {
	d := max(p.delay, 0)
	if p.rate > 0 {
		d = max(d, time.Duration(float64(time.Second)/p.rate))
	}
	return d
}

// application is what accepts connections and what it does with them.
type application struct {
	kind   string
	target string // of forward
}

// appNames lists the applications for messages.
const appNames = "echo, discard, http, hold or forward=HOST:PORT"

func (a application) String() string {
	if a.target != "" {
		return a.kind + "=" + a.target
	}
	return a.kind
}

func parseApplication(s string) (application, error) {
	switch s {
	case "echo", "discard", "http", "hold":
		return application{kind: s}, nil
	}
	target, ok := strings.CutPrefix(s, "forward=")
	if !ok {
		return application{}, fmt.Errorf("unknown app %q: use %s", s, appNames)
	}
	host, port, err := net.SplitHostPort(target)
	if err == nil && host == "" {
		err = fmt.Errorf("the host is missing")
	}
	if err == nil {
		_, err = parsePort(port)
	}
	if err != nil {
		return application{}, fmt.Errorf("forward=%s: %w: use forward=HOST:PORT, like forward=127.0.0.1:8080", target, cause(err))
	}
	return application{kind: "forward", target: target}, nil
}

// cause is an error without the address that the message names already.
func cause(err error) error {
	if a, ok := err.(*net.AddrError); ok {
		return fmt.Errorf("%s", a.Err)
	}
	return err
}

// UnmarshalText reads ADDRESS:PORT,KEY=VALUE,...
func (s *listenSpec) UnmarshalText(text []byte) error {
	*s = listenSpec{backlog: defaultBacklog, app: application{kind: "echo"}, pace: noPace}
	address, rest, more := strings.Cut(string(text), ",")
	if _, err := parseListenAddress(address); err != nil {
		return err
	}
	s.address = strings.TrimPrefix(address, "*")
	for more {
		var item string
		item, rest, more = strings.Cut(rest, ",")
		if err := s.set(item); err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
	}
	return nil
}

// set applies one KEY=VALUE.
func (s *listenSpec) set(item string) error {
	key, value, ok := strings.Cut(item, "=")
	if !ok {
		return fmt.Errorf("%q is no setting: use KEY=VALUE with backlog, profile, policy, app, accept-delay or accept-rate", item)
	}
	var err error
	switch key {
	case "app":
		s.app, err = parseApplication(value)
	case "forward":
		s.app, err = parseApplication(item)
	case "profile":
		s.profile, err = profile.Choose(value)
	default:
		return s.setRunning(key, value)
	}
	return err
}

// setRunning applies a setting that can change while the listener runs.
func (s *listenSpec) setRunning(key, value string) (err error) {
	switch key {
	case "backlog":
		s.backlog, err = parseBacklog(value)
	case "policy":
		err = s.policy.UnmarshalText([]byte(value))
	case "accept-delay":
		s.pace.delay, err = parseDelay(value)
	case "accept-rate":
		s.pace.rate, err = parseRate(value)
	default:
		err = fmt.Errorf("unknown setting %q: use backlog, profile, policy, app, accept-delay or accept-rate", key)
	}
	return err
}

// parseBacklog reads the int of listen(2).
func parseBacklog(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("backlog %q is not a number that listen(2) takes: use a whole number from -2147483648 to 2147483647", s)
	}
	return int(n), nil
}

// maxDelay bounds what is waited for between two calls of accept.
const maxDelay = 24 * time.Hour

func parseDelay(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxDelay {
		return 0, fmt.Errorf("accept-delay %q: use a duration from 0s to 24h, like 200ms", s)
	}
	return d, nil
}

// parseRate reads accepts per second; 0 stands for no limit.
func parseRate(s string) (float64, error) {
	r, err := strconv.ParseFloat(s, 64)
	if err != nil || r != 0 && !(r >= 0.0001 && r <= 1e9) {
		return 0, fmt.Errorf("accept-rate %q: use a number of accepts per second, like 2 or 0.5; 0 is no limit", s)
	}
	return r, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q is not a number from 0 to 65535", s)
	}
	return uint16(n), nil
}

// parseListenAddress reads HOST:PORT, :PORT or *:PORT; no host, * and :: all
// stand for every address.
func parseListenAddress(s string) (netip.AddrPort, error) {
	remedy := "use ADDRESS:PORT, [V6ADDRESS]:PORT or :PORT"
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w: %s", s, cause(err), remedy)
	}
	number, err := parsePort(port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w: %s", s, err, remedy)
	}
	if host == "" || host == "*" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), number), nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("address %q: %q is not an IP address: %s", s, host, remedy)
	}
	return netip.AddrPortFrom(addr.Unmap(), number), nil
}

// showAddress prints a listener's address as ss does.
func showAddress(a netip.AddrPort) string {
	if a.Addr() == netip.IPv6Unspecified() {
		return fmt.Sprintf("*:%d", a.Port())
	}
	return a.String()
}

// addressFlag is an address with its prefix length.
type addressFlag struct{ netip.Prefix }

// UnmarshalText reads 192.0.2.2/24.
func (p *addressFlag) UnmarshalText(text []byte) error {
	var err error
	p.Prefix, err = netip.ParsePrefix(string(text))
	if err != nil || p.Addr().IsUnspecified() || p.Addr().IsMulticast() || p.Addr().Is4In6() {
		return fmt.Errorf("%q is not a unicast address with prefix length: use one like 192.0.2.2/24 or 2001:db8::2/64", text)
	}
	return nil
}

// sysctlFlag is NAME=VALUE, already checked.
type sysctlFlag struct{ Name, Value string }

// UnmarshalText reads net.core.somaxconn=4.
func (s *sysctlFlag) UnmarshalText(text []byte) error {
	var ok bool
	s.Name, s.Value, ok = strings.Cut(string(text), "=")
	s.Name, s.Value = strings.TrimSpace(s.Name), strings.TrimSpace(s.Value)
	if !ok {
		return fmt.Errorf("%q is no setting: use NAME=VALUE, like net.core.somaxconn=128", text)
	}
	return stack.CheckSysctl(s.Name, s.Value)
}
