package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
)

// The control socket speaks JSON, one request and one response per line. A
// connection may carry several.

// maxRequest bounds a request, in bytes.
const maxRequest = 64 << 10

// request is what a client asks of a running serve.
type request struct {
	// Op is "listeners", "sysctl" or "set".
	Op string `json:"op"`
	// Names are the settings that "sysctl" returns; none stands for all.
	Names []string `json:"names,omitempty"`
	// Values are the settings that "sysctl" changes first.
	Values []setting `json:"values,omitempty"`
	// Address is the listener that "set" changes.
	Address string `json:"address,omitempty"`
	// Changes are what "set" changes: backlog, policy, accept-delay and
	// accept-rate. All are applied, or none.
	Changes []setting `json:"changes,omitempty"`
}

// setting is a name and a value.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// response is the answer: an error, or what was asked for.
type response struct {
	Error string `json:"error,omitempty"`
	// Usage says that the error is a mistake of whoever asked.
	Usage     bool           `json:"usage,omitempty"`
	Device    string         `json:"device,omitempty"`
	PID       int            `json:"pid,omitempty"`
	Listeners []listenerInfo `json:"listeners,omitempty"`
	// Drops are what the stack threw away beside its listeners' rules.
	Drops   stack.Drops `json:"drops,omitzero"`
	Sysctls []setting   `json:"sysctls,omitempty"`
}

// listenerInfo is a listener at one moment.
type listenerInfo struct {
	Address     string `json:"address"`
	AcceptQueue int    `json:"accept_queue"`
	SYNQueue    int    `json:"syn_queue"`
	Backlog     int    `json:"backlog"`
	Limit       int    `json:"limit"`
	// Capacity and SYNCapacity are how many fit; -1 stands for no bound.
	Capacity    int `json:"capacity"`
	SYNCapacity int `json:"syn_capacity"`
	// Profile names the platform whose rules hold, Policy what replaces some of
	// them; "drop" replaces none.
	Profile     string           `json:"profile"`
	Policy      listenq.Overflow `json:"policy"`
	App         string           `json:"app"`
	AcceptDelay string           `json:"accept_delay,omitempty"`
	Counters    counters         `json:"counters"`
}

// counters print as an object with the kernel's names.
type counters struct{ listenq.Counters }

// MarshalJSON keeps the kernel's order.
func (c counters) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	c.Each(func(name string, value uint64) {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%d", name, value)
	})
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON ignores names that this version does not know.
func (c *counters) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &c.Counters)
}

// counterValue is one counter.
type counterValue struct {
	Name  string
	Value uint64
}

// Ticked returns the counters that are not zero.
func (i listenerInfo) Ticked() []counterValue {
	var ticked []counterValue
	i.Counters.Each(func(name string, value uint64) {
		if value > 0 {
			ticked = append(ticked, counterValue{name, value})
		}
	})
	return ticked
}

// decodeRequest reads one line. Everything in it may be hostile.
func decodeRequest(line []byte) (request, error) {
	var r request
	if len(line) > maxRequest {
		return r, fmt.Errorf("request of more than %d bytes", maxRequest)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return request{}, fmt.Errorf("request is not understood: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return request{}, errors.New("request is not understood: more than one value on a line")
	}
	switch r.Op {
	case "listeners", "sysctl", "set":
		return r, nil
	}
	return request{}, fmt.Errorf("unknown op %q: use listeners, sysctl or set", r.Op)
}

// handle answers a request.
func (s *server) handle(r request) response {
	switch r.Op {
	case "sysctl":
		return s.handleSysctl(r)
	case "set":
		return s.handleSet(r)
	}
	out := response{Device: s.device, PID: s.pid, Drops: s.stack.Drops()}
	for _, l := range s.services {
		out.Listeners = append(out.Listeners, l.info())
	}
	return out
}

func usageResponse(err error) response { return response{Error: err.Error(), Usage: true} }

// handleSysctl changes all values, or none if one is bad, and returns settings.
func (s *server) handleSysctl(r request) response {
	s.change.Lock()
	defer s.change.Unlock()
	names := r.Names
	for _, v := range r.Values {
		if err := stack.CheckSysctl(v.Name, v.Value); err != nil {
			return usageResponse(err)
		}
		names = append(names, v.Name)
	}
	for _, v := range r.Values {
		if err := s.stack.SetSysctl(v.Name, v.Value); err != nil {
			return usageResponse(err)
		}
		s.logger.Info("sysctl changed", "name", v.Name, "value", v.Value)
	}
	if len(names) == 0 {
		names = stack.SysctlNames()
	}
	var out response
	for _, name := range names {
		value, err := s.stack.Sysctl(name)
		if err != nil {
			return usageResponse(err)
		}
		out.Sysctls = append(out.Sysctls, setting{name, value})
	}
	return out
}

// handleSet changes a listener.
func (s *server) handleSet(r request) response {
	s.change.Lock()
	defer s.change.Unlock()
	l, err := s.find(r.Address)
	if err != nil {
		return response{Error: err.Error()}
	}
	if len(r.Changes) == 0 {
		return usageResponse(errors.New("nothing to change: give backlog=N, policy=NAME, accept-delay=DURATION or accept-rate=N"))
	}
	stats := l.l.Stats()
	spec := listenSpec{backlog: stats.Backlog, policy: stats.Overflow, pace: l.listener.pace()}
	relisten := false
	for _, c := range r.Changes {
		if c.Name == "app" || c.Name == "profile" {
			return usageResponse(fmt.Errorf("the %s of a listener cannot change while it runs: start another --listen", c.Name))
		}
		if err := spec.setRunning(c.Name, c.Value); err != nil {
			return usageResponse(err)
		}
		relisten = relisten || c.Name == "backlog"
	}
	if relisten {
		err := l.l.Listen(spec.backlog)
		if errors.Is(err, syscall.EINVAL) {
			return usageResponse(fmt.Errorf("backlog %d: %w: profile %s refuses it", spec.backlog, errnoIn(err), stats.Profile))
		}
		if err != nil {
			return response{Error: err.Error()}
		}
	}
	l.l.SetOverflow(spec.policy)
	l.listener.setPace(spec.pace)
	info := l.info()
	s.logger.Info("listener changed", "listener", info.Address, "backlog", info.Backlog, "limit", info.Limit, "policy", info.Policy)
	return response{Listeners: []listenerInfo{info}}
}

// find returns the listener with an address, written in any way.
func (s *server) find(address string) (*service, error) {
	want, err := parseListenAddress(address)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, l := range s.services {
		if l.addr == want {
			return l, nil
		}
		known = append(known, l.address())
	}
	return nil, fmt.Errorf("no listener on %s: there is %s", showAddress(want), join(known))
}
