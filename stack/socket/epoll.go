//go:build linux

package socket

import (
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// epollPrivate are the bits of an event that say how it is reported
	// (EP_PRIVATE_BITS).
	epollPrivate = unix.EPOLLWAKEUP | unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLEXCLUSIVE
	// epollExclusiveMay is what may stand beside EPOLLEXCLUSIVE
	// (EPOLLEXCLUSIVE_OK_BITS).
	epollExclusiveMay = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLERR | unix.EPOLLHUP |
		unix.EPOLLWAKEUP | unix.EPOLLET | unix.EPOLLEXCLUSIVE
	// epollNests is how deep instances may watch each other (EP_MAX_NESTS).
	epollNests = 4
)

// EpollCreate1 is epoll_create1(2); flags may be EPOLL_CLOEXEC.
func (p *Process) EpollCreate1(flags int) (int, error) {
	if flags&^unix.EPOLL_CLOEXEC != 0 {
		return -1, unix.EINVAL
	}
	f := newFile(&epoll{ns: p.ns, items: map[epollKey]*epollItem{}}, false)
	return p.install(f, 0, flags&unix.EPOLL_CLOEXEC != 0)
}

// EpollCtl is epoll_ctl(2). What is watched is a descriptor together with the file
// behind it: one that was made by Dup can be added too, and closing one of them
// leaves the file watched until the last is closed.
//
// EPOLLEXCLUSIVE is checked as in the kernel, but all instances are woken, which it
// allows ("one or more").
//
// Errors, in this order: EFAULT for a missing event, EBADF, EINVAL for an instance
// that watches itself, for a descriptor that is no instance and for a misuse of
// EPOLLEXCLUSIVE, ELOOP for a circle of instances or a nesting of more than 5,
// EEXIST, ENOENT, EINVAL for another op.
func (p *Process) EpollCtl(epfd, op, fd int, event *unix.EpollEvent) error {
	if op != unix.EPOLL_CTL_DEL && event == nil {
		return unix.EFAULT
	}
	f, err := p.file(epfd)
	if err != nil {
		return err
	}
	target, err := p.file(fd)
	if err != nil {
		return err
	}
	ep, ok := f.object.(*epoll)
	if !ok || f == target {
		return unix.EINVAL
	}
	inner, nested := target.object.(*epoll)
	if op != unix.EPOLL_CTL_DEL && event.Events&unix.EPOLLEXCLUSIVE != 0 &&
		(op == unix.EPOLL_CTL_MOD || nested || event.Events&^epollExclusiveMay != 0) {
		return unix.EINVAL
	}
	key := epollKey{target, fd}
	switch op {
	case unix.EPOLL_CTL_ADD:
		if nested {
			if err := ep.nest(inner); err != nil {
				return err
			}
		}
		err := ep.add(key, *event)
		if err != nil && nested {
			ep.unnest(inner)
		}
		return err
	case unix.EPOLL_CTL_MOD:
		return ep.modify(key, *event)
	case unix.EPOLL_CTL_DEL:
		return ep.remove(key)
	}
	return unix.EINVAL
}

// EpollWait is epoll_wait(2); msec is in milliseconds, below 0 for ever. Events come
// in the order in which the descriptors became ready; those that stay ready go to
// the end, so that each has its turn. EBADF, then EINVAL for a descriptor that is no
// instance and if there is no room for an event.
func (p *Process) EpollWait(epfd int, events []unix.EpollEvent, msec int) (n int, err error) {
	f, err := p.file(epfd)
	if err != nil {
		return 0, err
	}
	ep, ok := f.object.(*epoll)
	if !ok || len(events) == 0 {
		return 0, unix.EINVAL
	}
	if n = ep.collect(events); n > 0 || msec == 0 {
		return n, nil
	}
	err = p.ns.wait(f, waiter.ReadableEvents, max(milliseconds(msec), 0), func() error {
		if n = ep.collect(events); n == 0 {
			return unix.EAGAIN
		}
		return nil
	})
	if err == unix.EAGAIN {
		err = nil
	}
	return n, err
}

// An epollKey is what an instance knows an item by.
type epollKey struct {
	file *file
	fd   int
}

