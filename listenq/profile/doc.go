// Package profile reads and writes listen queue profiles as YAML, so that
// anybody can describe a platform of their own:
//
//	base: freebsd        # a built-in profile; what is not said is as there
//	name: my-appliance
//	backlog:
//	  maximum: 1024
//	accept-queue:
//	  at-syn: 3n/2+1     # n is the limit that listen made of the backlog
//	  full-syn: reset
//	syn-ack:
//	  waits: [1s, 2s, 4s]
//	  retries: 3
//	citations:
//	  backlog.maximum: {verified: measured, source: "the appliance, firmware 7"}
//
// Load reads a file, Parse the text of one, Choose what a command line says:
// the name of a built-in profile or a file. Marshal writes a whole profile with
// its citations as comments, a starting point. RowFor sums up what a platform
// makes of a backlog; `ulisten explain --all` and docs/platforms.md are made of
// such rows.
//
// ChooseClient, LoadClient and ParseClient do the same for the other side
// (listenq/client), whose fields are not in groups:
//
//	base: linux-6
//	repeats: [1s, 3s, 7s]
//	give-up: 15s
//
// Reading is strict. An unknown field or value, one given twice, a missing
// value, and a profile that contradicts itself (Validate) are errors of type
// *Error: file, line, column, the field's path, what is wrong, and the nearest
// name that exists.
//
// A value that differs from the base's has the file as its citation, and counts
// as a guess, unless the file cites something better.
//
// # Limits
//
// A file has at most 64 KiB. Of YAML, anchors, aliases, tags, merge keys and
// more than one document are refused.
package profile
