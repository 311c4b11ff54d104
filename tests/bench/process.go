//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/ulisten/ulisten/tests/netlab"
)

// process is a client or server process as the conductor of a trial sees it.
type process struct {
	cmd  *exec.Cmd
	name string
	in   io.WriteCloser
	enc  *json.Encoder
	dec  *json.Decoder
}

// processPatience bounds every answer and the end of a process.
const processPatience = 45 * time.Second

// processCores is GOMAXPROCS of every process of a trial: a client and a server
// share the machine evenly. With more, idle threads of the one look for work on
// the core that the other needs; ulisten serve does the same.
func processCores() int { return max(1, runtime.NumCPU()/2) }

// startProcess starts a program, "" for this one, in a role and waits until it is ready.
func startProcess(n *netlab.Namespace, name, program string, a assignment) (*process, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	if program == "" {
		program = "/proc/self/exe"
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), roleEnv+"="+string(text), "GOMAXPROCS="+strconv.Itoa(processCores()))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.Start(cmd); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, name: name, in: in, enc: json.NewEncoder(in), dec: json.NewDecoder(out)}
	if _, err := p.hear(); err != nil {
		return nil, errors.Join(err, p.quit())
	}
	return p, nil
}

// call asks the process for something.
func (p *process) call(r request) (reply, error) {
	if err := p.enc.Encode(r); err != nil {
		return reply{}, fmt.Errorf("%s: %w", p.name, err)
	}
	return p.hear()
}

func (p *process) hear() (reply, error) {
	timer := time.AfterFunc(processPatience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	var r reply
	if err := p.dec.Decode(&r); err != nil {
		return reply{}, fmt.Errorf("%s ended early: %w", p.name, err)
	}
	if r.Error != "" {
		return reply{}, fmt.Errorf("%s: %s", p.name, r.Error)
	}
	return r, nil
}

func (p *process) snapshot() (snapshot, error) {
	r, err := p.call(request{Op: opSnapshot})
	return r.Snapshot, err
}

// snapshotLive collects garbage first, so that Heap is what is in use.
func (p *process) snapshotLive() (snapshot, error) {
	r, err := p.call(request{Op: opSnapshot, GC: true})
	return r.Snapshot, err
}

func (p *process) inject(n int, answers bool) (injection, error) {
	r, err := p.call(request{Op: opInject, N: n, Answers: answers})
	return r.Injected, err
}

// quit lets the process end and waits for it.
func (p *process) quit() error {
	timer := time.AfterFunc(processPatience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := errors.Join(p.in.Close(), p.cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}
