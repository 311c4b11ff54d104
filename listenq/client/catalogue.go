package client

import (
	"time"

	"github.com/ulisten/ulisten/listenq"
)

// Profiles returns fresh copies of the built-in profiles.
func Profiles() []*Profile {
	return []*Profile{linux6(), linux5(), windows(), windows7(), macOS(), freeBSD()}
}

// ProfileNamed returns a fresh copy of a built-in profile. The error for an
// unknown name suggests the nearest one and lists all.
func ProfileNamed(name string) (*Profile, error) {
	var names []string
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, listenq.UnknownName("client profile", name, names)
}

func seconds(at ...int) []time.Duration {
	times := make([]time.Duration, len(at))
	for i, s := range at {
		times[i] = time.Duration(s) * time.Second
	}
	return times
}

const (
	linuxMeasurement = "Linux 6.18.44, 2026-11-22: connect(2) in a network namespace to an address whose " +
		"segments vanish on a veth, SYNs taken with a packet socket; "
	linuxReset = "Linux net/ipv4/tcp_input.c (tcp_rcv_synsent_state_process, tcp_reset)"
)

// linux6 is Linux since 6.5, which counts the first timeouts linearly.
func linux6() *Profile {
	return &Profile{
		Name:     "linux-6",
		Title:    "Linux 6.5 and later",
		Repeats:  seconds(1, 2, 3, 4, 5, 7, 11, 19, 35, 67),
		GiveUp:   131 * time.Second,
		Refused:  "ECONNREFUSED",
		TimedOut: "ETIMEDOUT",
		Citations: map[string]listenq.Citation{
			"repeats": {
				Verified: listenq.Measured,
				Source:   "Linux net/ipv4/tcp_timer.c (tcp_retransmit_timer, tcp_write_timeout), tcp_syn_linear_timeouts 4, tcp_syn_retries 6",
				Note: linuxMeasurement + "SYNs at 1.03, 2.06, 3.08, 4.10, 5.13, 7.14, 11.4, 19.6, 35.7 and 69.8 s. " +
					"While no more than tcp_syn_linear_timeouts timeouts have passed the timeout stays 1 s, so five are; " +
					"the others double. The timer wheel is late, never early.",
			},
			"give-up": {
				Verified: listenq.Measured,
				Source:   "Linux net/ipv4/tcp_timer.c (tcp_write_timeout): tcp_syn_retries + tcp_syn_linear_timeouts retransmissions",
				Note:     linuxMeasurement + "ETIMEDOUT after 135.3 s; nominal 67 s + 64 s.",
			},
			"reset-retries": {Verified: listenq.FromSource, Source: linuxReset, Note: "The first RST that acknowledges the SYN ends connect."},
			"reset-delay":   {Verified: listenq.FromSource, Source: linuxReset, Note: "Not used: no retries."},
			"refused":       {Verified: listenq.FromSource, Source: linuxReset, Note: "Also connect(2)."},
			"timed-out":     {Verified: listenq.Measured, Source: "Linux net/ipv4/tcp_timer.c (tcp_write_err)", Note: linuxMeasurement + "errno 110."},
		},
	}
}

// linux5 is Linux before 6.5, or with tcp_syn_linear_timeouts 0.
func linux5() *Profile {
	p := linux6()
	p.Name = "linux-5"
	p.Title = "Linux 3.7 to 6.4, or tcp_syn_linear_timeouts 0"
	p.Repeats = seconds(1, 3, 7, 15, 31, 63)
	p.GiveUp = 127 * time.Second
	p.Citations["repeats"] = listenq.Citation{
		Verified: listenq.Measured,
		Source:   "Linux Documentation/networking/ip-sysctl.rst, tcp_syn_retries 6",
		Note:     linuxMeasurement + "with tcp_syn_linear_timeouts 0, SYNs at 1.03, 3.05, 7.30, 15.5, 31.6 and 65.7 s.",
	}
	p.Citations["give-up"] = listenq.Citation{
		Verified: listenq.Measured,
		Source:   "Linux Documentation/networking/ip-sysctl.rst: 127 seconds with tcp_syn_retries 6",
		Note:     linuxMeasurement + "with tcp_syn_linear_timeouts 0: ETIMEDOUT after 131.2 s; nominal 63 s + 64 s.",
	}
	return p
}

