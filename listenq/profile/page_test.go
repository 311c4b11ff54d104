package profile_test

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/listenq"
	"github.com/ulisten/ulisten/listenq/client"
	"github.com/ulisten/ulisten/listenq/profile"
)

// The page of the platforms says what the profiles say. With
// ULISTEN_UPDATE_DOCS=1 it is written anew.
func TestPlatformsPage(t *testing.T) {
	page := platformsPage()
	file := filepath.Join("..", "..", "docs", "platforms.md")
	if os.Getenv("ULISTEN_UPDATE_DOCS") != "" {
		require.NoError(t, os.WriteFile(file, []byte(page), 0o644))
	}
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, string(written) == page, "docs/platforms.md is out of date: run the test with ULISTEN_UPDATE_DOCS=1")
}

const pageHead = `# Platforms

What a TCP listener does with the backlog of listen(2), with half-open connections and with connections
that nobody has accepted yet, platform by platform, and what connect(2) does at the other end. This page
is printed from the profiles that the code runs (` + "`listenq.Profiles`, `client.Profiles`" + `), and a test
compares it with them.

How a value is known: **measured** on a running system, read in the **source**, **documented** by the
vendor, or a **guess**. In the tables that compare platforms, ` + "`~`" + ` marks what is only documented and
` + "`?`" + ` what is not verified; no mark is measured or source. Recordings are those of
[Linux, rule by rule](linux.md); ` + "`tests/platforms`" + ` plays the same scripts on lwIP, on gVisor netstack and on
the profile.

n is the limit that listen makes of the backlog. A request is a half-open connection, in the SYN queue.
` + "`ulisten explain --profile NAME`" + ` shows what follows for a backlog, ` + "`--yaml`" + ` prints a profile as a file to
change ([commands](commands.md#explain)).
`

// pageBacklogs are the backlogs of the first table.
var pageBacklogs = []int{-1, 0, 1, 5, 128, 65535}

func platformsPage() string {
	var b strings.Builder
	b.WriteString(pageHead)

	b.WriteString("\n## What a backlog becomes\n\nThe limit n, and in brackets how many connections complete while nobody accepts: " +
		"one handshake after the other / every SYN before the first final ACK.\n\n")
	header := []string{"profile"}
	for _, n := range pageBacklogs {
		header = append(header, fmt.Sprintf("listen(%d)", n))
	}
	t := newMarkdown(&b, append(header, "maximum moved by")...)
	for _, p := range listenq.Profiles() {
		cells := []string{link(p.Name)}
		for _, n := range pageBacklogs {
			r := profile.RowFor(p, n, -1)
			if r.InTurn.Text == "-" {
				cells = append(cells, r.Limit.Mark())
				continue
			}
			cells = append(cells, fmt.Sprintf("%s (%s / %s)", r.Limit.Mark(), r.InTurn.Mark(), r.AtOnce.Mark()))
		}
		t.row(append(cells, orNone(p.Backlog.Setting))...)
	}

	b.WriteString("\n## Full queues\n\n")
	t = newMarkdown(&b, "profile", "a SYN, accept queue full", "SYN queue holds", "a SYN, SYN queue full", "a final ACK, accept queue full", "SYN-ACK again, s", "end, s")
	for _, p := range listenq.Profiles() {
		r := profile.RowFor(p, 128, -1)
		holds := profile.Cell{Text: p.SYNQueue.Capacity.String(), Verified: r.Requests.Verified}
		if p.AcceptQueue.Counts == listenq.CountHalfOpen {
			holds.Text = "shares n"
		} else if p.SYNQueue.Scope == listenq.ScopeSystem {
			holds.Text += ", all listeners"
		}
		t.row(link(p.Name), r.SYN.Mark(), holds.Mark(), r.NoRequest.Mark(), r.ACK.Mark(), r.Again.Mark(), r.End.Mark())
	}

	b.WriteString("\n## Segments for a request\n\nWhat it is answered by. The request stays unless the table says otherwise.\n\n")
	t = newMarkdown(&b, "profile", "the same SYN", "SYN below", "SYN inside the window", "SYN beyond", "RST that removes", "RST inside", "wrong ACK", "outside the window")
	for _, p := range listenq.Profiles() {
		t.fields(p, "half-open.duplicate-syn", "half-open.syn-below", "half-open.syn-inside", "half-open.syn-beyond",
			"half-open.rst-removes", "half-open.rst-in-window", "half-open.bad-ack", "half-open.out-of-window")
	}

	b.WriteString("\n## ICMP errors about the SYN-ACK of a request\n\nWhich kinds, by type and code, end it, how many it takes, after how many repeated SYN-ACKs, " +
		"whether any sequence number will do, and what the client hears.\n\n")
	t = newMarkdown(&b, "profile", "IPv4", "IPv6", "any number", "errors", "SYN-ACKs again", "end")
	for _, p := range listenq.Profiles() {
		t.fields(p, "icmp.ipv4", "icmp.ipv6", "icmp.any-number", "icmp.errors", "icmp.retries", "icmp.end")
	}

	b.WriteString("\n## What a program notices\n\n")
	t = newMarkdown(&b, "profile", "queued connection that was reset", "listen again", "close, for requests", "cookies", "where queues are shown", "overflow counter")
	for _, p := range listenq.Profiles() {
		t.fields(p, "socket.queued-reset", "socket.listen-again", "socket.close-half-open", "cookies.use", "tools.queues", "tools.overflows")
	}

	b.WriteString("\n## Clients\n\nWhat connect(2) does while nothing, or a RST, answers its SYN.\n\n")
	t = newMarkdown(&b, "client profile", "SYN again, s", "gives up, s", "with", "RSTs until it fails", "with")
	for _, p := range client.Profiles() {
		mark := func(text, field string) string {
			return profile.Cell{Text: text, Verified: p.Citations[field].Verified}.Mark()
		}
		var again []string
		for _, at := range p.Repeats {
			again = append(again, seconds(at))
		}
		resets := strconv.Itoa(p.ResetRetries + 1)
		if p.ResetRetries > 0 {
			resets += ", a SYN " + p.ResetDelay.String() + " after each"
		}
		t.row(clientLink(p.Name), mark(strings.Join(again, " "), "repeats"), mark(seconds(p.GiveUp), "give-up"),
			mark(p.TimedOut, "timed-out"), mark(resets, "reset-retries"), mark(p.Refused, "refused"))
	}

	for _, p := range listenq.Profiles() {
		fmt.Fprintf(&b, "\n## %s\n\n", p.Name)
		page(&b, p.Title, p.Fields(), p.Citations)
	}
	for _, p := range client.Profiles() {
		fmt.Fprintf(&b, "\n## client %s\n\n", p.Name)
		page(&b, p.Title, p.Fields(), p.Citations)
	}
	return b.String()
}

