package tun

import (
	"net/netip"
	"strings"
	"testing"
)

func TestConfigDefaults(t *testing.T) {
	c, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "tun%d" || c.MTU != 1500 || c.TxQueueLen != 4096 || c.Offload != OffloadAuto {
		t.Errorf("defaults: %+v", c)
	}
}

func TestConfigErrors(t *testing.T) {
	prefixes := func(s ...string) (ps []netip.Prefix) {
		for _, s := range s {
			ps = append(ps, netip.MustParsePrefix(s))
		}
		return ps
	}
	for _, tt := range []struct {
		cfg  Config
		want string // "" if valid
	}{
		{Config{Name: "a-name-15-bytes"}, ""},
		{Config{Name: "ul%d", MTU: 68, TxQueueLen: 1}, ""},
		{Config{MTU: 65520, HostAddresses: prefixes("2001:db8::1/128", "192.0.2.1/32")}, ""},
		{Config{Name: "a-name-16-bytes-"}, `"a-name-16-bytes-" has 16 bytes: use at most 15`},
		{Config{Name: "a/b"}, "white space"},
		{Config{Name: "a b"}, "white space"},
		{Config{Name: "a:b"}, "white space"},
		{Config{Name: "a\x00"}, "white space"},
		{Config{Name: "à"}, "white space"}, // 0xc3 0xa0
		{Config{Name: ".."}, "is a path"},
		{Config{Name: "a%"}, "single %d"},
		{Config{Name: "a%d%d"}, "single %d"},
		{Config{Name: "a%s"}, "single %d"},
		{Config{MTU: 67}, "MTU 67 is out of range: use 68 to 65520"},
		{Config{MTU: 65521}, "MTU 65521 is out of range"},
		{Config{MTU: -1}, "MTU -1 is out of range"},
		{Config{MTU: 1279, HostAddresses: prefixes("192.0.2.1/24")}, ""},
		{Config{MTU: 1279, HostAddresses: prefixes("2001:db8::1/64")}, "too small for IPv6 host address 2001:db8::1/64: use at least 1280"},
		{Config{TxQueueLen: -1}, "transmit queue length -1"},
		{Config{TxQueueLen: 1_000_001}, "transmit queue length 1000001"},
		{Config{Offload: 3}, "unknown offload mode 3"},
		{Config{HostAddresses: []netip.Prefix{{}}}, "not valid"},
		{Config{HostAddresses: prefixes("::ffff:192.0.2.1/120")}, "cannot be assigned"},
		{Config{HostAddresses: prefixes("0.0.0.0/8")}, "cannot be assigned"},
		{Config{HostAddresses: prefixes("ff02::1/16")}, "cannot be assigned"},
		{Config{HostAddresses: prefixes("192.0.2.1/24", "192.0.2.1/25")}, "given twice"},
	} {
		_, err := tt.cfg.withDefaults()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt.cfg, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%+v: error %v, want %q", tt.cfg, err, tt.want)
		}
	}
}
