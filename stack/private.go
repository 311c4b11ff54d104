package stack

import (
	"fmt"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"gvisor.dev/gvisor/pkg/atomicbitops"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/ulisten/ulisten/listenq"
)

// netstack has no way to say which initial sequence number and which timestamp
// offset a passive connection uses, or what is known of its round trip, nor to ask how
// much of what was sent is not acknowledged, how full a receive buffer is, or who owns
// an endpoint's packets. This file reaches
// for those words, and it is the only place that touches anything private of netstack. Offsets are found by name and
// type once; if netstack ever changes, every New fails with a message instead of
// anything going wrong later.

var privateFields struct {
	once sync.Once
	err  error

	handshake uintptr // Endpoint.h *handshake
	iss       uintptr // handshake.iss seqnum.Value
	synWnd    uintptr // handshake.rcvWnd seqnum.Size
	synScale  uintptr // handshake.rcvWndScale int
	startTime uintptr // handshake.startTime tcpip.MonotonicTime
	noSample  uintptr // handshake.sampleRTTWithTSOnly bool
	tsOffset  uintptr // Endpoint.TSOffset.milliseconds uint32
	synTimer  uintptr // handshake.retransmitTimer *backoffTimer
	timer     uintptr // backoffTimer.t tcpip.Timer
	receiver  uintptr // Endpoint.rcv *receiver

	sender         uintptr // Endpoint.snd *sender
	rto            uintptr // sender.RTO time.Duration
	sndCwnd        uintptr // sender.SndCwnd int
	maxPayloadSize uintptr // sender.MaxPayloadSize int
	outstanding    uintptr // sender.Outstanding int
	sndUna         uintptr // sender.SndUna seqnum.Value
	sendBufferUsed uintptr // Endpoint.sndQueueInfo.SndBufUsed int

	owner        uintptr // Endpoint.owner tcpip.PacketOwner
	receiveUsed  uintptr // Endpoint.rcvMemUsed atomicbitops.Int32
	receiveScale uintptr // receiver.RcvWndScale uint8
	rcvWnd       uintptr // receiver.rcvWnd seqnum.Size
	sendScale    uintptr // sender.SndWndScale uint8
	waiterQueue  uintptr // Endpoint.waiterQueue *waiter.Queue

	probing     uintptr    // sender.zeroWindowProbing bool
	recovering  uintptr    // sender.FastRecovery.Active bool
	timerState  [3]uintptr // sender.resendTimer.state timerState, probeTimer's and reorderTimer's
	fires       uintptr    // sender.resendTimer.target tcpip.MonotonicTime
	userTimeout uintptr    // Endpoint.userTimeout time.Duration
}

