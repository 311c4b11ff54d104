package listenq

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every constant of Verdict and Reason has a name of its own. The constants are
// counted in the source, so that a new one cannot be forgotten.
func TestEveryConstantHasAName(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "outcome.go", nil, 0)
	require.NoError(t, err)
	count := map[string]int{}
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		name := decl.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident).Name
		count[name] += len(decl.Specs)
	}
	require.Equal(t, map[string]int{"Verdict": int(Refuse) + 1, "Reason": int(LocalConnect) + 1}, count)

	seen := map[string]bool{}
	check := func(s fmt.Stringer) {
		name := s.String()
		require.NotContains(t, name, "unknown")
		require.NotEmpty(t, name)
		require.False(t, seen[name], name)
		seen[name] = true
	}
	for v := range Refuse + 1 {
		check(v)
	}
	clear(seen)
	for r := range LocalConnect + 1 {
		check(r)
	}
	require.Equal(t, "unknown(9)", (Refuse + 1).String())
	require.Equal(t, "unknown(255)", Reason(255).String())
}

func TestOutcomeString(t *testing.T) {
	o := Outcome{Verdict: SendSYNACK, Reason: NewRequest, SYNQueue: 1, AcceptQueue: 2}
	require.Equal(t, "SYN-ACK synq=1 acceptq=2  new request", o.String())
	require.Equal(t, "drop    synq=0 acceptq=0  not a SYN", Outcome{Reason: NotASYN}.String())
}

func TestFlagsString(t *testing.T) {
	for f, want := range map[Flags]string{
		0: "none", SYN: "SYN", SYN | ACK: "SYN-ACK", FIN | ACK: "FIN-ACK", RST: "RST",
		PSH | ACK: "PSH-ACK", 0xff: "FIN-SYN-RST-PSH-URG-ECE-CWR-ACK",
	} {
		require.Equal(t, want, f.String())
	}
}

// What opens nothing gets nothing; what acknowledges something gets RST.
func TestOddSegmentsToListener(t *testing.T) {
	l := listenWith(8, nil)
	for f := range Flags(64) {
		out := l.Segment(0, &Segment{Flow: client4(int(f)).flow, Flags: f, Seq: 5, Ack: 9, Len: 1})
		switch {
		case f.Has(RST):
			requireOutcome(t, out, Drop, RSTIgnored)
		case f.Has(ACK):
			requireOutcome(t, out, SendRST, NoRequest)
			require.Equal(t, uint32(9), out.Seq)
		case f.Has(SYN) && !f.Has(FIN):
			require.Equal(t, NewRequest, out.Reason)
		default:
			requireOutcome(t, out, Drop, NotASYN)
		}
	}
}
