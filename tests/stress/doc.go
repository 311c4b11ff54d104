// Package stress loads ulisten with real kernel clients over TUN devices in
// network namespaces: full duplex echoes of many bytes at many packet sizes, a
// busy machine, thousands of clients at once. Nothing may stand still, be reset or
// arrive changed.
//
// `go test` runs a size that fits it; ULISTEN_STRESS=1 runs all of it, which takes
// about ten minutes on two cores.
package stress
