package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestRunExitStatus(t *testing.T) {
	t.Parallel()
	d := shared(t)
	for arg, want := range map[string]int{"0": 0, "3": 3, "124": 124, "125": 124, "4000000000": 124} {
		if r := d.run("run", rude, "--", "exit", arg); r.code != want || r.err != "" {
			t.Errorf("a module that exits with %s: status %d and %q, want %d", arg, r.code, r.err, want)
		}
	}
	if r := d.run("run", "testdata/command.wasm"); r.code != 7 || r.out != "hello\n" {
		t.Errorf("a command that exits with 7: status %d, output %q", r.code, r.out)
	}
	if r := d.run("run", rude, "--", "trap"); r.code != 1 || r.out != "about to fall over\n" {
		t.Errorf("a module that traps: status %d, output %q", r.code, r.out)
	} else {
		wantAll(t, "the error of a trap", r.err, "unreachable", "stack", "fall_over", "essa_main")
	}
	if r := d.run("run", "testdata/nomemory.wasm"); r.code != 1 {
		t.Errorf("a module without a memory whose import needs it: status %d\n%s", r.code, r.err)
	} else {
		wantAll(t, "the error of a module without memory", r.err, "memory")
	}
	doc := d.doc("run", rude)
	if code, ok := doc["exit_code"].(float64); !ok || code != 0 || doc["id"] == "" {
		t.Errorf("the document of a run: %v", doc)
	}
}

// What essad itself refuses is 125, with what is wrong and what to do.
func TestRunRefused(t *testing.T) {
	t.Parallel()
	d := shared(t)
	wasm := readFile(t, rude)
	for _, c := range []struct {
		name, file string
		wants      []string
	}{
		{"missing file", "/nowhere/x.wasm", []string{"/nowhere/x.wasm", "no such file"}},
		{"folder", "testdata", []string{"testdata", "folder"}},
		{"empty", write(t, "empty.wasm", nil), []string{"not WebAssembly"}},
		{"not wasm", write(t, "text.wasm", []byte("#!/bin/sh\necho hello\n")), []string{"not WebAssembly", "wasip1"}},
		{"truncated", write(t, "short.wasm", wasm[:len(wasm)/2]), []string{"truncated"}},
		{"header only", write(t, "head.wasm", wasm[:8]), []string{"essa_main"}},
		{"damaged", write(t, "bad.wasm", damaged(wasm)), []string{"invalid"}},
		{"component", write(t, "component.wasm", []byte("\x00asm\x0d\x00\x01\x00")), []string{"component", "core module"}},
		{"missing imports", "testdata/imports.wasm", []string{`"env" "missing"`, `"essa_get_args"`, "(i64)"}},
		{"wrong signature", "testdata/signature.wasm", []string{"essa_main", "(i32) -> (i32)"}},
	} {
		r := d.run("run", c.file)
		if r.code != 125 || r.out != "" {
			t.Errorf("%s: status %d, output %q\n%s", c.name, r.code, r.out, r.err)
		}
		wantAll(t, "the error of "+c.name, r.err, c.wants...)
	}
	r := d.run("run", rude, "--engine", "nosuch")
	if r.code != 125 {
		t.Errorf("an unknown engine: status %d", r.code)
	}
	wantAll(t, "the error of an unknown engine", r.err, "nosuch")
	if r := (&daemon{t: t, socket: "/nowhere/s"}).run("run", rude); r.code != 125 {
		t.Errorf("without a daemon: status %d", r.code)
	} else {
		wantAll(t, "the error without a daemon", r.err, "/nowhere/s", "essad dev")
	}
}

// damaged is a module with a function body that is none.
func damaged(wasm []byte) []byte {
	out := bytes.Clone(wasm)
	for i := len(out) / 2; i < len(out)/2+64; i++ {
		out[i] = 0xff
	}
	return out
}

func TestRunPassesThrough(t *testing.T) {
	t.Parallel()
	d := shared(t)
	d.prints("rude.wasm\nargs\na\nb c\n--d\n", "run", rude, "--", "args", "a", "b c", "--d")
	d.prints("A=1\nB=x=y\n", "run", rude, "--env", "A=1", "--env", "B=x=y", "--", "env")
	d.prints("", "run", rude, "--", "env") // nothing of the daemon's or the command line's own
	d.prints("no newline", "run", rude, "--", "bare")
	d.prints("", "run", rude, "--no-stdin", "--", "cat")
	if r := d.run("run", rude, "--", "err"); r.out != "" || r.err != "to stderr\n" {
		t.Errorf("standard error comes as %q and %q", r.out, r.err)
	}
	var in strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&in, "%d\n", i)
	}
	if r := d.runIn(in.String(), "run", rude, "--", "cat"); r.code != 0 || r.out != in.String() {
		t.Errorf("standard input of %d bytes comes back as %d bytes, status %d\n%s", in.Len(), len(r.out), r.code, r.err)
	}
}

