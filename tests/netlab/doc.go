// Package netlab gives tests and benchmarks network namespaces to play in, and
// a kernel TCP client whose every step they control.
//
// A test package enters a private namespace before its first test, and from
// then on `go test` neither needs root nor can touch the machine's own network:
//
//	func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }
//
//	func TestConnect(t *testing.T) {
//		client, server := netlab.New(t), netlab.New(t)
//		netlab.Veth(t, client, server,
//			netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24"))
//		l, err := server.Listen("tcp", "192.0.2.2:80")
//		...
//		sock, err := client.Connect(netlab.ConnectConfig{Remote: netip.MustParseAddrPort("192.0.2.2:80")})
//	}
//
// # Contract
//
// [Main] and [Enter] run the program a second time inside a network namespace
// of its own (as root), or a user namespace with a network namespace (as
// anybody). Where the machine allows neither, tests still run, and those that
// begin with [New], [RequireNamespace] or [RequireTUN] are skipped with the
// exact cause.
//
// Everything made here disappears with the test: devices with their namespace,
// processes with [Namespace.Close] or the death of the test process.
//
// # Limits
//
// Linux only. A socket belongs for ever to the namespace that its thread was in
// when it was opened; goroutines started inside [Namespace.Do] run on other
// threads, outside the namespace.
package netlab
