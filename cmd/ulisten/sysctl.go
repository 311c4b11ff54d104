package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ulisten/ulisten/stack"
)

// sysctlCmd is `ulisten sysctl`.
type sysctlCmd struct {
	controlFlag
	Write bool     `short:"w" help:"Change settings: each argument is NAME=VALUE."`
	JSON  bool     `name:"json" help:"Print JSON."`
	Names []string `arg:"" optional:"" name:"name" sep:"none" help:"Settings under their kernel names; all if none is given."`
}

// Example opens the help.
func (*sysctlCmd) Example() string {
	return `ulisten sysctl net.core.somaxconn
ulisten sysctl -w net.ipv4.tcp_abort_on_overflow=1`
}

// Help says what is special.
func (*sysctlCmd) Help() string {
	return "As in the kernel, a new net.core.somaxconn counts when listen is called again: `ulisten set ADDRESS backlog=N`."
}

// Run asks the running serve.
func (s *sysctlCmd) Run(c *console) error {
	r := request{Op: "sysctl"}
	for _, arg := range s.Names {
		if s.Write {
			var v sysctlFlag
			if err := v.UnmarshalText([]byte(arg)); err != nil {
				return usageError{err}
			}
			r.Values = append(r.Values, setting(v))
			continue
		}
		if strings.Contains(arg, "=") {
			return usagef("%q changes a setting: add -w", arg)
		}
		if err := stack.KnowsSysctl(arg); err != nil {
			return usageError{err}
		}
		r.Names = append(r.Names, arg)
	}
	if s.Write && len(r.Values) == 0 {
		return usagef("-w needs a setting: give NAME=VALUE, like net.core.somaxconn=128")
	}
	reply, err := s.ask(r)
	if err != nil {
		return err
	}
	if s.JSON {
		values := map[string]string{}
		for _, v := range reply.Sysctls {
			values[v.Name] = v.Value
		}
		return json.NewEncoder(c.out).Encode(values)
	}
	for _, v := range reply.Sysctls {
		fmt.Fprintf(c.out, "%s = %s\n", v.Name, v.Value)
	}
	return nil
}
