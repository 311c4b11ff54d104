package stack

import "net/netip"

// PeerName is getpeername(2). Unlike RemoteAddr it fails once the connection is
// over, with ENOTCONN.
func (c *Conn) PeerName() (netip.AddrPort, error) {
	a, err := c.ep.GetRemoteAddress()
	if err != nil {
		return netip.AddrPort{}, opError("getpeername", "tcp", c.local, c.remote, "getpeername", err)
	}
	return netip.AddrPortFrom(fromAddress(a.Addr), a.Port), nil
}
