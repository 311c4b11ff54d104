package oracle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The page that explains the rules shows what the code does. With
// ULISTEN_UPDATE_DOCS=1 it is written anew.
func TestRulesPage(t *testing.T) {
	page, err := rulesPage(func(id string) (*Replayed, error) {
		sc, err := Load(filepath.Join(recordings, id+".json"))
		if err != nil {
			return nil, err
		}
		return Replay(sc)
	})
	require.NoError(t, err)
	file := filepath.Join("..", "..", "docs", "linux.md")
	if os.Getenv("ULISTEN_UPDATE_DOCS") != "" {
		require.NoError(t, os.WriteFile(file, []byte(page), 0o644))
	}
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, string(written) == page, "docs/linux.md is out of date: run the test with ULISTEN_UPDATE_DOCS=1")
}
