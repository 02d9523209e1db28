package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
)

const (
	codeInvalid     = 65
	codeNotFound    = 66
	codeUnavailable = 69
	codeConflict    = 73
	codeDeadline    = 74
	codeDenied      = 77
)

var versionForm = regexp.MustCompile(`version ([0-9a-f]{12})`)

func TestDeploy(t *testing.T) {
	t.Parallel()
	d := start(t)
	first := d.must("deploy", "shop", rude, "--env", "A=1")
	wantAll(t, "deploy", first, "deployed shop")
	v1 := versionForm.FindStringSubmatch(first)
	if v1 == nil {
		t.Fatalf("deploy prints no version: %q", first)
	}
	again := d.must("deploy", "shop", rude, "--env", "A=1")
	wantAll(t, "deploying the same twice", again, "unchanged shop", v1[1])
	v2 := versionForm.FindStringSubmatch(d.must("deploy", "shop", rude, "--env", "A=2"))
	if v2 == nil || v2[1] == v1[1] {
		t.Fatalf("another environment makes version %v, the first was %v", v2, v1)
	}
	env := func(want string, flags ...string) {
		t.Helper()
		d.prints(want+"\n\n", append([]string{"call", "shop", "getenv", "--as", "str"}, flags...)...)
	}
	env("A=2")
	env("A=1", "--deployment-version", v1[1])
	d.must("call", "shop", "tick", "--arg", "k", "--arg", "u64:0")
	wantAll(t, "rollback", d.must("rollback", "shop"), v1[1])
	env("A=1")
	d.prints("1\n", "call", "shop", "count", "--arg", "k", "--as", "u64") // the versions share the state
	d.must("rollback", "shop", v2[1])
	env("A=2")
	list := d.must("deployments")
	wantAll(t, "deployments", list, "shop", v2[1])

	wantAll(t, "undeploy", d.must("undeploy", "shop"), "undeployed shop")
	d.fails(codeNotFound, []string{`"shop"`, "essad deployments"}, "call", "shop", "getenv")
	if list := d.must("deployments"); strings.Contains(list, "shop") {
		t.Errorf("deployments lists what was undeployed:\n%s", list)
	}
	d.must("rollback", "shop") // undone
	env("A=2")
	d.prints("1\n", "call", "shop", "count", "--arg", "k", "--as", "u64")
	d.kill()
	d.start()
	env("A=2")
	env("A=1", "--deployment-version", v1[1])
}

