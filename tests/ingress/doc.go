// Package ingress asks the kernel and a stack the same questions, one packet
// each, and compares the answers: odd addresses, options, extension headers,
// fragments, lengths. Both have the same addresses, a TCP listener, and a UDP
// socket that is read.
package ingress