// An epoll is an epoll instance (epoll(7)). It follows fs/eventpoll.c of Linux: an
// event puts the item into the ready list, and only whoever reads the list asks the
// file what is ready. It is readable itself when an item of the list is.
//
// scan is held while files are asked; asking an instance takes its scan in turn, and
// there are no circles. mu is taken inside notifications and takes no other lock.
type epoll struct {
	waiters
	ns *Namespace

	scan  sync.Mutex
	items map[epollKey]*epollItem // nil after release

	mu    sync.Mutex
	ready epollList

	// inner and outer are the instances that it watches and is watched by, and how
	// often, under the namespace's nesting lock.
	inner, outer map[*epoll]int
}

// An epollItem is a descriptor that an instance watches.
type epollItem struct {
	ep  *epoll
	key epollKey
	// event is what the user gave; its Events are written under scan and mu.
	event unix.EpollEvent
	entry waiter.Entry

	// Under mu: the item's place in the ready list, and whether it is removed.
	next, prev   *epollItem
	queued, gone bool
}

// NotifyEvent implements waiter.EventListener (ep_poll_callback).
func (i *epollItem) NotifyEvent(mask waiter.EventMask) {
	ep := i.ep
	ep.mu.Lock()
	wanted := !i.gone && waiter.EventMask(i.event.Events&^epollPrivate)&mask != 0
	if wanted {
		ep.ready.pushBack(i)
	}
	ep.mu.Unlock()
	if wanted {
		ep.Notify(waiter.ReadableEvents)
	}
}

// poll asks the file what is ready of what the item waits for.
func (i *epollItem) poll() uint32 {
	mask := waiter.EventMask(i.event.Events &^ epollPrivate)
	return uint32(i.key.file.Readiness(mask) & mask)
}

// fileClosed implements closeWatcher.
func (i *epollItem) fileClosed() {
	i.ep.scan.Lock()
	known := i.ep.items[i.key] == i
	if known {
		delete(i.ep.items, i.key)
	}
	i.ep.scan.Unlock()
	if known {
		i.forget()
	}
}

// add watches a file (ep_insert).
func (ep *epoll) add(key epollKey, event unix.EpollEvent) error {
	item := &epollItem{ep: ep, key: key, event: event}
	item.event.Events |= unix.EPOLLERR | unix.EPOLLHUP
	item.entry.Init(item, everything)
	ep.scan.Lock()
	defer ep.scan.Unlock()
	switch {
	case ep.items == nil:
		return unix.EBADF // closed meanwhile
	case ep.items[key] != nil:
		return unix.EEXIST
	case !key.file.watch(item):
		return unix.EBADF
	}
	ep.items[key] = item
	key.file.EventRegister(&item.entry)
	ep.queueIfReady(item)
	return nil
}

// modify changes what is watched for, which arms a one-shot item again (ep_modify).
func (ep *epoll) modify(key epollKey, event unix.EpollEvent) error {
	ep.scan.Lock()
	defer ep.scan.Unlock()
	item := ep.items[key]
	switch {
	case item == nil:
		return unix.ENOENT
	case item.event.Events&unix.EPOLLEXCLUSIVE != 0:
		return unix.EINVAL
	}
	event.Events |= unix.EPOLLERR | unix.EPOLLHUP
	ep.mu.Lock()
	item.event = event
	ep.mu.Unlock()
	ep.queueIfReady(item)
	return nil
}

// queueIfReady starts an item off; scan is held.
func (ep *epoll) queueIfReady(item *epollItem) {
	if item.poll() == 0 {
		return
	}
	ep.mu.Lock()
	ep.ready.pushBack(item)
	ep.mu.Unlock()
	ep.Notify(waiter.ReadableEvents)
}

// remove stops watching.
func (ep *epoll) remove(key epollKey) error {
	ep.scan.Lock()
	item := ep.items[key]
	delete(ep.items, key)
	ep.scan.Unlock()
	if item == nil {
		return unix.ENOENT
	}
	item.key.file.unwatch(item)
	item.forget()
	return nil
}

// forget takes an item that is in no map any more off all other lists.
func (i *epollItem) forget() {
	i.key.file.EventUnregister(&i.entry)
	i.ep.mu.Lock()
	i.gone = true
	i.ep.ready.remove(i)
	i.ep.mu.Unlock()
	if inner, ok := i.key.file.object.(*epoll); ok {
		i.ep.unnest(inner)
	}
}

// release ends the instance.
func (ep *epoll) release() {
	ep.scan.Lock()
	items := ep.items
	ep.items = nil
	ep.scan.Unlock()
	for _, item := range items {
		item.key.file.unwatch(item)
		item.forget()
	}
}

