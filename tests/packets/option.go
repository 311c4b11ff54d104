//go:build linux

package packets

import (
	"encoding/binary"
	"fmt"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// An option is one TCP option. Its values are relative as those of scripts are.
type option struct {
	kind   uint8
	values []uint32
}

// String returns the option as scripts have it.
func (o option) String() string {
	v := o.values
	switch o.kind {
	case header.TCPOptionNOP:
		return "nop"
	case header.TCPOptionEOL:
		return "eol"
	case header.TCPOptionSACKPermitted:
		return "sackOK"
	case header.TCPOptionMSS:
		return fmt.Sprintf("mss %d", v[0])
	case header.TCPOptionWS:
		return fmt.Sprintf("wscale %d", v[0])
	case header.TCPOptionTS:
		return fmt.Sprintf("TS val %d ecr %d", v[0], v[1])
	case header.TCPOptionSACK:
		words := []string{"sack"}
		for i := 0; i+1 < len(v); i += 2 {
			words = append(words, fmt.Sprintf("%d:%d", v[i], v[i+1]))
		}
		return strings.Join(words, " ")
	}
	return fmt.Sprintf("option of kind %d", o.kind)
}

// optionWidths are the bytes of a value, for the options that have some.
var optionWidths = map[uint8]int{header.TCPOptionMSS: 2, header.TCPOptionWS: 1, header.TCPOptionTS: 4, header.TCPOptionSACK: 4}

// optionValues are how many values an option has; a SACK option has two for each
// block.
var optionValues = map[uint8]int{header.TCPOptionMSS: 1, header.TCPOptionWS: 1, header.TCPOptionTS: 2}

// encodeOptions returns options as they are on the wire, padded to a multiple of
// four bytes.
func encodeOptions(options []option) (b []byte) {
	for _, o := range options {
		b = append(b, o.kind)
		if o.kind == header.TCPOptionNOP || o.kind == header.TCPOptionEOL {
			continue
		}
		width := optionWidths[o.kind]
		b = append(b, uint8(2+width*len(o.values)))
		for _, v := range o.values {
			var wide [4]byte
			binary.BigEndian.PutUint32(wide[:], v)
			b = append(b, wide[4-width:]...)
		}
	}
	for len(b)%4 != 0 {
		b = append(b, header.TCPOptionEOL)
	}
	return b
}

// decodeOptions reads options; ones that it does not know have no values, and what
// is malformed ends the list.
func decodeOptions(b []byte) (options []option) {
	for len(b) > 0 {
		o := option{kind: b[0]}
		size := 1
		if o.kind != header.TCPOptionNOP && o.kind != header.TCPOptionEOL {
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
				return options
			}
			size = int(b[1])
			width := optionWidths[o.kind]
			for rest := b[2:size]; width > 0 && len(rest) >= width; rest = rest[width:] {
				var wide [4]byte
				copy(wide[4-width:], rest)
				o.values = append(o.values, binary.BigEndian.Uint32(wide[:]))
			}
			if n, fixed := optionValues[o.kind]; fixed && len(o.values) != n {
				return options
			}
		}
		options = append(options, o)
		b = b[size:]
	}
	return options
}

// show returns a list of options as scripts have it.
func show(options []option) string {
	var words []string
	for _, o := range options {
		words = append(words, o.String())
	}
	return "<" + strings.Join(words, ",") + ">"
}
