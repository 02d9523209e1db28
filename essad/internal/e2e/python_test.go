package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// withPython runs a test with each Python that has the package eclipse-zenoh.
func withPython(t *testing.T, test func(t *testing.T, python string)) {
	t.Helper()
	list := os.Getenv("ESSAD_INTEROP_PYTHON")
	if list == "" {
		t.Skip("ESSAD_INTEROP_PYTHON names no Python with the package eclipse-zenoh")
	}
	for _, python := range filepath.SplitList(list) {
		out, err := exec.Command(python, "-c", "import importlib.metadata as m; print(m.version('eclipse-zenoh'))").CombinedOutput()
		if err != nil {
			t.Fatalf("%s has no package eclipse-zenoh: %v: %s", python, err, out)
		}
		t.Run(strings.TrimSpace(string(out)), func(t *testing.T) {
			t.Parallel()
			test(t, python)
		})
	}
}

// pythonClient is the folder of the example.
var pythonClient = filepath.Join("..", "..", "..", "examples", "python-client")

// startForStrangers starts a daemon that listens to clients on the network.
func startForStrangers(t *testing.T) (d *daemon, endpoint string) {
	t.Helper()
	endpoint = fmt.Sprintf("tcp/127.0.0.1:%d", freePort(t))
	return start(t, "--name", "one", "--set", "fabric.listen_clients="+endpoint), endpoint
}

// A function is called with nothing but the official Zenoh library, by the network and by the socket.
func TestCallFromPython(t *testing.T) { withPython(t, testCallFromPython) }

func testCallFromPython(t *testing.T, python string) {
	d, endpoint := startForStrangers(t)
	d.must("deploy", "hello", guest("hello"))
	d.must("deploy", "rude", rude)
	call := func(stdin string, args ...string) (out string, err string, code int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, python, append([]string{filepath.Join(pythonClient, "essa_call.py")}, args...)...)
		var o, e bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &o, &e
		_ = cmd.Run()
		return o.String(), e.String(), cmd.ProcessState.ExitCode()
	}
	for _, at := range []string{endpoint, "unixsock-stream/" + d.socket} {
		out, errs, code := call("", "--connect", at, "hello", "sign", "--text", "Ada by "+at)
		if code != 0 || !strings.Contains(out, "Ada by "+at) {
			t.Errorf("by %s: code %d, %q\n%s", at, code, out, errs)
		}
	}
	// What comes back is what the command line gets, to the byte.
	out, errs, code := call("", "--connect", endpoint, "hello", "guests")
	if want := d.must("call", "hello", "guests", "--as", "raw"); code != 0 || out != want {
		t.Errorf("code %d, %q, want %q\n%s", code, out, want, errs)
	}
	out, _, code = call("\x03\x00\x00\x00\x00\x00\x00\x00Bob", "--connect", endpoint, "hello", "sign")
	if code != 0 || !strings.Contains(out, "Bob") {
		t.Errorf("with arguments from standard input: code %d, %q", code, out)
	}
	for _, x := range []struct{ what, want string }{
		{"hello nosuch", "not_found: deployment \"hello\" has no function"},
		{"nosuch f", "not_found: "},
		{"rude trap", "guest_fault: "},
		{"--seconds 0.2 rude spin", "deadline: "},
	} {
		_, errs, code := call("", append([]string{"--connect", endpoint}, strings.Fields(x.what)...)...)
		if code != 1 || !strings.Contains(errs, x.want) {
			t.Errorf("%s: code %d, %q, want %q", x.what, code, errs, x.want)
		}
	}
}

// A client that tries what is for members of the cluster is refused, and counted, and nobody else notices.
func TestTrespass(t *testing.T) { withPython(t, testTrespass) }

