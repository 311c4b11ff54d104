//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/ulisten/ulisten/tests/netlab"
)

// trialSetup is what all trials have in common.
type trialSetup struct {
	seconds    time.Duration // how long to measure where time is the limit
	floodSize  int           // how many SYNs to inject where that is the limit
	fetchSize  uint64        // how many bytes to fetch where that is the limit
	profileDir string        // for CPU profiles of servers, or empty
}

// actors are the two processes of a trial.
type actors struct {
	client, server *process
}

// values are the results of one trial, by metric name. What a contestant
// cannot tell is missing.
type values map[string]float64

// trial measures one contestant once, in namespaces of its own.
func trial(m measurement, c contestant, round int, setup trialSetup) (v values, err error) {
	clientNS, err := netlab.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, clientNS.Close()) }()
	serverNS := clientNS
	if c.network == overVeth || m.path != nil {
		if serverNS, err = netlab.Open(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, serverNS.Close()) }()
	}
	if err := prepareNetwork(clientNS, serverNS); err != nil {
		return nil, err
	}
	if m.path != nil {
		impairment := *m.path
		impairment.Seed = uint64(round)
		p, err := newPath(clientNS, serverNS, c, impairment)
		if err != nil {
			return nil, err
		}
		defer p.close()
	} else if err := joinNetwork(clientNS, serverNS); err != nil {
		return nil, err
	}

	profile := ""
	if setup.profileDir != "" {
		profile = filepath.Join(setup.profileDir, fmt.Sprintf("%s-%s.pprof", c.name, m.name))
	}
	var a actors
	a.server, err = startProcess(serverNS, "server", c.program, assignment{
		Contestant: c.role(),
		Service:    m.service,
		Backlog:    m.backlog,
		Profile:    profile,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.server.quit()) }()
	a.client, err = startProcess(clientNS, "client", "", assignment{Workload: m.workload, Workers: m.workers})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.client.quit()) }()

	v, err = m.measure(a, setup)
	if err != nil {
		return nil, err
	}
	if c.network == overVeth {
		// Most of a kernel's work is charged to nobody, see the package
		// comment, and its memory is not on the heap.
		delete(v, cpuPerUnit)
		delete(v, heapPerUnit)
	}
	return v, nil
}

// prepareNetwork makes ready what does not depend on the TUN device that a
// server may open later.
func prepareNetwork(client, server *netlab.Namespace) error {
	settings := []struct {
		n           *netlab.Namespace
		name, value string
	}{
		{client, "net.ipv6.conf.default.disable_ipv6", "1"}, // no stray packets in the counters
		{client, "net.ipv4.ip_local_port_range", "1024 65535"},
		{server, "net.ipv6.conf.default.disable_ipv6", "1"},
		{server, "net.core.somaxconn", fmt.Sprint(hugeBacklog)},
		{server, "net.ipv4.tcp_syncookies", "0"},
		{server, "net.ipv4.tcp_max_syn_backlog", fmt.Sprint(hugeBacklog)},
	}
	for _, s := range settings {
		if err := s.n.SetSysctl(s.name, s.value); err != nil {
			return err
		}
	}
	return client.OwnRange(clientPool)
}

// joinNetwork lays a veth pair between two namespaces that differ.
func joinNetwork(client, server *netlab.Namespace) error {
	if server == client {
		return nil
	}
	if err := netlab.Join(client, server, clientNet, netip.PrefixFrom(serverAddr, clientNet.Bits())); err != nil {
		return err
	}
	for _, far := range []netip.Prefix{clientPool, spoofPool} {
		if err := server.AddRoute(netlab.VethName, far, clientAddr); err != nil {
			return err
		}
	}
	return nil
}