// checkPrivateFields finds the offsets.
func checkPrivateFields() error {
	p := &privateFields
	p.once.Do(func() {
		find := func(in reflect.Type, name string, want func(reflect.Type) bool) (uintptr, reflect.Type) {
			if in.Kind() == reflect.Pointer {
				in = in.Elem()
			}
			f, ok := in.FieldByName(name)
			if !ok || !want(f.Type) {
				p.err = fmt.Errorf("stack: this release of netstack has no usable field %v.%s: build ulisten with the gVisor version that its go.mod names", in, name)
				return 0, reflect.TypeFor[struct{}]()
			}
			offset := uintptr(0)
			for i := range f.Index {
				offset += in.FieldByIndex(f.Index[:i+1]).Offset
			}
			return offset, f.Type
		}
		kind := func(k reflect.Kind) func(reflect.Type) bool {
			return func(t reflect.Type) bool { return t.Kind() == k }
		}
		isSeqnum := isType[seqnum.Value]

		endpoint := reflect.TypeFor[tcp.Endpoint]()
		var handshake, offset, receiver reflect.Type
		p.handshake, handshake = find(endpoint, "h", kind(reflect.Pointer))
		p.iss, _ = find(handshake, "iss", isSeqnum)
		p.synWnd, _ = find(handshake, "rcvWnd", isType[seqnum.Size])
		p.synScale, _ = find(handshake, "rcvWndScale", kind(reflect.Int))
		p.startTime, _ = find(handshake, "startTime", isType[tcpip.MonotonicTime])
		p.noSample, _ = find(handshake, "sampleRTTWithTSOnly", kind(reflect.Bool))
		var backoff reflect.Type
		p.synTimer, backoff = find(handshake, "retransmitTimer", kind(reflect.Pointer))
		p.timer, _ = find(backoff, "t", isType[tcpip.Timer])
		var outer uintptr
		outer, offset = find(endpoint, "TSOffset", kind(reflect.Struct))
		p.tsOffset, _ = find(offset, "milliseconds", kind(reflect.Uint32))
		p.tsOffset += outer
		p.receiver, receiver = find(endpoint, "rcv", kind(reflect.Pointer))
		var sender, queue reflect.Type
		p.sender, sender = find(endpoint, "snd", kind(reflect.Pointer))
		p.rto, _ = find(sender, "RTO", isType[time.Duration])
		p.sndCwnd, _ = find(sender, "SndCwnd", kind(reflect.Int))
		p.maxPayloadSize, _ = find(sender, "MaxPayloadSize", kind(reflect.Int))
		p.outstanding, _ = find(sender, "Outstanding", kind(reflect.Int))
		p.sndUna, _ = find(sender, "SndUna", isSeqnum)
		outer, queue = find(endpoint, "sndQueueInfo", kind(reflect.Struct))
		p.sendBufferUsed, _ = find(queue, "SndBufUsed", kind(reflect.Int))
		p.sendBufferUsed += outer

		p.owner, _ = find(endpoint, "owner", isType[tcpip.PacketOwner])
		p.receiveUsed, _ = find(endpoint, "rcvMemUsed", isType[atomicbitops.Int32])
		p.rcvWnd, _ = find(receiver, "rcvWnd", isType[seqnum.Size])
		p.receiveScale, _ = find(receiver, "RcvWndScale", kind(reflect.Uint8))
		p.sendScale, _ = find(sender, "SndWndScale", kind(reflect.Uint8))
		p.waiterQueue, _ = find(endpoint, "waiterQueue", isType[*waiter.Queue])

		p.probing, _ = find(sender, "zeroWindowProbing", kind(reflect.Bool))
		p.userTimeout, _ = find(endpoint, "userTimeout", isType[time.Duration])
		outer, timer := find(sender, "resendTimer", kind(reflect.Struct))
		p.fires, _ = find(timer, "target", isType[tcpip.MonotonicTime])
		p.fires += outer
		outer, recovery := find(sender, "FastRecovery", kind(reflect.Struct))
		p.recovering, _ = find(recovery, "Active", kind(reflect.Bool))
		p.recovering += outer
		for i, name := range []string{"resendTimer", "probeTimer", "reorderTimer"} {
			outer, timer = find(sender, name, kind(reflect.Struct))
			p.timerState[i], _ = find(timer, "state", kind(reflect.Int))
			p.timerState[i] += outer
		}
	})
	return p.err
}

func isType[T any](t reflect.Type) bool { return t == reflect.TypeFor[T]() }

// ownerOf returns what SetOwner has set. That must have happened before the endpoint
// left SYN-RECEIVED or CLOSED.
func ownerOf(ep *tcp.Endpoint) tcpip.PacketOwner {
	return *(*tcpip.PacketOwner)(unsafe.Add(unsafe.Pointer(ep), privateFields.owner))
}

// receiveMemory returns how much of its receive buffer an endpoint uses, in bytes, with
// what a segment costs beside its payload.
func receiveMemory(ep *tcp.Endpoint) int {
	return int((*atomicbitops.Int32)(unsafe.Add(unsafe.Pointer(ep), privateFields.receiveUsed)).Load())
}

// accept tells a connection the receive window that its last segment has told, in
// bytes. The caller holds the endpoint's lock.
func accept(ep *tcp.Endpoint, window seqnum.Size) {
	rcv := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), privateFields.receiver))
	*(*seqnum.Size)(unsafe.Add(rcv, privateFields.rcvWnd)) = window
}

