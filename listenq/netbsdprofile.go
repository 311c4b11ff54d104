package listenq

// netbsd is NetBSD, whose SYN cache is that of OpenBSD.
func netbsd() *Profile {
	p := openbsd()
	p.Name, p.Title = "netbsd", "NetBSD"
	p.Backlog = BacklogRules{Negative: TakeZero, Zero: TakeZero, Maximum: 128}
	p.AcceptQueue.AtACK = Formula{Times: 3, Over: 2, Plus: 1}
	p.cite(citations{
		"backlog":             {FromSource, "NetBSD: solisten, sys/kern/uipc_socket.c, 00c232c0", "whether a setting moves the maximum was not read"},
		"accept-queue":        {FromSource, "NetBSD: tcp_input, sys/netinet/tcp_input.c; sonewconn, sys/kern/uipc_socket2.c", ""},
		"syn-queue":           {FromSource, "NetBSD: syn_cache_insert, sys/netinet/tcp_syncache.c, 023842dd", ""},
		"syn-ack":             {FromSource, "NetBSD: syn_cache_timer, sys/netinet/tcp_syncache.c, 023842dd", "given up at the first timer at which 75 s, keep-init, are over"},
		"half-open":           {FromSource, "NetBSD: syn_cache_add, syn_cache_get, syn_cache_reset, sys/netinet/tcp_syncache.c, 023842dd", ""},
		"icmp":                {FromSource, "NetBSD: syn_cache_unreach, sys/netinet/tcp_syncache.c; tcp_ctlinput, sys/netinet/tcp_subr.c; icmp_input, sys/netinet/ip_icmp.c, 02cc9396", ""},
		"icmp.ipv4":           {FromSource, "NetBSD: tcp_ctlinput, sys/netinet/tcp_subr.c; icmp_input, sys/netinet/ip_icmp.c, 02cc9396", ""},
		"icmp.ipv6":           {Guess, "NetBSD: tcp6_ctlinput, sys/netinet/tcp_subr.c", "icmp6_input was read in OpenBSD"},
		"cookies":             {FromSource, "NetBSD: sys/netinet/tcp_syncache.c, 023842dd", "there are none"},
		"socket":              {FromSource, "NetBSD: soclose, soaccept, sys/kern/uipc_socket.c, 00c232c0; syn_cache_cleanup, sys/netinet/tcp_syncache.c", ""},
		"socket.queued-reset": {FromSource, "NetBSD: soaccept, sys/kern/uipc_socket.c, 00c232c0", ""},
		"socket.defer-accept": {Documented, "accept_filter(9)", "accept filters are another thing"},
	})
	return p
}