func TestDeployRefused(t *testing.T) {
	t.Parallel()
	d := shared(t)
	name := d.deploy("", rude)
	for _, c := range []struct {
		code  int
		wants []string
		args  []string
	}{
		{codeNotFound, []string{`"nosuch"`, "count", "getenv"}, []string{"call", name, "nosuch"}},
		{codeNotFound, []string{`"nosuch"`, "essad deployments"}, []string{"call", "nosuch", "f"}},
		{codeNotFound, []string{`"0123456789ab"`, name}, []string{"call", name, "count", "--deployment-version", "0123456789ab"}},
		{codeNotFound, []string{`"nosuch"`}, []string{"undeploy", "nosuch"}},
		{codeNotFound, []string{`"nosuch"`}, []string{"rollback", "nosuch"}},
		{codeNotFound, []string{`"0123456789ab"`}, []string{"rollback", name, "0123456789ab"}},
		{codeConflict, []string{"no version before"}, []string{"rollback", name}},
		{codeInvalid, []string{"NOT A NAME", "a-z"}, []string{"deploy", "NOT A NAME", rude}},
		{codeInvalid, []string{"sometimes", "always"}, []string{"deploy", name, rude, "--retry", "sometimes"}},
		{codeNotFound, []string{"nosuch", "there are: wazero"}, []string{"deploy", name, rude, "--engine", "nosuch"}},
		{codeInvalid, []string{"sometimes", "snapshot, fresh or instance"}, []string{"deploy", name, rude, "--isolation", "sometimes"}},
		{codeInvalid, []string{`"nosuch"`, "warm"}, []string{"deploy", name, rude, "--warm-up", "nosuch"}},
		{codeInvalid, []string{"fresh", "warm up"}, []string{"deploy", name, rude, "--warm-up", "count", "--isolation", "fresh"}},
		{codeInvalid, []string{"nowhere.wasm"}, []string{"deploy", name, "nowhere.wasm"}},
		{codeInvalid, []string{"imports"}, []string{"deploy", name, "testdata/imports.wasm"}},
		{codeInvalid, []string{"not WebAssembly"}, []string{"deploy", name, "testdata/rude.c"}},
		{codeInvalid, []string{"component"}, []string{"deploy", name, write(t, "c.wasm", []byte("\x00asm\x0d\x00\x01\x00"))}},
		{codeNotFound, []string{`"nosuch"`, "essad deployments"}, []string{"logs", "nosuch"}},
		{64, []string{"DEPLOYMENT"}, []string{"call", name}},
		{64, []string{"u8"}, []string{"call", name, "count", "--arg", "u8:256"}},
		{64, []string{"array"}, []string{"call", name, "count", "--arg-json", "{}"}},
		{codeInvalid, []string{"nowhere"}, []string{"call", name, "count", "--arg-file", "nowhere"}},
	} {
		d.fails(c.code, c.wants, c.args...)
	}
	d.prints("", "logs", name) // which has written nothing
	sig := d.deploy("-sig", "testdata/signature.wasm")
	d.fails(codeNotFound, []string{sig, "no functions", "i32"}, "call", sig, "two")
	d.prints("0\n", "call", name, "count", "--arg", "k", "--as", "u64") // and the deployment is what it was
}

// Collection removes modules that no version of a deployment names, and no other.
func TestModulesGC(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.must("deploy", "kept", rude)
	d.must("deploy", "kept", splitter) // rude stays: rollback needs it
	d.run("run", "testdata/command.wasm")
	if n := len(d.docs("modules")[0].([]any)); n != 3 {
		t.Errorf("%d modules are stored, want 3", n)
	}
	wantAll(t, "gc of what is young", d.must("modules", "gc"), "removed 0 modules")
	wantAll(t, "a dry gc", d.must("modules", "gc", "--older-than", "0s", "--dry-run"), "would remove 1 modules")
	if n := len(d.docs("modules")[0].([]any)); n != 3 {
		t.Errorf("after a dry gc %d modules are stored, want 3", n)
	}
	wantAll(t, "gc", d.must("modules", "gc", "--older-than", "0s"), "removed 1 modules")
	if n := len(d.docs("modules")[0].([]any)); n != 2 {
		t.Errorf("after gc %d modules are stored, want 2", n)
	}
	d.must("rollback", "kept")
	d.prints("0\n", "call", "kept", "count", "--arg", "k", "--as", "u64")
	if r := d.run("run", "testdata/command.wasm"); r.code != 7 { // stored anew
		t.Errorf("a module that was collected and is run again: status %d\n%s", r.code, r.err)
	}
}

func TestCallArguments(t *testing.T) {
	t.Parallel()
	d := shared(t)
	name := d.deploy("", splitter)
	d.prints("héllo\n", "call", name, "echo", "--arg", "héllo", "--as", "str")
	d.prints("héllo\n", "call", name, "echo", "--arg-json", `["héllo"]`, "--as", "str")
	d.prints("0300000000000000616263\n", "call", name, "echo", "--arg-file", write(t, "args", []byte("\x03\x00\x00\x00\x00\x00\x00\x00abc")), "--as", "hex")
	if r := d.runIn("\x02\x00\x00\x00\x00\x00\x00\x00hi", "call", name, "echo", "--arg-file", "-"); r.out != "\x02\x00\x00\x00\x00\x00\x00\x00hi" {
		t.Errorf("arguments from standard input come back as %q\n%s", r.out, r.err)
	}
	big := write(t, "big", append([]byte{0, 0, 0x80, 0, 0, 0, 0, 0}, make([]byte, 8<<20)...))
	if out := d.must("call", name, "echo", "--arg-file", big); len(out) != 8<<20+8 {
		t.Errorf("8 MiB come back as %d bytes", len(out))
	}
	over := write(t, "over", make([]byte, 17<<20))
	d.fails(76, []string{"arguments", "16777216"}, "call", name, "echo", "--arg-file", over)
	d.fails(1, []string{"unreachable"}, "call", name, "echo", "--arg", "hex:ffffffffffffffff") // a length that is none
	d.fails(codeDeadline, []string{"deadline"}, "call", d.deploy("-rude", rude), "sleep", "--arg", "u64:3600000", "--timeout", "100ms")
}