func TestRunBigOutput(t *testing.T) {
	t.Parallel()
	d := shared(t)
	const n = 4096 // 4 MiB
	r := d.run("run", rude, "--", "lines", fmt.Sprint(n))
	if r.code != 0 || r.err != "" {
		t.Fatalf("status %d\n%s", r.code, r.err)
	}
	lines := strings.SplitAfter(r.out, "\n")
	if len(lines) != n+1 {
		t.Fatalf("%d lines, want %d", len(lines)-1, n)
	}
	for i, l := range lines[:n] {
		if !strings.HasPrefix(l, fmt.Sprintf("line %010d ", i)) || len(l) != 1024 {
			t.Fatalf("line %d is %q", i, l)
		}
	}
}

// Output arrives while the module still runs: it waits for an answer to what it has said.
func TestRunIsInteractive(t *testing.T) {
	t.Parallel()
	d := shared(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := d.command(ctx, "run", rude, "--", "ask")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	if l, err := r.ReadString('\n'); l != "ready\n" {
		t.Fatalf("the first line is %q, %v", l, err)
	}
	if !strings.Contains(d.must("ps"), " run ") {
		t.Error("ps does not list the run")
	}
	_, _ = io.WriteString(in, "pong\n")
	if l, err := r.ReadString('\n'); l != "pong\n" {
		t.Fatalf("the answer is %q, %v", l, err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestRunState(t *testing.T) {
	t.Parallel()
	d := shared(t)
	d.must("run", rude, "--", "put", "gone-with-its-run")
	eventually(t, "the run's state is gone", func() bool { return !recordOf(d, "gone-with-its-run") })
	d.must("run", rude, "--keep-state", "--", "put", "kept-of-a-run")
	if !recordOf(d, "kept-of-a-run") {
		t.Error("--keep-state kept nothing")
	}
	name := d.deploy("", rude)
	d.must("run", "--deployment", name, "--", "put", "k")
	if out := d.must("call", name, "count", "--arg", "k", "--as", "u64"); out != "1\n" {
		t.Errorf("a run with --deployment left %q elements in the deployment's set", out)
	}
}

// recordOf tells whether there is a key whose record holds a value.
func recordOf(d *daemon, name string) bool {
	d.t.Helper()
	for line := range strings.Lines(d.must("kvs", "export")) {
		var rec struct {
			Key    []byte
			Record []byte
		}
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			d.t.Fatalf("a line of the export is not JSON: %v\n%s", err, line)
		}
		// A tombstone has no value: the set of one element is 4 + 8 + 8 + 1 bytes.
		if bytes.Contains(rec.Key, []byte(name)) && bytes.HasSuffix(rec.Record, []byte("\x01\x00\x00\x00\x00\x00\x00\x00x")) {
			return true
		}
	}
	return false
}

// Ctrl-C ends the run, not only the command that watches it, and its state goes too.
func TestRunInterrupted(t *testing.T) {
	t.Parallel()
	d := shared(t)
	before := d.plugin("wazero")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := d.command(ctx, "run", rude, "--", "put-spin", "gone-with-ctrl-c")
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if l, err := bufio.NewReader(out).ReadString('\n'); l != "stored\n" {
		t.Fatalf("the first line is %q, %v", l, err)
	}
	id := ""
	for _, p := range d.processes() {
		p := p.(map[string]any)
		if text, _ := json.Marshal(p); strings.Contains(string(text), `"run"`) {
			id = fmt.Sprint(p["id"])
		}
	}
	if id == "" {
		t.Fatal("ps does not list the run")
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("essad run ends with %d after Ctrl-C, want 130", code)
	}
	eventually(t, "the run is gone", func() bool { return !strings.Contains(d.must("ps"), id) })
	eventually(t, "its state is gone", func() bool { return !recordOf(d, "gone-with-ctrl-c") })
	if now := d.plugin("wazero"); now != before {
		t.Errorf("the engine is process %d, and was %d before the run was interrupted", now, before)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err == nil {
		t.Error("the process is still there")
	}
}

// Output that cannot be written is not lost in silence, and what makes it is stopped.
func TestRunOutputFails(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	d := shared(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, verb := range []string{"args", "spin"} {
		cmd := d.command(ctx, "run", rude, "--", verb)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &said
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 125 {
			t.Errorf("%s into a full device: %v", verb, err)
		}
		wantAll(t, "the error of a full device", said.String(), "no space left")
	}
}

// Ctrl-C ends a call, not only the command that waits for it.
func TestCallInterrupted(t *testing.T) {
	t.Parallel()
	d := shared(t)
	name := d.deploy("", rude)
	f := d.follow("call", name, "sleep", "--arg", "u64:3600000")
	eventually(t, "the call is in flight", func() bool { return strings.Contains(d.must("ps"), name) })
	_ = f.cmd.Process.Signal(os.Interrupt)
	_ = f.cmd.Wait()
	if code := f.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("essad call ends with %d after Ctrl-C, want 130", code)
	}
	eventually(t, "the call is gone", func() bool { return !strings.Contains(d.must("ps"), name) })
}
