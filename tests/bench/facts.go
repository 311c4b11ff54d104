//go:build linux

package main

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// facts describe the machine and the programs that gave the figures.
type facts struct {
	Date   string `json:"date"`
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Go     string `json:"go"`
	GVisor string `json:"gvisor"`
	Commit string `json:"commit"`

	// OthersUsed is how many cores other programs kept busy meanwhile.
	OthersUsed float64 `json:"others_used"`
}

func machineFacts() facts {
	return facts{
		Date:   time.Now().UTC().Format("2006-01-02 15:04 MST"),
		Kernel: kernelRelease(),
		CPU:    cpuModel(),
		Cores:  runtime.NumCPU(),
		Go:     runtime.Version(),
		GVisor: moduleVersion("gvisor.dev/gvisor"),
		Commit: commit(),
	}
}

const unknown = "unknown"

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return unknown
	}
	return unix.ByteSliceToString(u.Release[:])
}

// cpuModel returns the vendor's name of the processor, which virtual machines
// may hide.
func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return unknown
	}
	described := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		key = strings.TrimSpace(key)
		if _, seen := described[key]; !seen {
			described[key] = strings.TrimSpace(value)
		}
	}
	if name := described["model name"]; name != "" && name != unknown {
		return name
	}
	return strings.TrimSpace(strings.Join([]string{
		described["vendor_id"], "family", described["cpu family"], "model", described["model"],
	}, " "))
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return unknown
}

// commit names the checkout in the working directory, with a mark if it has
// changes.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return unknown
	}
	return strings.TrimSpace(string(out))
}
