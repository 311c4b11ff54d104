package profile_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/profile"
)

// What a row says, a listener does.
func TestRowsAreTrue(t *testing.T) {
	for _, p := range listenq.Profiles() {
		for _, backlog := range []int{-1, 0, 1, 2, 5, 130} {
			t.Run(fmt.Sprintf("%s/backlog=%d", p.Name, backlog), func(t *testing.T) {
				row := profile.RowFor(p, backlog, -1)
				l, err := listenq.New(listenq.Config{Profile: p, Backlog: backlog, Window: 65535})
				if err != nil {
					require.ErrorIs(t, err, listenq.ErrBacklog)
					require.Equal(t, "EINVAL", row.Limit.Text)
					require.Equal(t, "-", row.InTurn.Text)
					return
				}
				require.Equal(t, strconv.Itoa(l.Limit()), row.Limit.Text)

				clients := 3*l.Limit() + 1100
				inTurn := 0
				for i := range clients {
					if out := send(l, i, listenq.SYN, 0); out.Verdict == listenq.SendSYNACK || out.Verdict == listenq.SendCookie {
						if send(l, i, listenq.ACK, out.Seq).Verdict == listenq.Promote {
							inTurn++
						}
					}
				}
				require.Equal(t, row.InTurn.Text, strconv.Itoa(inTurn))

				l, err = listenq.New(listenq.Config{Profile: p, Backlog: backlog, Window: 65535})
				require.NoError(t, err)
				iss := map[int]uint32{}
				for i := range clients {
					if out := send(l, i, listenq.SYN, 0); out.Verdict == listenq.SendSYNACK || out.Verdict == listenq.SendCookie {
						iss[i] = out.Seq
					}
				}
				atOnce := 0
				for i := range clients {
					if seq, ok := iss[i]; ok && send(l, i, listenq.ACK, seq).Verdict == listenq.Promote {
						atOnce++
					}
				}
				require.Equal(t, row.AtOnce.Text, strconv.Itoa(atOnce))
			})
		}
	}
}

// The schedule of a row is that of a listener with a silent client.
func TestRowsKeepTime(t *testing.T) {
	for _, p := range listenq.Profiles() {
		l, err := listenq.New(listenq.Config{Profile: p, Backlog: 5})
		require.NoError(t, err)
		send(l, 1, listenq.SYN, 0)
		var again, end string
		for at, waiting := l.NextTimeout(); waiting; at, waiting = l.NextTimeout() {
			l.Advance(at, func(out listenq.Outcome) {
				seconds := strconv.FormatFloat(at.Seconds(), 'g', 4, 64)
				switch {
				case out.Verdict == listenq.SendSYNACK && again == "":
					again = seconds
				case out.Verdict == listenq.SendSYNACK:
					again += " " + seconds
				case out.Verdict == listenq.SendRST:
					end = seconds + " RST"
				default:
					end = seconds
				}
			})
			require.Less(t, at, time.Hour)
		}
		row := profile.RowFor(p, 5, -1)
		require.Equal(t, again, row.Again.Text, p.Name)
		require.Equal(t, end, row.End.Text, p.Name)
	}
}

// send is a segment of the i-th client, whose initial sequence number is 0.
func send(l *listenq.Listener, i int, flags listenq.Flags, iss uint32) listenq.Outcome {
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 40000)
	seg := &listenq.Segment{Flow: listenq.NewFlow(netip.MustParseAddrPort("192.0.2.2:80"), from), Flags: flags}
	if flags.Has(listenq.ACK) {
		seg.Seq, seg.Ack = 1, iss+1
	}
	return l.Segment(0, seg)
}

func TestCellMarks(t *testing.T) {
	for verified, want := range map[listenq.Verified]string{
		listenq.Measured: "5", listenq.FromSource: "5", listenq.Documented: "5~", listenq.Guess: "5?",
	} {
		require.Equal(t, want, profile.Cell{Text: "5", Verified: verified}.Mark())
	}
	require.Equal(t, "-", profile.Cell{Text: "-", Verified: listenq.Guess}.Mark())
}

// A setting that was moved moves the row.
func TestRowWithAMaximum(t *testing.T) {
	p, err := listenq.ProfileNamed("freebsd")
	require.NoError(t, err)
	row := profile.RowFor(p, 5000, 1024)
	require.Equal(t, "1024", row.Limit.Text)
	require.Equal(t, "1537", row.InTurn.Text)
}
