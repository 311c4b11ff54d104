package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documented finds blocks of the documentation that begin with a command whose
// output is always the same.
var documented = regexp.MustCompile("(?s)```\n\\$ ulisten ((?:compare|explain --(?:all|backlog|profile freebsd)|[^\n]*--help)[^\n]*)\n(.*?)```\n")

// What the documentation says a command prints, it prints. With
// ULISTEN_UPDATE_SCRIPTS=1 the documentation is rewritten instead.
func TestDocumentedOutput(t *testing.T) {
	found := 0
	for _, file := range []string{"README.md", "docs/commands.md", "docs/lab.md"} {
		path := filepath.Join("..", "..", filepath.FromSlash(file))
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		rewritten := documented.ReplaceAllStringFunc(string(text), func(block string) string {
			found++
			command := documented.FindStringSubmatch(block)[1]
			out, errOut, code := outcome(t, strings.Fields(command)...)
			require.Zero(t, code, "%s: ulisten %s: %s", file, command, errOut)
			return "```\n$ ulisten " + command + "\n" + out + "```\n"
		})
		if os.Getenv("ULISTEN_UPDATE_SCRIPTS") != "" {
			require.NoError(t, os.WriteFile(path, []byte(rewritten), 0o644))
			continue
		}
		require.Equal(t, string(text), rewritten, "%s is out of date: run the test with ULISTEN_UPDATE_SCRIPTS=1", file)
	}
	require.Greater(t, found, 7)
}
