package stack

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A guard is what the stack knows of a connection beside netstack, which believes
// nearly everything that a segment in its window says: which numbers are in flight,
// which timestamp was the last, and how far the window has been opened. The gate
// judges by it what arrives (validate.go), and the link keeps it up to date with
// what netstack sends, and mends the windows in that (window.go).
//
// It hangs on the endpoint as the owner of its packets (tcpip.Endpoint.SetOwner),
// which netstack passes on with every segment that it sends and uses for nothing
// else here.
type guard struct {
	s  *Stack
	ep *tcp.Endpoint
	id gstack.TransportEndpointID // known once begun

	// cork is there while it holds something back, and last while a FIN is about to
	// be sent.
	cork atomic.Pointer[cork]
	last atomic.Pointer[lastSegment]

	// mu is nearly a leaf: under it counters are counted, work is put off (later), and
	// nothing of netstack's is locked.
	mu sync.Mutex
	// opening is nil unless the stack opens the connection, and has not yet.
	opening *opening
	// begun says that the numbers below are known: a segment was sent, or the
	// handshake was listenq's.
	begun bool
	// una and nxt are SND.UNA and SND.NXT (RFC 9293, section 3.3.1).
	una, nxt seqnum.Value
	// acked is how many bytes the peer has acknowledged, and window the largest
	// window that it has offered, in bytes (Linux bytes_acked, max_window).
	acked  uint64
	window uint32
	// told is the last acknowledgment number that was sent, RCV.NXT or a little
	// behind.
	told seqnum.Value
	// edge is the right edge of the window that the peer was told, and farthest the one
	// of all that it was told: it differs after a window had to be shut.
	edge, farthest seqnum.Value
	opened         bool // a window was told
	// finAcked says that our FIN was acknowledged by a segment that had overtaken
	// another; see overtaken.
	finAcked bool
	fin      earlyFIN
	// reopened is the edge for which reopen has asked.
	reopened seqnum.Value
	// receiveScale and sendScale are the shifts of the windows told and heard.
	receiveScale, sendScale uint8
	scaled                  bool // both are known
	// stamps says that segments carry timestamps; recent is TS.Recent (RFC 7323,
	// section 4.3), recentAt when it became that.
	stamps   bool
	recent   uint32
	recentAt time.Duration
	// answeredAt is when a segment was last answered that the network may have made
	// up (last_oow_ack_time).
	answeredAt time.Duration
	// payload is the size of the segments that arrive, in bytes, smoothed.
	payload uint32
	// fragmentable says that the path is too narrow to insist on whole packets.
	fragmentable bool
	// ttl and tos are those of the last packet sent, for those that are ours.
	ttl, tos uint8

	abandoned abandoned
	// soft is what the network has said last of the connection (sk_err_soft), and refused
	// what has ended connect.
	soft, refused syscall.Errno
	// waits says that no program has accepted the connection, so that its receive
	// buffer is small.
	waits bool
	// stalled says whether netstack's timer has fired and nothing was heard since.
	stalled stall
	// keepalives are the probes that were sent since something was heard.
	keepalives int
	life       lifetime
	watched    watched
	lastWindow uint16 // the last that was heard, not scaled
}

// KUID and KGID implement tcpip.PacketOwner; nobody asks.
func (*guard) KUID() uint32 { return 0 }

// KGID implements tcpip.PacketOwner.
func (*guard) KGID() uint32 { return 0 }

// guardOf returns the guard of an endpoint; nil if it has none, as netstack's own
// endpoints that listen.
func guardOf(ep *tcp.Endpoint) *guard {
	g, _ := ownerOf(ep).(*guard)
	return g
}

// guardDialed watches over an endpoint that is about to connect.
func (s *Stack) guardDialed(ep *tcp.Endpoint) {
	ep.SetOwner(&guard{s: s, ep: ep, ttl: hopLimit, opening: new(opening)})
}

// guardAccepted watches over an endpoint whose handshake was listenq's. The endpoint
// is locked, and no segment has come to it yet.
func (s *Stack) guardAccepted(ep *tcp.Endpoint, gr *graft) {
	h, scale := &gr.handshake, 0
	iss, irs := seqnum.Value(h.ISS), seqnum.Value(h.IRS)
	mss := gr.offer.mss(gr.id.RemoteAddress)
	g := &guard{
		s:      s,
		ep:     ep,
		id:     gr.id,
		begun:  true,
		opened: true,
		una:    iss + 1,
		nxt:    iss + 1,
		told:   irs + 1,
		edge:   irs.Add(seqnum.Size(1 + gr.offer.window(mss, h))),
		scaled: true,
		stamps: h.Peer.Timestamps,
		recent: h.Peer.TSVal,
		ttl:    hopLimit,
	}
	if h.Peer.WindowScaling {
		g.sendScale = min(h.Peer.WindowScale, header.MaxWndScale)
		scale = gr.offer.windowScale
	}
	g.receiveScale = uint8(scale)
	g.waits = gr.offer.ReceiveBuffer == 0
	g.window = uint32(gr.window) << g.sendScale
	g.lastWindow = gr.window
	g.recentAt = s.now()
	g.farthest = g.edge
	ep.SetOwner(g)
}

// inFlight reports whether a sequence number that an ICMP error quotes is one of
// a segment that the peer may not have acknowledged (Linux tcp_v4_err: between
// snd_una and snd_nxt).
func (g *guard) inFlight(seq uint32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := seqnum.Value(seq)
	return g.begun && g.una.LessThanEq(v) && v.LessThanEq(g.nxt)
}

// sequenceLength returns how many sequence numbers a segment takes.
func sequenceLength(flags header.TCPFlags, payload int) seqnum.Size {
	n := seqnum.Size(payload)
	if flags&header.TCPFlagSyn != 0 {
		n++
	}
	if flags&header.TCPFlagFin != 0 {
		n++
	}
	return n
}

// timestampOf returns the timestamp option of a segment. Nearly always it stands
// first, behind two bytes of padding (RFC 7323, appendix A).
func timestampOf(h header.TCP) (val, ecr uint32, ok bool) {
	const padded = 0x0101080a
	options := h[header.TCPMinimumSize:h.DataOffset()]
	if len(options) >= 12 && be32(options) == padded {
		return be32(options[4:]), be32(options[8:]), true
	}
	if len(options) == 0 {
		return 0, 0, false
	}
	o := header.ParseTCPOptions(options)
	return o.TSVal, o.TSEcr, o.TS
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// headerOf returns the TCP header of a packet on its way out or in, if it is whole.
func headerOf(pkt *gstack.PacketBuffer) (header.TCP, bool) {
	h := header.TCP(pkt.TransportHeader().Slice())
	if len(h) < header.TCPMinimumSize || int(h.DataOffset()) < header.TCPMinimumSize || int(h.DataOffset()) > len(h) {
		return nil, false
	}
	return h, true
}