func testTrespass(t *testing.T, python string) {
	d, endpoint := startForStrangers(t)
	d.must("deploy", "shop", splitter)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "testdata/trespass.py", endpoint, pythonClient)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	said := map[string]string{}
	read := lineReader(out)
	for line := read(); line != "" && line != "ready"; line = read() {
		what, answer, _ := strings.Cut(line, ": ")
		said[what] = answer
	}
	d.must("call", "shop", "noop")
	d.must("run", guest("hello"))
	d.must("kvs", "PUT", "a", "b")
	d.must("ping", "one", "--count", "3")
	if _, err := fmt.Fprintln(in); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	for line := read(); line != ""; line = read() {
		what, answer, _ := strings.Cut(line, ": ")
		said[what] = answer
	}
	for what, want := range map[string]string{
		"internal query": "refused text/plain;essa-error=denied", "executor": "refused text/plain;essa-error=denied",
		"everything": "refused text/plain;essa-error=denied", "administration": "refused text/plain;essa-error=denied",
		"ping": "ok essa/ping/one", "asked": "[]", "heard": "[]", "mine": "[b'hello']",
		"alive": "essa/alive/executor/one essa/alive/kvs/one essa/alive/routing/one essa/alive/scheduler/one",
	} {
		if said[what] != want {
			t.Errorf("%s: %q, want %q", what, said[what], want)
		}
	}
	c, s := d.once()
	defer s.Close()
	nodes, err := c.Nodes(ctx)
	if err != nil || len(nodes) != 1 || nodes[0].Fabric.GetRefused() < 10 {
		t.Errorf("refused: %v, %v", nodes, err)
	}
	if t.Failed() {
		t.Log(errs.String())
	}
}

// startRouter starts a Zenoh router and returns its endpoint.
func startRouter(t *testing.T, python string) (endpoint string) {
	t.Helper()
	endpoint = fmt.Sprintf("tcp/127.0.0.1:%d", freePort(t))
	cmd := exec.Command(python, "testdata/router.py", endpoint)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Logf("router: %v\n%s", err, errs.String())
		}
	})
	if l := lineReader(out)(); l != "ready" {
		t.Fatalf("the router says %q\n%s", l, errs.String())
	}
	return endpoint
}

// Daemons that are clients of a network of routers are a cluster, too, and clients of that network are its clients.
func TestClusterOfRouterClients(t *testing.T) { withPython(t, testClusterOfRouterClients) }

func testClusterOfRouterClients(t *testing.T, python string) {
	endpoint := startRouter(t, python)
	c := &cluster{t: t, dir: filepath.Dir(shortSocket(t)), daemons: map[string]*daemon{}}
	t.Cleanup(func() { os.RemoveAll(c.dir) })
	for _, name := range []string{"b", "a"} {
		raw := readFile(t, filepath.Join("..", "..", "..", "examples", "cluster", "zenohd", name+".hcl"))
		text := strings.NewReplacer(
			"tcp/zenoh.example.org:7447", endpoint,
			fmt.Sprintf("name = %q\n", name), fmt.Sprintf("name = %q\n  data_dir = %q\n  runtime_dir = %q\n", name, name+"/data", name+"/run"),
		).Replace(string(raw))
		d := c.add(name, text)
		d.start()
		d.cleanUp()
	}
	a := c.daemons["a"]
	eventually(t, "the scheduler knows the executor", func() bool { return strings.Contains(a.must("status"), "executors: b") })
	checkDemo(t, a.must("run", guest("test-function")))
	a.must("deploy", "hello", guest("hello"))
	c.daemons["b"].must("call", "hello", "sign", "--arg", "Ada") // by the other daemon's socket
	wantAll(t, "a call by the router", a.must("--address", endpoint, "call", "hello", "guests"), "Ada")
	wantAll(t, "status", a.must("status"), "node a", "node b", "fabric     client", "(router)")
	c.daemons["b"].kill()
	eventually(t, "the scheduler knows that the executor is gone", func() bool { return !strings.Contains(a.must("status"), "executors: b") })
	c.daemons["b"].start()
	eventually(t, "calls are answered again", func() bool { return a.run("call", "hello", "guests").code == 0 })
}
