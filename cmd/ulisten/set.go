package main

import (
	"encoding/json"
	"errors"
	"strings"
)

// setCmd is `ulisten set`.
type setCmd struct {
	controlFlag
	JSON    bool     `name:"json" help:"Print JSON."`
	Address string   `arg:"" help:"The listener, as ulisten ss shows it, like 192.0.2.2:80 or :80."`
	Changes []string `arg:"" name:"key=value" sep:"none" help:"What to change: policy, backlog, accept-delay or accept-rate."`
}

// Example opens the help.
func (*setCmd) Example() string {
	return `ulisten set 192.0.2.2:80 policy=reset
ulisten set :80 backlog=5 accept-delay=200ms`
}

// Help says what happens to what is queued.
func (*setCmd) Help() string {
	return "A policy counts from the next segment on. A backlog is listen(2) on the listening socket: " +
		"the limit changes and what is queued stays."
}

// Run asks the running serve.
func (s *setCmd) Run(c *console) error {
	r := request{Op: "set", Address: s.Address}
	if _, err := parseListenAddress(s.Address); err != nil {
		return usageError{err}
	}
	for _, change := range s.Changes {
		name, value, ok := strings.Cut(change, "=")
		if !ok {
			return usagef("%q is no change: use KEY=VALUE with backlog, policy, accept-delay or accept-rate", change)
		}
		r.Changes = append(r.Changes, setting{name, value})
	}
	reply, err := s.ask(r)
	if err != nil {
		return err
	}
	if len(reply.Listeners) != 1 {
		return errors.New("the serve answered without a listener: is it another version?")
	}
	if s.JSON {
		return json.NewEncoder(c.out).Encode(reply.Listeners[0])
	}
	var b strings.Builder
	(&ssCmd{}).ss(&b, reply)
	_, err = c.out.Write([]byte(b.String()))
	return err
}