// collect reports what is ready (ep_send_events). Items that are watched by level
// stay in the list, at its end; one-shot items are disarmed.
func (ep *epoll) collect(events []unix.EpollEvent) (n int) {
	ep.scan.Lock()
	defer ep.scan.Unlock()
	for range ep.readyLen() {
		if n == len(events) {
			break
		}
		item := ep.next()
		if item == nil {
			break
		}
		ready := item.poll()
		if ready == 0 {
			continue
		}
		events[n] = item.event
		events[n].Events = ready
		n++
		ep.mu.Lock()
		switch {
		case item.event.Events&unix.EPOLLONESHOT != 0:
			item.event.Events &= epollPrivate
		case item.event.Events&unix.EPOLLET == 0:
			ep.ready.pushBack(item)
		}
		ep.mu.Unlock()
	}
	return n
}

// Readiness implements waiter.Waitable: an instance is readable when EpollWait would
// return an event.
func (ep *epoll) Readiness(mask waiter.EventMask) waiter.EventMask {
	ep.scan.Lock()
	defer ep.scan.Unlock()
	for range ep.readyLen() {
		item := ep.next()
		if item == nil {
			break
		}
		if item.poll() != 0 {
			ep.mu.Lock()
			ep.ready.pushFront(item)
			ep.mu.Unlock()
			return waiter.ReadableEvents & mask
		}
	}
	return 0
}

func (ep *epoll) readyLen() int {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.ready.len
}

// next takes the first item out of the ready list, so that an event from now on puts
// it there again.
func (ep *epoll) next() *epollItem {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	item := ep.ready.head
	if item != nil {
		ep.ready.remove(item)
	}
	return item
}

// nest notes that ep is about to watch inner: ELOOP if that would be a circle, or
// too deep (ep_loop_check).
func (ep *epoll) nest(inner *epoll) error {
	ep.ns.nesting.Lock()
	defer ep.ns.nesting.Unlock()
	below, circle := inner.depth(func(e *epoll) map[*epoll]int { return e.inner }, ep)
	above, _ := ep.depth(func(e *epoll) map[*epoll]int { return e.outer }, nil)
	if circle || above+1+below > epollNests {
		return unix.ELOOP
	}
	link(&ep.inner, inner, 1)
	link(&inner.outer, ep, 1)
	return nil
}

func (ep *epoll) unnest(inner *epoll) {
	ep.ns.nesting.Lock()
	defer ep.ns.nesting.Unlock()
	link(&ep.inner, inner, -1)
	link(&inner.outer, ep, -1)
}

// depth is the length of the longest chain from ep on, and whether one comes to
// another instance. Chains are no longer than epollNests.
func (ep *epoll) depth(next func(*epoll) map[*epoll]int, to *epoll) (depth int, found bool) {
	found = ep == to
	for e := range next(ep) {
		d, f := e.depth(next, to)
		depth, found = max(depth, d+1), found || f
	}
	return depth, found
}

// link counts how often one instance watches another.
func link(links *map[*epoll]int, to *epoll, n int) {
	if *links == nil {
		*links = map[*epoll]int{}
	}
	if (*links)[to] += n; (*links)[to] == 0 {
		delete(*links, to)
	}
}

// An epollList is a ready list. An item is in it at most once.
type epollList struct {
	head, tail *epollItem
	len        int
}

func (l *epollList) pushBack(i *epollItem)  { l.insert(i, l.tail, nil) }
func (l *epollList) pushFront(i *epollItem) { l.insert(i, nil, l.head) }

// insert puts an item between two neighbours, if it is not in the list already.
func (l *epollList) insert(i, prev, next *epollItem) {
	if i.queued || i.gone {
		return
	}
	i.queued, i.prev, i.next = true, prev, next
	if prev == nil {
		l.head = i
	} else {
		prev.next = i
	}
	if next == nil {
		l.tail = i
	} else {
		next.prev = i
	}
	l.len++
}

func (l *epollList) remove(i *epollItem) {
	if !i.queued {
		return
	}
	if i.prev == nil {
		l.head = i.next
	} else {
		i.prev.next = i.next
	}
	if i.next == nil {
		l.tail = i.prev
	} else {
		i.next.prev = i.prev
	}
	i.queued, i.prev, i.next = false, nil, nil
	l.len--
}