// scalesOf returns the window scales of a connection, of what it tells and of what it
// hears; false before there is one. The caller holds the endpoint's lock.
func scalesOf(ep *tcp.Endpoint) (receive, send uint8, ok bool) {
	p := &privateFields
	rcv := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), p.receiver))
	snd := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), p.sender))
	if rcv == nil || snd == nil {
		return 0, 0, false
	}
	return *(*uint8)(unsafe.Add(rcv, p.receiveScale)), *(*uint8)(unsafe.Add(snd, p.sendScale)), true
}

// sendTimers is what netstack's retransmission timer goes by; without a connection
// there is only the last.
type sendTimers struct {
	rto         *time.Duration       // between the last time that it fired and the next
	fires       *tcpip.MonotonicTime // it must not be moved on
	probing     bool                 // it is the timer of zero-window probes
	userTimeout *time.Duration       // the connection ends if this has passed when it fires
}

// sendTimersOf returns the timers of a connection. The caller holds the endpoint's
// lock.
func sendTimersOf(ep *tcp.Endpoint) sendTimers {
	p := &privateFields
	t := sendTimers{userTimeout: (*time.Duration)(unsafe.Add(unsafe.Pointer(ep), p.userTimeout))}
	if snd := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), p.sender)); snd != nil {
		t.rto = (*time.Duration)(unsafe.Add(snd, p.rto))
		t.fires = (*tcpip.MonotonicTime)(unsafe.Add(snd, p.fires))
		t.probing = *(*bool)(unsafe.Add(snd, p.probing))
	}
	return t
}

// adopt gives an endpoint in SYN-RECEIVED the numbers that the client has been
// told and the offer, whose window is in bytes, and the round trip. netstack measures
// that when it gets the final ACK, which must not echo a timestamp. The caller holds
// the endpoint's lock.
func adopt(ep *tcp.Endpoint, now tcpip.MonotonicTime, h *listenq.Handshake, o *offer, window int) {
	p := &privateFields
	hs := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), p.handshake))
	*(*seqnum.Value)(unsafe.Add(hs, p.iss)) = seqnum.Value(h.ISS)
	*(*uint32)(unsafe.Add(unsafe.Pointer(ep), p.tsOffset)) = h.TSOffset
	*(*seqnum.Size)(unsafe.Add(hs, p.synWnd)) = seqnum.Size(window)
	*(*int)(unsafe.Add(hs, p.synScale)) = o.windowScale
	ep.SACKPermitted = o.sack && h.Peer.SACKPermitted
	size := o.ReceiveBuffer
	if size == 0 {
		size = waitingBuffer
	}
	ep.SocketOptions().SetReceiveBufferSize(int64(size), false)
	*(*tcpip.MonotonicTime)(unsafe.Add(hs, p.startTime)) = now.Add(-h.RTT)
	*(*bool)(unsafe.Add(hs, p.noSample)) = h.RTT == 0
	// The final ACK is here, however long netstack takes to look at it.
	timer := *(*unsafe.Pointer)(unsafe.Add(hs, p.synTimer))
	(*(*tcpip.Timer)(unsafe.Add(timer, p.timer))).Stop()
}

// waiterQueue returns the queue of those who wait for an endpoint, which netstack
// tells only when it is accepted.
func waiterQueue(ep *tcp.Endpoint) *waiter.Queue {
	return *(**waiter.Queue)(unsafe.Add(unsafe.Pointer(ep), privateFields.waiterQueue))
}

// hasRead reports whether netstack is done with every segment that was queued to a
// listening endpoint, which keeps none; one that was closed forgets them.
func hasRead(ep *tcp.Endpoint) bool {
	return ep.EndpointState() != tcp.StateListen || receiveMemory(ep) == 0
}