func TestCallAsync(t *testing.T) {
	t.Parallel()
	d := shared(t)
	name := d.deploy("", rude)
	id := strings.TrimSpace(d.must("call", name, "tick", "--arg", "async", "--arg", "u64:0", "--async"))
	out := d.must("result", id, "--as", "u64")
	if out == "" || out == "0\n" {
		t.Errorf("result prints %q", out)
	}
	d.prints(out, "result", id, "--as", "u64")
	d.prints("1\n", "call", name, "count", "--arg", "async", "--as", "u64")

	slow := strings.TrimSpace(d.must("call", name, "sleep", "--arg", "u64:3600000", "--async", "--timeout", "2s"))
	d.fails(codeUnavailable, []string{"still running", slow}, "result", slow, "--wait", "0s")
	wantAll(t, "ps", d.must("ps"), slow, "async")
	d.fails(codeDeadline, []string{"deadline"}, "result", slow)
	trap := strings.TrimSpace(d.must("call", name, "trap", "--async"))
	d.fails(1, []string{"unreachable"}, "result", trap)
	d.fails(codeNotFound, []string{"result"}, "result", hlc.NewID().String())
	d.fails(64, nil, "result", "not-an-id")
	d.fails(codeNotFound, []string{"nosuch"}, "call", name, "nosuch", "--async")
}

// A call that is sent again under its id, during the first or after it, is not run again.
func TestCallTwice(t *testing.T) {
	t.Parallel()
	d := shared(t)
	name := d.deploy("", rude)
	c, _ := d.client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := []byte("\x05\x00\x00\x00\x00\x00\x00\x00twice\xc8\x00\x00\x00\x00\x00\x00\x00") // "twice", 200 ms
	o := client.CallOptions{ID: hlc.NewID()}
	values := make([]string, 4)
	var wg sync.WaitGroup
	call := func(i int) {
		res, err := c.Call(ctx, name, "tick", args, o)
		if err != nil {
			t.Errorf("call %d: %v", i, err)
			return
		}
		values[i] = fmt.Sprintf("%x", res.Value)
	}
	for i := range 3 {
		wg.Go(func() { call(i) })
	}
	wg.Wait()
	call(3)
	for _, v := range values {
		if v != values[0] || v == "" {
			t.Errorf("the answers differ: %q", values)
		}
	}
	d.prints("1\n", "call", name, "count", "--arg", "twice", "--as", "u64")
}

