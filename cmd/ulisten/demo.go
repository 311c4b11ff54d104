package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/stack"
	"github.com/ulisten/ulisten/tun"
)

// demoCmd is `ulisten demo`.
type demoCmd struct {
	Profile *profileFlag `placeholder:"NAME|FILE" help:"Show this platform's own rules, or a profile file's, in place of the policies on Linux."`
	JSON    bool         `name:"json" help:"Print the tables as JSON."`
	Link    string       `enum:"auto,tun,memory" default:"auto" help:"What the clients come through: a TUN device in a new network namespace, or a link in memory. With auto it is the TUN where the machine has one (auto, tun, memory)."`
}

// Example opens the help.
func (*demoCmd) Example() string {
	return `ulisten demo
ulisten demo --profile freebsd
ulisten demo --json | jq '.policies[].clients[].fate'`
}

// The demo: demoClients clients connect at once to a listener with backlog
// demoBacklog, over a link with a round trip of demoRoundTrip. The application
// accepts one connection after demoFirstAccept and is then busy until all
// clients know whether they are connected.
//
// Three requests fit the SYN queue and three connections the accept queue. Of
// eight SYNs at once, three get in and their final ACKs fill the accept queue;
// five find the SYN queue full. The one accept makes room for one, so that of
// the five SYNs that are repeated a second later, three get in and two do not;
// of those three, one final ACK finds room and two do not. This needs no luck:
// the first SYNs must all arrive within one round trip, and the accept must come
// after that and before the second second.
const (
	demoBacklog     = 2
	demoClients     = 8
	demoRoundTrip   = 200 * time.Millisecond
	demoFirstAccept = 500 * time.Millisecond
	demoBusy        = 2 * time.Second // at least
	demoSYNRetries  = 1               // TCP_SYNCNT of the clients
	demoDeadline    = 18 * time.Second
)

// demoPolicy is one way to treat overflow.
type demoPolicy struct {
	name       string
	profile    *listenq.Profile // linux-6 if nil
	overflow   listenq.Overflow
	syncookies int
	does       string
}

var demoPolicies = []demoPolicy{
	{
		name: "drop",
		does: "what finds a queue full is ignored",
	},
	{
		name:     "reset",
		overflow: listenq.Overflow{ResetSYN: true},
		does:     "a SYN that finds a queue full is answered by RST",
	},
	{
		name:     "abort",
		overflow: listenq.Overflow{ResetFinalACK: true},
		does:     "a final ACK that finds the accept queue full is answered by RST",
	},
	{
		name:       "drop+cookies",
		syncookies: 1,
		does:       "as drop, but a full SYN queue answers with SYN cookies",
	},
}

// Run makes a namespace, and in it runs all policies side by side.
func (d *demoCmd) Run(c *console) error {
	var why error
	if d.Link != "memory" && !inside() {
		code, err := inNamespace()
		switch {
		case err == nil && code == 0:
			return nil
		case err == nil:
			return exitError(code)
		}
		why = err
		if d.Link == "tun" {
			return why
		}
	}
	policies := demoPolicies
	if d.Profile != nil {
		p := d.Profile.Profile
		policies = []demoPolicy{{name: p.Name, profile: p, does: "the rules of " + p.Title}}
	}
	links := make([]*demoLink, len(policies))
	kind := "memory"
	if d.Link != "memory" && why == nil {
		if why = openTUNs(links); why == nil {
			kind = "tun"
		} else if d.Link == "tun" {
			return why
		}
	}
	if kind == "memory" {
		if why != nil {
			fmt.Fprintf(c.err, "no TUN here, so the clients are a second userspace stack on a link in memory: %s\n", oneLine(why))
		}
		if err := openPipes(links); err != nil {
			return err
		}
	}

	fmt.Fprintf(c.err, "%d clients connect at once to a listener with backlog %d; round trip %v; the application accepts one after %v and is then busy\n",
		demoClients, demoBacklog, demoRoundTrip, demoFirstAccept)
	progress := newProgress(c.err)
	runs := make([]*demoRun, len(policies))
	errs := make([]error, len(policies))
	var group sync.WaitGroup
	for i, p := range policies {
		runs[i] = newDemoRun(p, links[i], progress)
		group.Go(func() { errs[i] = runs[i].run() })
	}
	group.Wait()
	progress.close()
	if err := errors.Join(errs...); err != nil {
		return err
	}

	report := demoReport{Link: kind, Backlog: demoBacklog, RoundTrip: demoRoundTrip.Seconds()}
	for _, r := range runs {
		report.Policies = append(report.Policies, r.table())
	}
	if d.JSON {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	_, err := report.WriteTo(c.out)
	return err
}

// demoLink is a stack's link and the clients on its far side.
type demoLink struct {
	gstack.LinkEndpoint
	address netip.Prefix // the stack's
	clients demoDialer
}

// openTUNs makes a device for each policy.
func openTUNs(links []*demoLink) error {
	for i := range links {
		host := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(4*i + 1)}), 30)
		device, err := tun.Open(tun.Config{Name: "ulisten%d", HostAddresses: []netip.Prefix{host}})
		if err != nil {
			for _, l := range links[:i] {
				l.Close()
			}
			return err
		}
		links[i] = &demoLink{
			LinkEndpoint: device,
			address:      netip.PrefixFrom(host.Addr().Next(), host.Bits()),
			clients:      kernelDialer{synRetries: demoSYNRetries},
		}
	}
	return nil
}

// openPipes makes a link in memory, with a second stack at its far end, for each
// policy.
func openPipes(links []*demoLink) error {
	for i := range links {
		near, far := tun.Pipe(tun.PipeConfig{})
		host := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(4*i + 1)}), 30)
		clients, err := stack.New(stack.Config{Link: far, Addresses: []netip.Prefix{host}})
		if err != nil {
			near.Close()
			for _, l := range links[:i] {
				l.Close()
				l.clients.Close()
			}
			return err
		}
		links[i] = &demoLink{
			LinkEndpoint: near,
			address:      netip.PrefixFrom(host.Addr().Next(), host.Bits()),
			clients:      stackDialer{clients},
		}
	}
	return nil
}

// demoEnd is the end of everything that the demo waits for.
func demoEnd(start time.Time) time.Time { return start.Add(demoDeadline) }

// errStalled says that the machine did not keep up.
func errStalled(what string) error {
	return fmt.Errorf("%s did not happen within %v: is the machine overloaded? try again: %w", what, demoDeadline, os.ErrDeadlineExceeded)
}
