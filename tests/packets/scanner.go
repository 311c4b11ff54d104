//go:build linux

package packets

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A scanner reads one line of a script from left to right. Its first failure
// stays: from then on it finds nothing.
type scanner struct {
	rest string
	err  error
}

// fail notes what is wrong, unless something was before.
func (s *scanner) fail(format string, a ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, a...)
	}
	s.rest = ""
}

// wants fails with what should have come next.
func (s *scanner) wants(what string) {
	const most = 30
	found := "the end of the line"
	s.space()
	if s.rest != "" {
		found = strconv.Quote(s.rest[:min(len(s.rest), most)])
	}
	s.fail("expected %s, found %s", what, found)
}

func (s *scanner) space() { s.rest = strings.TrimLeft(s.rest, " \t") }

// accept skips a token if it comes next.
func (s *scanner) accept(token string) bool {
	s.space()
	rest, ok := strings.CutPrefix(s.rest, token)
	if ok {
		s.rest = rest
	}
	return ok
}

// expect skips a token that must come next.
func (s *scanner) expect(token string) {
	if !s.accept(token) {
		s.wants(token)
	}
}

// while skips and returns what consists of some bytes.
func (s *scanner) while(ok func(byte) bool) string {
	n := 0
	for n < len(s.rest) && ok(s.rest[n]) {
		n++
	}
	found := s.rest[:n]
	s.rest = s.rest[n:]
	return found
}

func digit(b byte) bool { return '0' <= b && b <= '9' }

func letter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' || b == '_' }

// word returns the word that comes next, or "".
func (s *scanner) word() string {
	s.space()
	if s.rest == "" || !letter(s.rest[0]) {
		return ""
	}
	return s.while(func(b byte) bool { return letter(b) || digit(b) })
}

// acceptWord skips a whole word if it comes next.
func (s *scanner) acceptWord(word string) bool {
	before := s.rest
	if s.word() == word {
		return true
	}
	s.rest = before
	return false
}

// number returns a number up to a limit, in decimal or hexadecimal digits.
func (s *scanner) number(most uint64) uint64 {
	s.space()
	before := s.rest
	digits := s.while(func(b byte) bool { return digit(b) || letter(b) })
	n, err := strconv.ParseUint(digits, 0, 64)
	if err != nil || n > most {
		if errors.Is(err, strconv.ErrSyntax) {
			s.rest = before
			s.wants("a number")
			return 0
		}
		s.fail("%s is more than %d", digits, most)
		return 0
	}
	return n
}

// seconds returns a time, as in 1, .25 and 0.0001.
func (s *scanner) seconds() time.Duration {
	s.space()
	before := s.rest
	whole, part := s.while(digit), ""
	if len(s.rest) > 1 && s.rest[0] == '.' && digit(s.rest[1]) {
		s.rest = s.rest[1:]
		part = s.while(digit)
	}
	const wholeDigits, partDigits = 6, 6
	if len(whole) > wholeDigits || len(part) > partDigits {
		s.fail("%s.%s is no time: use at most %d digits before the point and %d behind it", whole, part, wholeDigits, partDigits)
		return 0
	}
	d, err := time.ParseDuration(whole + "." + part + "s")
	if err != nil {
		s.rest = before
		s.wants("a time in seconds")
	}
	return d
}

// until skips and returns what stands before a token, and skips that, too.
func (s *scanner) until(token string) string {
	text, rest, ok := strings.Cut(s.rest, token)
	if !ok {
		s.rest = ""
		s.wants(token)
		return ""
	}
	s.rest = rest
	return text
}

// end checks that nothing is left but a comment.
func (s *scanner) end() {
	s.space()
	if s.rest != "" && !strings.HasPrefix(s.rest, "//") {
		s.wants("the end of the line")
	}
}
