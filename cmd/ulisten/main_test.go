package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/ulisten/ulisten/tests/netlab"
)

// programEnv makes the test binary behave as the program.
const programEnv = "ULISTEN_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(programEnv) != "":
		main()
	case filepath.Base(os.Args[0]) != "ulisten": // that is how scripts run it
		if code, done := netlab.Enter(); done {
			os.Exit(code)
		}
	}
	testscript.Main(m, map[string]func(){"ulisten": main})
}

// program is a command that runs ulisten.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), programEnv+"=1")
	return cmd
}

// outcome runs ulisten to its end.
func outcome(t *testing.T, args ...string) (stdout, stderr string, exitCode int) {
	t.Helper()
	cmd := program(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("ULISTEN_UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "tun":
				return netlab.TUNMissing() == nil, nil
			case "norun": // no serve of this machine's own can be in sight
				_, err := os.Stat("/run/ulisten")
				return err != nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"oneline": oneLineError,
		},
	})
}

// oneLineError is a script command: the last standard error is one line.
func oneLineError(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stderr")
	if neg || len(args) > 0 || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		ts.Fatalf("not one line: %q", text)
	}
}

func TestEveryHelpOpensWithAnExample(t *testing.T) {
	for _, command := range []string{"", "demo", "serve", "ss", "sysctl", "set", "explain", "compare", "version"} {
		args := append(strings.Fields(command), "--help")
		stdout, stderr, code := outcome(t, args...)
		require.Zero(t, code, command)
		require.Empty(t, stderr, command)
		lines := strings.Split(stdout, "\n")
		require.Equal(t, "Example:", lines[0], command)
		require.True(t, strings.HasPrefix(lines[1], strings.TrimRight("  ulisten "+command, " ")), lines[1])
		require.Contains(t, stdout, "Usage: ulisten")
	}
}
