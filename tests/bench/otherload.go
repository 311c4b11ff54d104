//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// otherLoad watches how much of the machine belongs to others while bench runs.
// Figures from a busy machine compare badly.
type otherLoad struct {
	began     time.Time
	busy, own time.Duration
}

func watchOthers() otherLoad {
	return otherLoad{began: time.Now(), busy: machineBusy(), own: ownTime()}
}

// cores returns the average since the watch began, as a number of cores. What
// the hypervisor gave to other guests counts.
func (o otherLoad) cores() float64 {
	others := (machineBusy() - o.busy) - (ownTime() - o.own)
	return max(0, others.Seconds()/time.Since(o.began).Seconds())
}

// machineBusy returns the CPU time of the whole machine since it started, or
// nothing if it cannot be had.
func machineBusy() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return parseBusy(string(b))
}

// parseBusy adds up the first line of /proc/stat, see proc_stat(5).
func parseBusy(text string) time.Duration {
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	line, _, _ := strings.Cut(text, "\n")
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d",
		&user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return 0
	}
	const tick = time.Second / 100 // USER_HZ
	return time.Duration(user+nice+system+irq+softirq+steal) * tick
}

// ownTime returns the CPU time of this process and of all processes that it has
// waited for.
func ownTime() time.Duration {
	return cpuTime(syscall.RUSAGE_SELF) + cpuTime(syscall.RUSAGE_CHILDREN)
}
