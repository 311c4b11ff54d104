// Package tests holds what crosses packages; its own tests keep the tree in
// order.
package tests

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// module is the path that imports of our own begin with.
const module = "github.com/ulisten/ulisten/"

// edge is an import of a tree of packages by another. A tree is a directory at
// the top of the module.
type edge struct{ from, to string }

// forbidden lists the imports between our own trees that must not be, with the
// reason.
var forbidden = map[edge]string{
	{"listenq", "stack"}: "the state machine knows no stack: the same code runs in the simulator",
	{"listenq", "tun"}:   "the state machine moves no packets",
	{"listenq", "cmd"}:   "a program is no library",
	{"listenq", "tests"}: "products do not depend on tests",

	{"tun", "listenq"}: "a link carries packets and has no opinion on them",
	{"tun", "stack"}:   "links are endpoints of any netstack, not only of ours",
	{"tun", "cmd"}:     "a program is no library",
	{"tun", "tests"}:   "products do not depend on tests",

	{"stack", "tun"}:   "the stack takes any link; cmd and tests bring the two together",
	{"stack", "cmd"}:   "a program is no library",
	{"stack", "tests"}: "products do not depend on tests",

	{"cmd", "tests"}: "products do not depend on tests",

	{"tests", "cmd"}: "programs are tested by running them",
}

// testFilesMay lists what is forbidden above and allowed in _test.go files.
var testFilesMay = map[edge]string{
	{"listenq", "tests"}: "for the bugs of tests/mutation",
	{"stack", "tun"}:     "tests of the stack need some link",
	{"stack", "tests"}:   "for the namespaces of tests/netlab",
	{"tun", "tests"}:     "for the namespaces of tests/netlab",
	{"cmd", "tests"}:     "for the namespaces of tests/netlab",
}

// pureTrees are the packages that decide and reckon, and nothing else.
var pureTrees = []string{"listenq", "listenq/client", "listenq/sim"}

// impure lists packages of the standard library, with all below them, that
// pureTrees must not use, with the reason.
var impure = map[string]string{
	"context":     "nothing in listenq blocks",
	"crypto/rand": "entropy is an input",
	"log":         "outcomes are values; whoever runs listenq logs them",
	"net":         "packets are somebody else's; net/netip is fine",
	"os":          "the state machine knows no operating system",
	"runtime":     "the state machine knows no scheduler",
	"sync":        "one caller at a time; locks are the caller's",
	"syscall":     "the state machine knows no operating system",
	"testing":     "tests only",
}

// pure is what the rule above would forbid wrongly.
var pure = []string{"net/netip"}

// clocks are the functions of package time that know what time it is.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

func TestGoFilesAreFormatted(t *testing.T) {
	for name, text := range textFiles(t) {
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		want, err := format.Source(text)
		require.NoError(t, err, name)
		if !bytes.Equal(want, text) {
			t.Errorf("%s: run gofmt -w on it", name)
		}
	}
}

func TestImportArrows(t *testing.T) {
	for name, text := range textFiles(t) {
		for _, complaint := range badImports(t, name, text) {
			t.Errorf("%s: %s", name, complaint)
		}
	}
}

func TestListenqIsPure(t *testing.T) {
	for name, text := range textFiles(t) {
		for _, complaint := range impurities(t, name, text) {
			t.Errorf("%s: %s", name, complaint)
		}
	}
}

func TestNoMachinePaths(t *testing.T) {
	// In two halves, so that this file passes.
	paths := []string{"/ro" + "ot/", "/wo" + "rk/"}
	for name, text := range textFiles(t) {
		for i, line := range bytes.Split(text, []byte("\n")) {
			for _, p := range paths {
				if bytes.Contains(line, []byte(p)) {
					t.Errorf("%s:%d: names %s, a path of one machine", name, i+1, p)
				}
			}
		}
	}
}

func TestModuleIsPinned(t *testing.T) {
	text, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") || strings.Contains(line, "=>") {
			t.Errorf("go.mod:%d: %q: builds elsewhere would ignore a replace directive", i+1, line)
		}
	}
}

