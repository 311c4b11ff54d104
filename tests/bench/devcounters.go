//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
)

// deviceCounters are those of a network device of the kernel, in packets. On a
// TUN, taken grows when the process behind it reads a packet.
type deviceCounters struct{ taken, lost, back int }

func (c deviceCounters) since(before deviceCounters) deviceCounters {
	return deviceCounters{taken: c.taken - before.taken, lost: c.lost - before.lost, back: c.back - before.back}
}

// counterFile reads the counters of one device. It costs a tenth of asking
// through netlink, and flow control asks often.
type counterFile struct {
	file   *os.File
	device string
	buf    []byte
}

// openCounters finds the device that leads to the server.
func openCounters() (*counterFile, error) {
	routes, err := netlink.RouteGet(serverAddr.AsSlice())
	if err != nil {
		return nil, fmt.Errorf("route to %v: %w", serverAddr, err)
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return nil, fmt.Errorf("device %d: %w", routes[0].LinkIndex, err)
	}
	f, err := os.Open("/proc/self/net/dev")
	if err != nil {
		return nil, err
	}
	return &counterFile{file: f, device: link.Attrs().Name, buf: make([]byte, 4096)}, nil
}

func (c *counterFile) read() (deviceCounters, error) {
	n, err := c.file.ReadAt(c.buf, 0)
	if n == 0 {
		return deviceCounters{}, err
	}
	return parseCounters(c.buf[:n], c.device)
}

// parseCounters finds a device in the text of /proc/net/dev, whose columns are
// fixed since Linux 2.2.
func parseCounters(text []byte, device string) (deviceCounters, error) {
	// Counted after the name.
	const backColumn, takenColumn, lostColumn, columns = 1, 9, 11, 16
	for line := range bytes.Lines(text) {
		name, rest, found := bytes.Cut(line, []byte(":"))
		if !found || string(bytes.TrimSpace(name)) != device {
			continue
		}
		fields := bytes.Fields(rest)
		if len(fields) < columns {
			break
		}
		var c deviceCounters
		for column, to := range map[int]*int{takenColumn: &c.taken, lostColumn: &c.lost, backColumn: &c.back} {
			var err error
			if *to, err = strconv.Atoi(string(fields[column])); err != nil {
				return c, err
			}
		}
		return c, nil
	}
	return deviceCounters{}, fmt.Errorf("no counters of %s in %q", device, text)
}
