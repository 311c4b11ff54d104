//go:build !race

package e2e

// raceEnabled is true in a build with the race detector, where everything takes
// ten times as long.
const raceEnabled = false
