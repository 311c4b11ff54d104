//go:build linux

package main

// target is what a contestant should reach. Missing it fails no test: it is
// printed beside the figures.
type target struct {
	measurement string
	metric      string
	contestant  string
	versus      string  // another contestant, or empty for an absolute bound
	bound       float64 // a ratio, or a value in the metric's unit
}

var targets = []target{
	{"bulk-in", rate, "ulisten", "stock", 6},
	{"bulk-in", rate, "ulisten", "kernel", 0.5},
	{"bulk-out", rate, "ulisten", "stock", 20},
	{"bulk-out", rate, "ulisten", "kernel", 0.9},
	{"conn-1", rate, "ulisten", "stock", 1},
	{"conn-1", rate, "ulisten", "kernel", 0.6},
	{"conn-8", rate, "ulisten", "stock", 1},
	{"conn-8", rate, "ulisten", "kernel", 0.6},
	{"conn-64", rate, "ulisten", "stock", 1},
	{"conn-64", rate, "ulisten", "kernel", 0.6},
	{"conn-8-fin", rate, "ulisten", "stock", 1},
	{"conn-8-fin", rate, "ulisten", "kernel", 0.6},
	{"half-open", heapPerUnit, "ulisten", "", 256},
	{"half-open", cpuPerUnit, "ulisten", "", 8},
	{"overflow", cpuPerUnit, "ulisten", "", 4},
}
