package enginetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/status"
)

// Complainer is a module whose function "f" writes a text to standard output (1) or standard error (2), and traps.
func Complainer(stream int, text string) []byte {
	const i32, at = 0x7f, 16
	vec := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, at), uint32(len(text)))
	data := join(vec, make([]byte, at-len(vec)), []byte(text))
	code := join([]byte{0}, i32c(int64(stream)), i32c(0), i32c(1), i32c(8), callOf(0), drop, []byte{0x00, 0x0b}) // unreachable
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, vector([]byte{0x60, 4, i32, i32, i32, i32, 1, i32}, []byte{0x60, 1, i32, 0})),
		section(2, vector(join(named("wasi_snapshot_preview1"), named("fd_write"), []byte{0, 0}))),
		section(3, vector([]byte{1})),
		section(5, vector(join([]byte{0}, uleb(uint64(len(data))>>16+1)))),
		section(7, vector(join(named("memory"), []byte{2, 0}), join(named("f"), []byte{0, 1}))),
		section(10, vector(join(uleb(uint64(len(code))), code))),
		section(11, vector(join([]byte{0}, i32c(0), []byte{0x0b}, uleb(uint64(len(data))), data))))
}

// testFaults: the error of a function that fails has what it said about that, and not all that it ever said.
func testFaults(t *testing.T, open Open) {
	x := start(t, open, Options{})
	fault := func(stream int, text string) string {
		t.Helper()
		wasm := Complainer(stream, text)
		c := x.function("f", nil)
		c.Module, _ = Prepare(t, x.engine, wasm)
		_, err := x.invoke(c)
		wantError(t, err, status.GuestFault, "")
		wantText(t, err.Error(), "f: unreachable")
		return err.Error()
	}
	wantText(t, fault(2, "panic: it is broken\n\nat: some place"), "\nstderr:\n\tpanic: it is broken\n\t\n\tat: some place")
	if text := fault(1, "result\n"); strings.Contains(text, "result") || strings.Contains(text, "stderr") {
		t.Errorf("with its output: %q", text)
	}
	wantText(t, fault(2, "\xff\xfe\n"), "stderr:\n\t\uFFFD")
	var long bytes.Buffer
	for n := range 5000 {
		fmt.Fprintf(&long, "line %d\n", n)
	}
	text := fault(2, long.String())
	wantText(t, text, "stderr:\n\t...\n\tline ", "\tline 4999")
	if len(text) > 4<<10 || strings.Contains(text, "line 1\n") {
		t.Errorf("%d bytes of error", len(text))
	}
	if text := fault(2, strings.Repeat("x", 100_000)); len(text) > 4<<10 || !strings.HasSuffix(text, "xxx") {
		t.Errorf("%d bytes of error", len(text))
	}
	x.working(t)
}
