package listenq

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ICMPKinds are kinds of ICMP errors, by type and code. They print and read as
// "3/0-1 11/0 12": types with a code, a range of codes, or all of them; "none" is
// the empty set.
type ICMPKinds []ICMPKind

// An ICMPKind is a type with the codes From to To.
type ICMPKind struct{ Type, From, To uint8 }

// maxKinds bounds a set of kinds.
const maxKinds = 32

// Has reports whether an error with this type and code is one of them.
func (k ICMPKinds) Has(icmpType, code uint8) bool {
	for _, kind := range k {
		if kind.Type == icmpType && kind.From <= code && code <= kind.To {
			return true
		}
	}
	return false
}

// String returns the kinds as they are written in profile files.
func (k ICMPKinds) String() string {
	if len(k) == 0 {
		return "none"
	}
	var all []string
	for _, kind := range k {
		all = append(all, kind.String())
	}
	return strings.Join(all, " ")
}

// String returns "3/0-1", "3/1" or "12".
func (k ICMPKind) String() string {
	switch {
	case k.From == 0 && k.To == 255:
		return strconv.Itoa(int(k.Type))
	case k.From == k.To:
		return fmt.Sprintf("%d/%d", k.Type, k.From)
	}
	return fmt.Sprintf("%d/%d-%d", k.Type, k.From, k.To)
}

// MarshalText returns what String returns.
func (k ICMPKinds) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

var errKinds = errors.New(`use types and codes like "3/0-1 11/0 12", or "none"`)

// UnmarshalText reads what String writes.
func (k *ICMPKinds) UnmarshalText(text []byte) error {
	fields := strings.Fields(string(text))
	if len(fields) == 1 && fields[0] == "none" {
		*k = nil
		return nil
	}
	if len(fields) == 0 || len(fields) > maxKinds {
		return fmt.Errorf("%d kinds of ICMP error: %w", len(fields), errKinds)
	}
	var read ICMPKinds
	for _, f := range fields {
		kind, ok := parseICMPKind(f)
		if !ok {
			return fmt.Errorf("kind of ICMP error %q is not understood: %w", clip(f), errKinds)
		}
		read = append(read, kind)
	}
	*k = read
	return nil
}

// kinds reads kinds that stand in the code.
func kinds(text string) (k ICMPKinds) {
	if err := k.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return k
}

func parseICMPKind(s string) (k ICMPKind, ok bool) {
	icmpType, codes, some := strings.Cut(s, "/")
	from, to, isRange := strings.Cut(codes, "-")
	switch {
	case !some:
		from, to = "0", "255"
	case !isRange:
		to = from
	}
	ok = octet(icmpType, &k.Type) && octet(from, &k.From) && octet(to, &k.To) && k.From <= k.To
	return k, ok
}

func octet(s string, to *uint8) bool {
	n, err := strconv.ParseUint(s, 10, 8)
	*to = uint8(n)
	return err == nil
}
