// Command ulisten is a userspace TCP stack behind a TUN device, with a listen
// queue that can be set, watched and changed.
//
//	ulisten demo
//	ulisten serve --address 192.0.2.2/24 --listen 192.0.2.2:80,backlog=2,app=http
//	ulisten ss --watch
//
// See `ulisten --help`.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

// commands is the command line.
type commands struct {
	Demo    demoCmd    `cmd:"" help:"Show what a full listen queue does to real clients, under each policy."`
	Serve   serveCmd   `cmd:"" help:"Own a TUN device and answer on it."`
	Ss      ssCmd      `cmd:"" name:"ss" help:"Show the listeners of a running serve."`
	Sysctl  sysctlCmd  `cmd:"" help:"Show or change the settings of a running serve."`
	Set     setCmd     `cmd:"" help:"Change a listener of a running serve."`
	Explain explainCmd `cmd:"" help:"Print what a backlog becomes and what each packet gets when a queue is full."`
	Compare compareCmd `cmd:"" help:"Play one burst of clients under the rules of every platform, side by side."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// Example opens the help of the program.
func (*commands) Example() string {
	return `ulisten demo
ulisten explain --backlog 2
ulisten compare
ulisten serve --address 192.0.2.2/24 --listen 192.0.2.2:80,backlog=2,app=http`
}

// console is where a command prints: results on out, progress and logs on err.
type console struct {
	out, err io.Writer
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// exitError ends the program with a code and no further words.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func main() { os.Exit(run(os.Args[1:], &console{out: os.Stdout, err: os.Stderr})) }

// run is the program; it returns the exit code.
func run(args []string, c *console) int {
	var cli commands
	helped := false
	parser, err := kong.New(&cli,
		kong.Name("ulisten"),
		kong.Description("A userspace TCP stack with an explicit listen queue."),
		kong.Writers(c.out, c.err),
		kong.Exit(func(int) { helped = true }),
		kong.Help(help),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true}),
		kong.Bind(c),
	)
	if err != nil {
		fmt.Fprintf(c.err, "ulisten: %v\n", err)
		return exitFailure
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(joinNegative(args))
	if helped {
		return 0
	}
	if err != nil {
		at := "ulisten"
		var parse *kong.ParseError
		if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
			at += " " + parse.Context.Selected().Name
		}
		fmt.Fprintf(c.err, "%s: %s; see `%s --help`\n", at, oneLine(err), at)
		return exitUsage
	}
	err = ctx.Run()
	var code exitError
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		fmt.Fprintf(c.err, "ulisten %s: %s\n", ctx.Selected().Name, oneLine(err))
		return exitUsage
	}
	fmt.Fprintf(c.err, "ulisten %s: %s\n", ctx.Selected().Name, oneLine(err))
	return exitFailure
}

// joinNegative turns `--backlog -1` into `--backlog=-1`, because a parser cannot
// tell a negative number from a flag.
func joinNegative(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--backlog" && i+1 < len(args) {
			if _, err := strconv.Atoi(args[i+1]); err == nil {
				joined = append(joined, args[i]+"="+args[i+1])
				i++
				continue
			}
		}
		joined = append(joined, args[i])
	}
	return joined
}

// oneLine is an error's text without line feeds.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// help prints an example, then what kong prints.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	target := ctx.Model.Target
	if ctx.Selected() != nil {
		target = ctx.Selected().Target
	}
	if e, ok := target.Addr().Interface().(interface{ Example() string }); ok {
		fmt.Fprintln(ctx.Stdout, "Example:")
		for line := range strings.Lines(e.Example()) {
			fmt.Fprintln(ctx.Stdout, "  "+strings.TrimRight(line, "\n"))
		}
		fmt.Fprintln(ctx.Stdout)
	}
	return kong.DefaultHelpPrinter(options, ctx)
}
