package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// versionCmd is `ulisten version`.
type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Example opens the help.
func (*versionCmd) Example() string { return "ulisten version" }

// Run prints what the Go toolchain recorded when it built the program.
func (v *versionCmd) Run(c *console) error {
	var info struct {
		Version  string `json:"version"`
		Revision string `json:"revision,omitempty"`
		Modified bool   `json:"modified,omitempty"`
		Go       string `json:"go"`
	}
	info.Version, info.Go = "(unknown)", runtime.Version()
	if build, ok := debug.ReadBuildInfo(); ok {
		info.Version = build.Main.Version
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				info.Revision = s.Value
			case "vcs.modified":
				info.Modified = s.Value == "true"
			}
		}
	}
	if v.JSON {
		return json.NewEncoder(c.out).Encode(info)
	}
	fmt.Fprintf(c.out, "ulisten %s", info.Version)
	if info.Revision != "" {
		fmt.Fprintf(c.out, " (%s", info.Revision)
		if info.Modified {
			fmt.Fprint(c.out, ", modified")
		}
		fmt.Fprint(c.out, ")")
	}
	_, err := fmt.Fprintf(c.out, " %s\n", info.Go)
	return err
}