// fallbackRTO is the retransmission timeout where the handshake has not measured the
// round trip (RFC 6298, section 5.7; TCP_TIMEOUT_FALLBACK).
const fallbackRTO = 3 * time.Second

// distrust tells an established connection that has sent nothing yet what a
// handshake that went badly says of the path (tcp_init_metrics, tcp_init_transfer).
func distrust(ep *tcp.Endpoint, h *listenq.Handshake) {
	ep.LockUser()
	defer ep.UnlockUser()
	if opened(ep) {
		distrustLocked(ep, h.RTT == 0, h.Lossy)
	}
}

// distrustLocked is distrust for a connection that has come far enough to send data:
// its handshake has not measured the round trip, or much was lost. The caller holds
// the endpoint's lock.
func distrustLocked(ep *tcp.Endpoint, unmeasured, lossy bool) {
	p := &privateFields
	snd := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), p.sender))
	if unmeasured {
		*(*time.Duration)(unsafe.Add(snd, p.rto)) = fallbackRTO
	}
	if lossy {
		*(*int)(unsafe.Add(snd, p.sndCwnd)) = 1
	}
}

// opened reports whether a connection is far enough to send data. The caller holds the
// endpoint's lock.
func opened(ep *tcp.Endpoint) bool {
	return *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), privateFields.sender)) != nil
}

// tsOffsetOf returns what is added to the clock for timestamps. The caller holds the
// endpoint's lock.
func tsOffsetOf(ep *tcp.Endpoint) uint32 {
	return *(*uint32)(unsafe.Add(unsafe.Pointer(ep), privateFields.tsOffset))
}

// SetCongestionControl is TCP_CONGESTION. netstack begins a new algorithm with a new
// congestion window; Linux goes on with the one that there is (tcp_set_congestion_control).
func SetCongestionControl(ep *tcp.Endpoint, name string) tcpip.Error {
	cwnd := func() *int {
		snd := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), privateFields.sender))
		if snd == nil {
			return new(int)
		}
		return (*int)(unsafe.Add(snd, privateFields.sndCwnd))
	}
	ep.LockUser()
	before := *cwnd()
	ep.UnlockUser()
	option := tcpip.CongestionControlOption(name)
	err := ep.SetSockOpt(&option)
	ep.LockUser()
	defer ep.UnlockUser()
	if before != 0 {
		*cwnd() = before
	}
	return err
}

// sent is how it stands with what an endpoint has sent.
type sent struct {
	maxPayload  int    // of a segment, in bytes; 0 before there is a connection
	outstanding int    // segments that are not acknowledged
	buffered    int    // bytes that are not acknowledged, or not sent yet
	una         uint32 // SND.UNA
}

// sentBy returns what an endpoint has sent. The caller holds the endpoint's lock.
func sentBy(ep *tcp.Endpoint) sent {
	p := &privateFields
	s := sent{buffered: *(*int)(unsafe.Add(unsafe.Pointer(ep), p.sendBufferUsed))}
	if snd := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), p.sender)); snd != nil {
		s.maxPayload = *(*int)(unsafe.Add(snd, p.maxPayloadSize))
		s.outstanding = *(*int)(unsafe.Add(snd, p.outstanding))
		s.una = uint32(*(*seqnum.Value)(unsafe.Add(snd, p.sndUna)))
	}
	return s
}

// unarmed makes an established connection count a segment as outstanding, out of
// recovery, if none of the timers runs that would have it repeat what is not
// acknowledged, and reports whether it has done so.
func unarmed(ep *tcp.Endpoint) bool {
	ep.LockUser()
	defer ep.UnlockUser()
	p := &privateFields
	snd := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(ep), p.sender))
	if snd == nil || !sends(ep) {
		return false
	}
	const enabled = 2 // timerStateEnabled
	for _, state := range p.timerState {
		if *(*int)(unsafe.Add(snd, state)) == enabled {
			return false
		}
	}
	*(*bool)(unsafe.Add(snd, p.recovering)) = false
	*(*int)(unsafe.Add(snd, p.outstanding)) = 1
	return true
}
