//go:build cgo

package main

/*
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// The one real-time signal that the Go runtime never blocks on any thread. It
// is free with glibc; musl has it for setuid, which this program never calls.
enum { THE_SIGNAL = 34 };

// drop_here drops everything on the calling thread. It makes system calls only,
// so it may run in a signal handler.
static void drop_here(int sig, siginfo_t *info, void *context) {
	int saved = errno;
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
	if (info->si_code == SI_TKILL && info->si_pid == getpid()) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		syscall(SYS_capset, &header, none);
	}
	errno = saved;
}

// install stays in force: a signal that comes late must find a handler.
static int install(void) {
	struct sigaction action = {.sa_sigaction = drop_here, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	sigfillset(&action.sa_mask);
	return sigaction(THE_SIGNAL, &action, 0) ? errno : 0;
}

static int drop_thread(int tid) {
	return syscall(SYS_tgkill, getpid(), tid, THE_SIGNAL) && errno != ESRCH ? errno : 0;
}
*/
import "C"

import (
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// dropOnAllThreads does by a signal to each thread what syscall.AllThreadsSyscall
// refuses to do in a program that is linked with C. Threads that are born
// meanwhile are found by looking again, until none has anything left.
func dropOnAllThreads() error {
	if errno := C.install(); errno != 0 {
		return fmt.Errorf("sigaction: %w", syscall.Errno(errno))
	}
	const shortest, longest = time.Millisecond, 2 * time.Second
	for wait := shortest; ; wait *= 2 {
		left, err := privileged()
		if err != nil || len(left) == 0 {
			return err
		}
		if wait > longest {
			return nil // the caller sees who has something left
		}
		for _, thread := range left {
			tid, err := strconv.Atoi(thread)
			if err != nil {
				return err
			}
			if errno := C.drop_thread(C.int(tid)); errno != 0 {
				return fmt.Errorf("signal thread %d: %w", tid, syscall.Errno(errno))
			}
		}
		time.Sleep(wait)
	}
}
