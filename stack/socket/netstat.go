//go:build linux

package socket

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"

	"github.com/ulisten/ulisten/stack"
)

// A Program is a process with a name, for Netstat.
type Program struct {
	Name    string
	Process *Process
}

// Netstat writes the TCP listeners of the namespace as netstat -ntpl does: Recv-Q
// is how many connections wait to be accepted, and Send-Q is 0, as /proc/net/tcp
// has them (get_tcp4_sock). A listener belongs to the first program that has a
// descriptor for it; its number is that of the process's credentials.
func (ns *Namespace) Netstat(w io.Writer, programs ...Program) error {
	const head = "%-5s %6s %6s %-23s %-23s %-11s %s\n"
	const line = "%-4s  %6d %6d %-23s %-23s %-11s %s\n"
	listeners := ns.stack.Listeners()
	slices.SortFunc(listeners, func(a, b *stack.Listener) int {
		return cmp.Or(cmp.Compare(localOf(a).Port(), localOf(b).Port()), localOf(a).Addr().Compare(localOf(b).Addr()))
	})
	if _, err := fmt.Fprintf(w, "Active Internet connections (only servers)\n"+head,
		"Proto", "Recv-Q", "Send-Q", "Local Address", "Foreign Address", "State", "PID/Program name"); err != nil {
		return err
	}
	owners := owners(programs)
	for _, l := range listeners {
		local := localOf(l)
		proto, any := "tcp", netip.IPv4Unspecified()
		if local.Addr().Is6() {
			proto, any = "tcp6", netip.IPv6Unspecified()
		}
		owner := "-"
		if p, ok := owners[l]; ok {
			owner = fmt.Sprintf("%d/%s", p.Process.Credentials().Pid, p.Name)
		}
		_, err := fmt.Fprintf(w, line, proto, l.Stats().AcceptQueue, 0,
			fmt.Sprintf("%v:%d", local.Addr(), local.Port()), fmt.Sprintf("%v:*", any), "LISTEN", owner)
		if err != nil {
			return err
		}
	}
	return nil
}

func localOf(l *stack.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// owners says which program has which listener.
func owners(programs []Program) map[*stack.Listener]Program {
	all := make(map[*stack.Listener]Program)
	for _, p := range programs {
		for _, o := range p.Process.objects() {
			if t, ok := o.(*tcpSocket); ok {
				t.mu.Lock()
				if _, taken := all[t.listener]; t.listener != nil && !taken {
					all[t.listener] = p
				}
				t.mu.Unlock()
			}
		}
	}
	return all
}

// objects returns what the descriptors refer to.
func (p *Process) objects() []object {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var all []object
	for _, d := range p.table {
		if d.file != nil && d.file != reserved {
			all = append(all, d.file.object)
		}
	}
	return all
}
