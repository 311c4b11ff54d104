package tests

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// establishedPage lists what differs from Linux after ESTABLISHED.
	establishedPage = "docs/established.md"
	// packetScripts is where the packet scripts are, and openScripts lists those that
	// fail on our stack.
	packetScripts = "tests/packets/testdata/"
	openScripts   = packetScripts + "open.txt"
	// stays begins the reason of a script that is meant to fail.
	stays = "stays: "
)

var (
	namedTest   = regexp.MustCompile(`\bTest[A-Z][A-Za-z0-9]*`)
	namedScript = regexp.MustCompile("`([a-z0-9-]+)\\.pkt`")
	openEntry   = regexp.MustCompile(`(?m)^([a-z0-9-]+)(?:/ip[46])?: (.*)$`)
)

// What the page says is shown by tests that exist; a script that it names fails on
// our stack, and one that is to go on failing is named there.
func TestEstablishedPageNamesItsTests(t *testing.T) {
	files := textFiles(t)
	page := string(files[establishedPage])
	for _, name := range namedTest.FindAllString(page, -1) {
		if !hasTest(files, name) {
			t.Errorf("%s names %s, which is nowhere", establishedPage, name)
		}
	}
	reasons := map[string]string{}
	for _, m := range openEntry.FindAllStringSubmatch(string(files[openScripts]), -1) {
		reasons[m[1]] = m[2]
	}
	named := map[string]bool{}
	for _, m := range namedScript.FindAllStringSubmatch(page, -1) {
		named[m[1]] = true
		if !strings.HasPrefix(reasons[m[1]], stays) {
			t.Errorf("%s names %s.pkt, and %s does not say of it %q", establishedPage, m[1], openScripts, stays)
		}
	}
	for script, reason := range reasons {
		if strings.HasPrefix(reason, stays) && !named[script] {
			t.Errorf("%s: %s stays so, and %s does not name %s.pkt", openScripts, script, establishedPage, script)
		}
	}
}

// hasTest reports whether some test file has a test of a name.
func hasTest(files map[string][]byte, name string) bool {
	for file, text := range files {
		if isTest(file) && strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}

func TestHasTest(t *testing.T) {
	files := map[string][]byte{
		"a/b_test.go": []byte("package b\nfunc TestThis(t *testing.T) {}\n// func TestOther(t *testing.T)\n"),
		"a/b.go":      []byte("package b\nfunc TestNot(t *testing.T) {}\n"),
	}
	require.True(t, hasTest(files, "TestThis"))
	for _, absent := range []string{"TestThi", "TestThisToo", "TestOther", "TestNot"} {
		require.False(t, hasTest(files, absent), absent)
	}
}
