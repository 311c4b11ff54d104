package listenq

import (
	"fmt"
	"net/netip"
)

// A Flow names one connection attempt: the four addresses and ports, local side
// first. It is comparable and holds no pointer. IPv4 addresses are kept in their
// IPv6-mapped form; zones are not kept.
type Flow struct {
	local, remote         [16]byte
	localPort, remotePort uint16
}

// NewFlow returns the flow between two endpoints.
func NewFlow(local, remote netip.AddrPort) Flow {
	return Flow{
		local:      local.Addr().As16(),
		remote:     remote.Addr().As16(),
		localPort:  local.Port(),
		remotePort: remote.Port(),
	}
}

// Local returns the listening side of the flow.
func (f Flow) Local() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(f.local).Unmap(), f.localPort)
}

// Remote returns the client's side of the flow.
func (f Flow) Remote() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(f.remote).Unmap(), f.remotePort)
}

// Is4 reports whether the flow is between IPv4 addresses.
func (f Flow) Is4() bool { return netip.AddrFrom16(f.remote).Is4In6() }

// String returns the flow as "local<-remote".
func (f Flow) String() string { return fmt.Sprintf("%v<-%v", f.Local(), f.Remote()) }
