//go:build linux

package ingress

import (
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A difference is one that stays, with what a stack answers; docs/established.md
// says why.
type difference struct {
	question *regexp.Regexp
	stack    []string
}

func differ(question string, stack ...string) difference {
	return difference{regexp.MustCompile("^(" + question + ")$"), stack}
}

var differences = []difference{
	// Stricter than Linux, as RFC 1122 (3.2.1.3) and RFC 4291 (2.5.2, 2.5.5.2) ask.
	differ("from 192.0.2.255, .*"),
	differ("from ::, (plain|long) SYN|from ::, SYN to a closed port"),
	differ("from ::ffff:192.0.2.(1|77), (datagram|datagram to a closed port|echo request|SYN to a closed port)"),
	differ("hop-by-hop options router alert twice, .*"),
	differ("destination options router alert, length, .*"),
	// ECN is never offered.
	differ("TCP ECN, IPv4", "TCP  S  A    192.0.2.1 > 192.0.2.77"),
	differ("TCP ECN, IPv6", "TCP  S  A    2001:db8::1 > 2001:db8::77"),
	// Groups: netstack joins that of its address also where there are no neighbours.
	differ("to ff02::1:ff00:1, datagram", "UDP 10 bytes from 2001:db8::77"),
	differ("to ff02::1:ff00:1, echo request", "ICMPv6 129/0 2001:db8::1 > 2001:db8::77"),
	differ("to 224.0.0.1, datagram", "UDP 10 bytes from 192.0.2.77"),
	// Reports that are sent, or not, or point elsewhere.
	differ("from 2001:db8::, datagram to a closed port", "ICMPv6 1/4 2001:db8::1 > 2001:db8::"),
	differ("option source route with pointer 3, .*"),
	differ("option source route of length 2, .*", "ICMP 12/0 at 22 192.0.2.1 > 192.0.2.77"),
	differ("jumbo to 2001:db8::9"),
	// Not there.
	differ("ICMP type 13"),
	// What no sender sends.
	differ("UDP length 0, IPv6"),
	differ(`fragments6 too many pads and SYN \[40\]`, "TCP  S  A    2001:db8::1 > 2001:db8::77"),
	differ("fragments6 without payload", "UDP 100 bytes from 2001:db8::77"),
}

// Whatever comes in, the stack answers what the kernel answers, but for the
// differences; and those are there.
func TestAnswersAsTheKernel(t *testing.T) {
	kernel, own := newKernel(t), newStack(t, 1)
	unlimited(kernel)
	unlimited(own)
	seen := make(map[string]bool)
	for _, q := range questions() {
		require.False(t, seen[q.name], "asked twice: %s", q.name)
		seen[q.name] = true
		want, got := kernel.answers(q.packets...), own.answers(q.packets...)
		i := slices.IndexFunc(differences, func(d difference) bool { return d.question.MatchString(q.name) })
		switch {
		case i < 0 && !slices.Equal(want, got):
			t.Errorf("%s: kernel %q, stack %q", q.name, want, got)
		case i >= 0 && slices.Equal(want, got):
			t.Errorf("%s: a difference that is none: both %q", q.name, got)
		case i >= 0 && !slices.Equal(differences[i].stack, got):
			t.Errorf("%s: kernel %q, stack %q instead of %q", q.name, want, got, differences[i].stack)
		}
	}
	for _, d := range differences {
		require.True(t, slices.ContainsFunc(questions(), func(q question) bool { return d.question.MatchString(q.name) }), "%v is never asked", d.question)
	}
}

// unlimited switches the limits of ICMP errors off.
func unlimited(h host) {
	h.set("net.ipv4.icmp_ratelimit", "0")
	h.set("net.ipv6.icmp.ratelimit", "0")
	h.set("net.ipv4.icmp_msgs_per_sec", "1000000")
	h.set("net.ipv4.icmp_msgs_burst", "1000000")
}