// Every command has a form for programs, and it is JSON.
func TestJSON(t *testing.T) {
	t.Parallel()
	d := start(t)
	if m := d.doc("deploy", "j", rude); m["manifest"] == nil {
		t.Errorf("deploy: %v", m)
	}
	if m := d.doc("call", "j", "count", "--arg", "k", "--as", "u64"); m["value"] != 0.0 || m["value_base64"] != base64.StdEncoding.EncodeToString(make([]byte, 8)) {
		t.Errorf("call: %v", m)
	}
	id := d.doc("call", "j", "count", "--arg", "k", "--async")["id"]
	if m := d.doc("result", fmt.Sprint(id), "--as", "u64"); m["value"] != 0.0 {
		t.Errorf("result: %v", m)
	}
	d.docs("deploy", "j", rude, "--env", "A=1")
	for _, args := range []string{
		"deployments", "modules", "ps", "status", "plugins", "version", "rollback j", "modules gc --dry-run", "undeploy j",
		"config reference", "bench call j count --arg k --clients 1 --duration 50ms --warm-up 10ms",
		"bench kvs --clients 1 --duration 50ms --warm-up 10ms",
	} {
		if args == "bench call j count --arg k --clients 1 --duration 50ms --warm-up 10ms" {
			d.must("deploy", "j", rude)
		}
		d.docs(strings.Fields(args)...)
	}
	for _, args := range []string{"call nosuch f", "deploy x nowhere.wasm", "undeploy nosuch", "run nowhere.wasm", "result " + hlc.NewID().String()} {
		r := d.run(append([]string{"-o", "json"}, strings.Fields(args)...)...)
		var e struct{ Error, Class string }
		if err := json.Unmarshal([]byte(r.err), &e); err != nil || e.Error == "" || e.Class == "" || r.out != "" {
			t.Errorf("%s fails with %q and %q: %v", args, r.out, r.err, err)
		}
	}
}

// The shell is offered what the daemon has; where there is no daemon, nothing, and soon.
func TestCompletion(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.must("deploy", "shop", rude)
	v := fmt.Sprint(d.doc("deploy", "shop", rude, "--env", "A=1")["manifest"].(map[string]any)["version"])
	for line, want := range map[string]string{
		"call ": "shop", "call sh": "shop", "call x": "", "call shop ov": "overflow", "call nosuch ": "", "call shop count ": "",
		"undeploy ": "shop", "logs s": "shop", "rollback shop " + v[:4]: v, "run --deployment ": "shop", "status -o ": "text\njson",
		"deploy shop ": "wasm", "run ": "wasm",
	} {
		words := strings.Split(line, " ")
		out, _, _ := strings.Cut(d.must(append([]string{"__complete"}, words...)...), ":")
		if strings.TrimSpace(out) != want {
			t.Errorf("%q is completed by %q, want %q", line, out, want)
		}
	}
	d.stop()
	begin := time.Now()
	if out := d.must("__complete", "call", ""); !strings.HasPrefix(out, ":4") || time.Since(begin) > 5*time.Second {
		t.Errorf("without a daemon: %q, after %v", out, time.Since(begin))
	}
}

// What has nothing to call is deployed, for its main may be run; it is said, because calls may have been the point.
func TestDeployNothingToCall(t *testing.T) {
	t.Parallel()
	d := shared(t)
	if out := d.must("deploy", "nothing", "testdata/nomemory.wasm"); !strings.Contains(out, "nothing in it can be called") {
		t.Errorf("deploy says %q", out)
	}
	if out := d.must("undeploy", "nothing"); !strings.Contains(out, "undeployed") {
		t.Error(out)
	}
	if m := d.doc("modules", "gc", "--older-than", "1000h"); m["bytes"] != 0.0 || fmt.Sprint(m["removed"]) != "[]" {
		t.Errorf("nothing to collect is %v", m)
	}
}

// TestFaultText: who calls a function that fails is told what it said about that, on the command line and in the SDK.
func TestFaultText(t *testing.T) {
	t.Parallel()
	d := shared(t)
	name := d.deploy("", write(t, "complainer.wasm", enginetest.Complainer(2, "panic: the shelf is empty\n")))
	wants := []string{"f: unreachable", "\nstack:\n\t$1(i32)", "\nstderr:\n\tpanic: the shelf is empty"}
	d.fails(1, wants, "call", name, "f")
	c, _ := d.client()
	_, err := c.Call(t.Context(), name, "f", nil, client.CallOptions{})
	if status.Of(err) != status.GuestFault {
		t.Fatalf("got %v", err)
	}
	wantAll(t, "the SDK's error", err.Error(), wants...)
}