// windows is Windows with an initial timeout of 1 s and four retransmissions.
func windows() *Profile {
	return &Profile{
		Name:         "windows",
		Title:        "Windows 10, Server 2019 and later",
		Repeats:      seconds(1, 3, 7, 15),
		GiveUp:       21 * time.Second,
		ResetRetries: 4,
		ResetDelay:   500 * time.Millisecond,
		Refused:      "WSAECONNREFUSED",
		TimedOut:     "WSAETIMEDOUT",
		Citations: map[string]listenq.Citation{
			"repeats": {
				Verified: listenq.Documented,
				Source:   "nmap issue 2113; SciQLop speasy pull request 344; Microsoft Set-NetTCPSetting (InitialRtoMs, MaxSynRetransmissions)",
				Note: "By measurements of others on Windows: initial timeout 1 s (three times an estimate of 333 ms), doubled, " +
					"four retransmissions. Which release changed from 3 s and two is not documented.",
			},
			"give-up": {
				Verified: listenq.Documented,
				Source:   "SciQLop speasy pull request 344; nmap issue 2113 (TCP_MAXRT)",
				Note: "21.0 s with MaxSynRetransmissions 4, 7.0 s with 2 and 123.0 s with 6 on hosted Windows machines: " +
					"a limit of its own, not 1 + 2 + 4 + 8 + 16 s.",
			},
			"reset-retries": {
				Verified: listenq.Documented,
				Source:   "Microsoft knowledge base 175523; BeanNetworkTester pull request 179; nmap issue 2113",
				Note: "A closed port answered every time: five SYNs, then the error after 2.0 s, as measured by others. The knowledge base " +
					"ties the number to the retransmissions of an unanswered SYN.",
			},
			"reset-delay": {
				Verified: listenq.Documented,
				Source:   "BeanNetworkTester pull request 179; MSYS2-packages issue 2355",
				Note:     "2003 ms for four repetitions; that they are evenly spaced is a guess.",
			},
			"refused":   {Verified: listenq.Documented, Source: "Microsoft Winsock connect: WSAECONNREFUSED (10061)"},
			"timed-out": {Verified: listenq.Documented, Source: "Microsoft Winsock connect: WSAETIMEDOUT (10060)"},
		},
	}
}

// windows7 is Windows with an initial timeout of 3 s and two retransmissions.
func windows7() *Profile {
	p := windows()
	p.Name = "windows-7"
	p.Title = "Windows 2000 to 8.1, Server 2000 to 2012 R2"
	p.Repeats = seconds(3, 9)
	p.ResetRetries = 2
	p.Citations["repeats"] = listenq.Citation{
		Verified: listenq.Documented,
		Source:   "Microsoft TcpInitialRTT (cc938207) and TcpMaxConnectRetransmissions",
		Note:     "3 s, doubled, two retransmissions. NT 4 and Windows 95 made three.",
	}
	p.Citations["give-up"] = listenq.Citation{
		Verified: listenq.Documented,
		Source:   "corefx pull request 8502: 21 seconds with 2 retransmits, 3 + 6 + 12",
		Note:     "Of 2016, when 3 s and two were the rule.",
	}
	p.Citations["reset-retries"] = listenq.Citation{
		Verified: listenq.Documented,
		Source:   "Microsoft knowledge base 175523: as many as TcpMaxConnectRetransmissions",
	}
	p.Citations["reset-delay"] = listenq.Citation{
		Verified: listenq.Guess,
		Source:   "Microsoft knowledge base 175523",
		Note:     "The article says that the time does not double, not how long it is; 500 ms is what later releases show.",
	}
	return p
}

