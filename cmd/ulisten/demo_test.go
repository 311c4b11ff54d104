package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

// fates is what each policy does to the eight clients, in every run.
var fates = map[string]map[string]int{
	"drop":         {"connected at once": 3, "connected after 1 SYN retransmission": 3, "timed out": 2},
	"reset":        {"connected at once": 3, "ECONNREFUSED": 5},
	"abort":        {"connected at once": 3, "connected after 1 SYN retransmission": 1, "ECONNRESET": 2, "timed out": 2},
	"drop+cookies": {"connected at once": 8},
}

func TestDemoShowsAllFates(t *testing.T) {
	for _, tc := range []struct {
		name, link string
		args       []string
		run        func(*exec.Cmd) error
		needsTUN   bool
	}{
		{name: "root", link: "tun", run: (*exec.Cmd).Run, needsTUN: true},
		{name: "plain user", link: "tun", run: netlab.AsPlainUser, needsTUN: true},
		{name: "memory", link: "memory", args: []string{"--link", "memory"}, run: (*exec.Cmd).Run},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.needsTUN {
				netlab.RequireTUN(t)
			}
			t.Parallel()
			var out, progress bytes.Buffer
			cmd := program(append([]string{"demo", "--json"}, tc.args...)...)
			cmd.Stdout, cmd.Stderr = &out, &progress
			start := time.Now()
			require.NoError(t, tc.run(cmd), progress.String())
			require.Less(t, time.Since(start), 20*time.Second)

			var report demoReport
			require.NoError(t, json.Unmarshal(out.Bytes(), &report), out.String())
			require.Equal(t, tc.link, report.Link, progress.String())
			require.Len(t, report.Policies, len(fates))
			for _, p := range report.Policies {
				got := map[string]int{}
				for _, c := range p.Clients {
					got[c.Fate]++
				}
				require.Equal(t, fates[p.Policy], got, "%s\n%s", p.Policy, progress.String())
				require.Equal(t, 3, p.SYNQueue.Capacity)
				require.Equal(t, 3, p.SYNQueue.Most, p.Policy)
				require.Equal(t, 3, p.Accept.Most, p.Policy)
				require.NotZero(t, p.Counters["PassiveOpens"], p.Policy)
				require.Contains(t, p.Ladder, "queue full", p.Policy)
			}
			for _, c := range report.Policies[2].Clients {
				if c.Fate == "ECONNRESET" {
					require.NotNil(t, c.Reset, "connect() had succeeded")
					require.Greater(t, *c.Reset, c.Connect)
				}
			}
			require.Contains(t, progress.String(), "accept() takes")
		})
	}
}

// Another platform's rules do to the same clients what that platform does.
func TestDemoUnderAProfile(t *testing.T) {
	for profile, fates := range map[string]map[string]int{
		"windows": {"connected at once": 2, "ECONNREFUSED": 6},
		"freebsd": {"connected at once": 4, "ECONNRESET": 4},
		"macos":   {"connected at once": 2, "ECONNRESET": 6},
		"illumos": {"connected at once": 8},
	} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := outcome(t, "demo", "--link", "memory", "--json", "--profile", profile)
			require.Zero(t, code, stderr)
			var report demoReport
			require.NoError(t, json.Unmarshal([]byte(stdout), &report))
			require.Len(t, report.Policies, 1)
			require.Equal(t, profile, report.Policies[0].Profile)
			got := map[string]int{}
			for _, c := range report.Policies[0].Clients {
				got[c.Fate]++
			}
			require.Equal(t, fates, got, stderr)
		})
	}
}

func TestDemoPrintsTablesAndLadders(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := outcome(t, "demo", "--link", "memory")
	require.Zero(t, code, stderr)
	for policy := range fates {
		require.Contains(t, "\n"+stdout, "\n"+policy+": ", "a table per policy")
	}
	require.Contains(t, stdout, "CLIENT   FATE")
	require.Contains(t, stdout, "queues at the end: SYN 0/3, accept 0/3; at most 3 and 3\n")
	require.Contains(t, stdout, "counters: ListenOverflows=")
	require.Contains(t, stdout, "client               listener  synq  acceptq\n")
	require.Contains(t, stdout, "|---- SYN -------------->x       3      0/3   ignored: SYN queue full\n")
	for line := range strings.Lines(stdout) {
		require.Equal(t, strings.TrimRight(line, " \n")+"\n", line, "no blanks at the end")
	}
}

// A machine without TUN still gets the demo, and is told in one line.
func TestDemoWithoutTUN(t *testing.T) {
	netlab.RequireNamespace(t)
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip(err)
	}
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs none /dev/net && exec "$0" demo --json`, self)
	cmd.Env = program().Env
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	require.NoError(t, cmd.Run(), progress.String())
	first, _, _ := strings.Cut(progress.String(), "\n")
	require.Regexp(t, `^no TUN here, so the clients are a second userspace stack on a link in memory: .*/dev/net/tun does not exist`, first)
	var report demoReport
	require.NoError(t, json.Unmarshal(out.Bytes(), &report))
	require.Equal(t, "memory", report.Link)
}

func TestDemoIsInterrupted(t *testing.T) {
	t.Parallel()
	cmd := program("demo")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = stderr.Read(make([]byte, 1)) // it has begun
	require.NoError(t, err)
	start := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	err = cmd.Wait()
	require.Less(t, time.Since(start), 3*time.Second)
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "it does not claim success: %v", err)
}