// page is the part about one profile.
func page(b *strings.Builder, title string, fields iter.Seq2[string, any], citations map[string]listenq.Citation) {
	count := map[listenq.Verified]int{}
	total := 0
	for path := range fields {
		count[citations[path].Verified]++
		total++
	}
	var known []string
	for _, v := range []listenq.Verified{listenq.Measured, listenq.FromSource, listenq.Documented, listenq.Guess} {
		if count[v] > 0 {
			known = append(known, fmt.Sprintf("%d %v", count[v], v))
		}
	}
	fmt.Fprintf(b, "%s. Of %d values: %s.\n\n", title, total, strings.Join(known, ", "))
	t := newMarkdown(b, "field", "value", "known", "source", "note")
	for path, value := range fields {
		c := citations[path]
		t.row("`"+path+"`", "`"+profile.Text(value)+"`", c.Verified.String(), c.Source, c.Note)
	}
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', 4, 64) }

func link(name string) string { return "[" + name + "](#" + anchor(name) + ")" }

func clientLink(name string) string { return "[" + name + "](#" + anchor("client "+name) + ")" }

// anchor is what a heading is linked by.
func anchor(heading string) string {
	return strings.NewReplacer(".", "", " ", "-").Replace(heading)
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// markdown is a table that is being written.
type markdown struct{ b *strings.Builder }

func newMarkdown(b *strings.Builder, header ...string) markdown {
	t := markdown{b}
	t.row(header...)
	t.row(slices.Repeat([]string{"---"}, len(header))...)
	return t
}

func (t markdown) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	t.b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// fields is a row of values of a profile.
func (t markdown) fields(p *listenq.Profile, paths ...string) {
	cells := make([]string, 1+len(paths))
	cells[0] = link(p.Name)
	for path, value := range p.Fields() {
		if i := slices.Index(paths, path); i >= 0 {
			text := strings.Trim(profile.Text(value), `"`)
			if text == "" {
				text = "-"
			}
			cells[1+i] = profile.Cell{Text: text, Verified: p.Citations[path].Verified}.Mark()
		}
	}
	t.row(cells...)
}