const darwinKeep = "xnu bsd/netinet/tcp_timer.h (TCPTV_KEEP_INIT 75 s), net.inet.tcp.keepinit"

// macOS is XNU: ten SYNs, the first five a second apart.
func macOS() *Profile {
	return &Profile{
		Name:     "macos",
		Title:    "macOS (XNU 11417)",
		Repeats:  seconds(1, 2, 3, 4, 5, 7, 11, 19, 35, 67),
		GiveUp:   75 * time.Second,
		Refused:  "ECONNREFUSED",
		TimedOut: "ETIMEDOUT",
		Citations: map[string]listenq.Citation{
			"repeats": {
				Verified: listenq.FromSource,
				Source:   "xnu bsd/netinet/tcp_timer.c (tcp_syn_backoff 1 1 1 1 1 2 4 8 16 32 64 64 64, tcp_timers), tcp_timer.h (TCPTV_RTOBASE 1 s)",
				Note:     "Timers run in steps of 100 ms and may be late.",
			},
			"give-up": {
				Verified: listenq.FromSource,
				Source:   darwinKeep,
				Note:     "75.0 s was measured by others: SciQLop speasy pull request 344.",
			},
			"reset-retries": {Verified: listenq.FromSource, Source: "xnu bsd/netinet/tcp_input.c (tcp_input, TCPS_SYN_SENT)"},
			"reset-delay":   {Verified: listenq.FromSource, Source: "xnu bsd/netinet/tcp_input.c (tcp_input, TCPS_SYN_SENT)", Note: "Not used: no retries."},
			"refused":       {Verified: listenq.FromSource, Source: "xnu bsd/netinet/tcp_input.c (tcp_drop with ECONNREFUSED)"},
			"timed-out":     {Verified: listenq.FromSource, Source: "xnu bsd/netinet/tcp_timer.c (tcp_timers, TCPT_KEEP)"},
		},
	}
}

// freeBSD is FreeBSD since it doubles the timeout of a SYN as RFC 6298 asks.
func freeBSD() *Profile {
	return &Profile{
		Name:     "freebsd",
		Title:    "FreeBSD 14",
		Repeats:  seconds(1, 3, 7, 15, 31, 63),
		GiveUp:   75 * time.Second,
		Refused:  "ECONNREFUSED",
		TimedOut: "ETIMEDOUT",
		Citations: map[string]listenq.Citation{
			"repeats": {
				Verified: listenq.FromSource,
				Source:   "FreeBSD sys/netinet/tcp_timer.c (tcp_timer_rexmt: tcp_rexmit_initial * tcp_backoff), net.inet.tcp.rexmit_initial 1000",
				Note:     "Releases before 12.1 (number from memory) used tcp_syn_backoff as macOS does. TCP stacks other than the default one (RACK) were not read.",
			},
			"give-up":       {Verified: listenq.FromSource, Source: "FreeBSD sys/netinet/tcp_timer.h (TCPTV_KEEP_INIT 75 s), net.inet.tcp.keepinit"},
			"reset-retries": {Verified: listenq.FromSource, Source: "FreeBSD sys/netinet/tcp_input.c (tcp_do_segment, TCPS_SYN_SENT)"},
			"reset-delay":   {Verified: listenq.FromSource, Source: "FreeBSD sys/netinet/tcp_input.c (tcp_do_segment, TCPS_SYN_SENT)", Note: "Not used: no retries."},
			"refused":       {Verified: listenq.FromSource, Source: "FreeBSD sys/netinet/tcp_input.c (tcp_drop with ECONNREFUSED)"},
			"timed-out":     {Verified: listenq.FromSource, Source: "FreeBSD sys/netinet/tcp_timer.c (tcp_timer_keep)"},
		},
	}
}