func TestTheRulesBite(t *testing.T) {
	imports := func(p string) []byte { return []byte("package p\nimport _ " + strconv.Quote(p) + "\n") }
	for _, tc := range []struct {
		file, imports string
		allowed       bool
	}{
		{"tun/a.go", module + "stack", false},
		{"tun/sub/a.go", module + "stack/interpose", false},
		{"tun/a_test.go", module + "stack", false},
		{"tun/a_test.go", module + "tests/netlab", true},
		{"tun/a.go", "gvisor.dev/gvisor/pkg/tcpip/stack", true},
		{"stack/a.go", module + "tun", false},
		{"stack/a_test.go", module + "tun", true},
		{"stack/a.go", module + "listenq", true},
		{"cmd/ulisten/a.go", module + "tests/netlab", false},
		{"cmd/ulisten/a.go", module + "tun", true},
		{"tests/bench/a.go", module + "cmd/ulisten", false},
		{"tests/bench/a.go", module + "stack", true},
	} {
		got := badImports(t, tc.file, imports(tc.imports))
		require.Equal(t, tc.allowed, len(got) == 0, "%s imports %s: %v", tc.file, tc.imports, got)
	}
	for _, tc := range []struct {
		file, text string
		allowed    bool
	}{
		{"listenq/a.go", `import _ "net"`, false},
		{"listenq/a.go", `import _ "net/http"`, false},
		{"listenq/a.go", `import _ "net/netip"`, true},
		{"listenq/a.go", `import _ "sync/atomic"`, false},
		{"listenq/a.go", `import _ "golang.org/x/sys/unix"`, false},
		{"listenq/a_test.go", `import _ "pgregory.net/rapid"`, true},
		{"listenq/a.go", `import "time"; var t = time.Second`, true},
		{"listenq/a.go", `import "time"; var t = time.Now()`, false},
		{"listenq/a.go", `import clock "time"; var t = clock.Now()`, false},
		{"listenq/a.go", `func f() { go f() }`, false},
		{"listenq/sim/a.go", `import _ "sync"`, false},
		{"listenq/client/a.go", `import _ "github.com/ulisten/ulisten/listenq"`, true},
		{"listenq/memnet/a.go", `import _ "sync"`, true},
		{"stack/a.go", `import "time"; var t = time.Now()`, true},
	} {
		got := impurities(t, tc.file, []byte("package p; "+tc.text))
		require.Equal(t, tc.allowed, len(got) == 0, "%s: %s: %v", tc.file, tc.text, got)
	}
}

// badImports returns what is wrong with the imports of one file of the module.
func badImports(t *testing.T, name string, text []byte) []string {
	var complaints []string
	if !strings.HasSuffix(name, ".go") {
		return nil
	}
	for _, imported := range parse(t, name, text).Imports {
		ours, ok := strings.CutPrefix(importPath(t, imported), module)
		if !ok {
			continue
		}
		e := edge{from: tree(name), to: tree(ours)}
		reason, bad := forbidden[e]
		if _, may := testFilesMay[e]; bad && may && isTest(name) {
			continue
		}
		if bad {
			complaints = append(complaints, fmt.Sprintf("%s must not import %s: %s", e.from, e.to, reason))
		}
	}
	return complaints
}

// impurities returns why one file of the module would make listenq impure.
func impurities(t *testing.T, name string, text []byte) []string {
	if !slices.Contains(pureTrees, path.Dir(name)) || !strings.HasSuffix(name, ".go") || isTest(name) {
		return nil
	}
	var complaints []string
	file := parse(t, name, text)
	timeName := "" // what this file calls package time
	for _, imported := range file.Imports {
		p := importPath(t, imported)
		if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") && !strings.HasPrefix(p, module) {
			complaints = append(complaints, fmt.Sprintf("imports %s: listenq needs the standard library only", p))
		}
		for bad, reason := range impure {
			if (p == bad || strings.HasPrefix(p, bad+"/")) && !slices.Contains(pure, p) {
				complaints = append(complaints, fmt.Sprintf("imports %s: %s", p, reason))
			}
		}
		if p == "time" {
			timeName = "time"
			if imported.Name != nil {
				timeName = imported.Name.Name
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			complaints = append(complaints, "starts a goroutine: listenq runs on its caller")
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && timeName != "" && x.Name == timeName && slices.Contains(clocks, n.Sel.Name) {
				complaints = append(complaints, fmt.Sprintf("uses time.%s: time is an input", n.Sel.Name))
			}
		}
		return true
	})
	return complaints
}

func parse(t *testing.T, name string, text []byte) *ast.File {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	require.NoError(t, err)
	return file
}

func importPath(t *testing.T, spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	require.NoError(t, err)
	return p
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

// tree returns the directory at the top that a file or package lies in.
func tree(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}

// textFiles returns the content of all text files of the module by their path
// from its top, with forward slashes. Programs and profiles that a build leaves
// behind are not text.
func textFiles(t *testing.T) map[string][]byte {
	t.Helper()
	const top = ".."
	files := map[string][]byte{}
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a scratch file of another test, gone again
		}
		if err != nil {
			return err
		}
		if d.Name() == ".git" {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil // of a second work tree
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil
		}
		name, err := filepath.Rel(top, p)
		files[filepath.ToSlash(name)] = text
		return err
	})
	require.NoError(t, err)
	require.Contains(t, files, "go.mod", "the test runs in tests/")
	return files
}
