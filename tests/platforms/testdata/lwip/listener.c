/*
 * One lwIP socket that listens on 192.0.2.2:80, driven from outside.
 *
 * Packets, one per read and write, pass through descriptor 3: a TUN device, or
 * a socket that keeps packets apart. Commands come as lines on standard input,
 * each answered by one line:
 *
 *   listen N    listen(2), first or again     ok, or the error
 *   accept      accept(2), without waiting    none, the error, or ADDRESS:PORT
 *               and what reading finds: open, eof, the error, or N bytes
 *   close       close(2) on the listener      ok
 *   deliver     take in all packets that wait ok
 *   advance MS  let time pass, virtual only   ok
 *
 * "live" as the only argument makes time real, and packets are taken in as
 * they come. Without it time stands still but for "advance": lwIP asks
 * sys_now, and this file's goes before the library's. There is no lwIP thread:
 * with LWIP_TCPIP_CORE_LOCKING all calls run here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lwip/init.h"
#include "lwip/ip.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/sockets.h"
#include "lwip/sys.h"
#include "lwip/tcpip.h"
#include "lwip/timeouts.h"

enum { LINK = 3, MTU = 1500, TICK = 10 };

static int live;
static u32_t virtual_now;
static struct netif nif;
static int listener = -1;

u32_t sys_now(void) {
	if (!live) {
		return virtual_now;
	}
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u32_t)(ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static err_t link_output(struct netif *n, struct pbuf *p, const ip4_addr_t *to) {
	char packet[MTU];
	(void)n;
	(void)to;
	u16_t length = pbuf_copy_partial(p, packet, sizeof packet, 0);
	if (write(LINK, packet, length) != length) {
		fail("write to the link");
	}
	return ERR_OK;
}

static err_t link_init(struct netif *n) {
	n->name[0] = 't';
	n->name[1] = 'n';
	n->mtu = MTU;
	n->output = link_output;
	return ERR_OK;
}

/* deliver takes in what waits on the link, at most so many packets. */
static void deliver(int most) {
	char packet[MTU];
	ssize_t length;
	while (most-- > 0 && (length = read(LINK, packet, sizeof packet)) > 0) {
		if ((packet[0] & 0xf0) != 0x40) {
			continue;
		}
		struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)length, PBUF_POOL);
		if (p == NULL || pbuf_take(p, packet, (u16_t)length) != ERR_OK) {
			fail("pbuf_alloc");
		}
		ip_input(p, &nif);
	}
}

static void advance(u32_t ms) {
	for (u32_t end = virtual_now + ms; virtual_now != end;) {
		u32_t left = end - virtual_now;
		virtual_now += left < TICK ? left : TICK;
		sys_check_timeouts();
	}
}

static void open_listener(void) {
	int one = 1;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(80)};
	listener = lwip_socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || lwip_bind(listener, (struct sockaddr *)&at, sizeof at) < 0 ||
	    lwip_ioctl(listener, FIONBIO, &one) < 0) {
		fail("lwIP socket");
	}
}

static void say_errno(void) { printf("%s\n", strerrorname_np(errno)); }

static void accept_one(void) {
	struct sockaddr_in from = {0};
	socklen_t size = sizeof from;
	char buffer[4096];
	int conn = lwip_accept(listener, (struct sockaddr *)&from, &size);
	if (conn < 0 && errno == EWOULDBLOCK) {
		printf("none\n");
		return;
	}
	if (conn < 0) {
		say_errno();
		return;
	}
	u32_t a = ntohl(from.sin_addr.s_addr);
	printf("%u.%u.%u.%u:%u ", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, ntohs(from.sin_port));
	ssize_t n = lwip_recv(conn, buffer, sizeof buffer, MSG_DONTWAIT);
	if (n > 0) {
		printf("%zd bytes\n", n);
	} else if (n == 0) {
		printf("eof\n");
	} else if (errno == EWOULDBLOCK) {
		printf("open\n");
	} else {
		say_errno();
	}
}

static void obey(const char *line) {
	int n;
	if (sscanf(line, "listen %d", &n) == 1) {
		if (lwip_listen(listener, n) < 0) {
			say_errno();
			return;
		}
		printf("ok\n");
	} else if (strcmp(line, "accept\n") == 0) {
		accept_one();
	} else if (strcmp(line, "close\n") == 0) {
		lwip_close(listener);
		printf("ok\n");
	} else if (strcmp(line, "deliver\n") == 0) {
		deliver(1 << 20);
		printf("ok\n");
	} else if (sscanf(line, "advance %d", &n) == 1 && n >= 0) {
		advance((u32_t)n);
		printf("ok\n");
	} else {
		fprintf(stderr, "unknown command %s", line);
		exit(1);
	}
}

int main(int argc, char **argv) {
	ip4_addr_t address, mask;
	char line[100];

	live = argc == 2 && strcmp(argv[1], "live") == 0;
	setvbuf(stdin, NULL, _IONBF, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fcntl(LINK, F_SETFL, O_NONBLOCK) < 0) {
		fail("descriptor 3");
	}
	lwip_init();
	/* What tcpip_init does besides, but for the thread that it starts. */
	if (sys_mutex_new(&lock_tcpip_core) != ERR_OK) {
		fail("sys_mutex_new");
	}
	IP4_ADDR(&address, 192, 0, 2, 2);
	IP4_ADDR(&mask, 255, 255, 255, 0);
	if (netif_add(&nif, &address, &mask, NULL, NULL, link_init, ip_input) == NULL) {
		fail("netif_add");
	}
	netif_set_default(&nif);
	netif_set_link_up(&nif);
	netif_set_up(&nif);
	open_listener();

	struct pollfd fds[] = {{.fd = 0, .events = POLLIN}, {.fd = LINK, .events = POLLIN}};
	for (;;) {
		if (poll(fds, live ? 2 : 1, live ? TICK : -1) < 0) {
			fail("poll");
		}
		if (live) {
			deliver(64);
			sys_check_timeouts();
		}
		if (fds[0].revents == 0) {
			continue;
		}
		if (fgets(line, sizeof line, stdin) == NULL) {
			return 0;
		}
		obey(line);
	}
}
