package guests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/examples/internal/fakehost"
	"github.com/essa-project/essad/examples/splitter"
	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/plugin"
)

// demoPrints is what upstream's demo prints, with sets in ascending order where upstream's order is random.
const demoPrints = `Hello world from test function!
Waiting for result...
Function result: FOOBAR
Storing a set in the kvs
Waiting for result...
Function result: FOOBAR fooo
Reading the set from the kvs
Result: {"one", "three", "two"}
Appending to the set in the kvs
Waiting for result...
Function result: 165000
Reading the set from the kvs
Result: {"four", "one", "three", "two"}
Running concurrent KVS test
Reading the concurrent KVS test result set from the kvs
DONE
`

// engineTest is the engine plugin in a process of its own, with a border in memory.
type engineTest struct {
	engine.Engine
	border *enginetest.Border
	tmp    string
}

// startEngine builds and starts the wazero plugin as the daemon would.
func startEngine(t *testing.T) *engineTest {
	t.Helper()
	e := &engineTest{border: &enginetest.Border{Lease: time.Minute}, tmp: t.TempDir()}
	bin := filepath.Join(e.tmp, "essad-plugin-wazero")
	build := exec.Command("go", "build", "-o", bin, "../../../plugins/wazero")
	build.Env = append(os.Environ(), "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "host"), os.NewFile(uintptr(pair[1]), "plugin")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	cmd := exec.Command(bin)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = []string{plugin.EnvDescriptor + "=3", plugin.EnvLogLevel + "=info", "TMPDIR=" + e.tmp, "HOME=" + e.tmp}
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: testWriter{t}})
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: plugin.Handshake, VersionedPlugins: plugin.Versions(), Cmd: cmd, SkipHostEnv: true,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, Logger: log, StartTimeout: 20 * time.Second,
	})
	t.Cleanup(client.Kill)
	dialled, err := plugin.DialEngine(t.Context(), plugin.DialOptions{
		Client: client, Conn: conn, Name: "wazero", Logger: log, Border: e.border,
		Settings: map[string]string{"cache_dir": filepath.Join(e.tmp, "cache")},
	})
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dialled.Close(); err != nil {
			t.Error(err)
		}
	})
	e.Engine, e.border.Engine = dialled, dialled
	return e
}

// testWriter passes on the plugin's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// goGuest builds and prepares a Go guest, without the tag for upstream's hosts.
func (e *engineTest) goGuest(t *testing.T, dir string) string {
	t.Helper()
	wasm, err := fakehost.BuildGo(t.Context(), dir, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return e.prepare(t, wasm)
}

func (e *engineTest) prepare(t *testing.T, wasm []byte) string {
	t.Helper()
	return e.prepareKind(t, wasm, engine.Reactor)
}

func (e *engineTest) prepareKind(t *testing.T, wasm []byte, kind engine.Kind) string {
	t.Helper()
	sum := sha256.Sum256(wasm)
	m := engine.Module{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(wasm))}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(wasm)), nil }
	info, err := e.Prepare(t.Context(), m, open)
	if err != nil {
		t.Fatal(err)
	}
	if info.Kind != kind {
		t.Errorf("the module is of kind %d, not %d", info.Kind, kind)
	}
	return m.SHA256
}

func (e *engineTest) invoke(ctx context.Context, c engine.Call) (*engine.Result, error) {
	c.ID = hlc.NewID()
	c.Root, c.Scope, c.Deadline = c.ID, "test", time.Now().Add(30*time.Second)
	return e.Invoke(ctx, &c)
}

func (e *engineTest) caller(t *testing.T, module string) caller {
	return func(function string, args []byte) ([]byte, error) {
		r, err := e.invoke(t.Context(), engine.Call{Module: module, Function: "__essa_wrapper__" + function, Args: args})
		if err != nil {
			return nil, err
		}
		return r.Value, nil
	}
}

// run runs a module's Main and returns what it printed.
func (e *engineTest) run(t *testing.T, module string) string {
	t.Helper()
	before := len(e.border.Written(engine.Stdout))
	r, err := e.invoke(t.Context(), engine.Call{Module: module, Run: true, Argv: []string{"guest"}})
	if err != nil {
		t.Fatalf("%v\n%s", err, e.border.Written(engine.Stderr))
	}
	if r.ExitCode != 0 {
		t.Fatalf("exit status %d\n%s", r.ExitCode, e.border.Written(engine.Stderr))
	}
	return e.border.Written(engine.Stdout)[before:]
}

// TestEngine runs the guests as they are shipped on the engine as it is shipped.
func TestEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the engine plugin and Go modules")
	}
	e := startEngine(t)
	t.Run("test-function", func(t *testing.T) {
		module := e.goGuest(t, "../../test-function")
		start := time.Now()
		if out := e.run(t, module); out != demoPrints {
			t.Errorf("printed\n%s\nwant\n%s", out, demoPrints)
		}
		t.Logf("133 invocations in %v", time.Since(start))
	})
	t.Run("hello", func(t *testing.T) {
		module := e.goGuest(t, "../../hello")
		if out := e.run(t, module); out != "hello, Ada and Grace\n" {
			t.Errorf("printed %q", out)
		}
	})
	t.Run("probe", func(t *testing.T) {
		call := e.caller(t, e.goGuest(t, "../probe"))
		probe(t, call)
		e.news(t, call)
	})
	t.Run("splitter", func(t *testing.T) { e.split(t) })
}

// news tries what this host has and upstream's has not.
func (e *engineTest) news(t *testing.T, call caller) {
	d := decode(t, call, "counts", bincode.AppendString(nil, "counter"))
	if tag, n := d.Uint32(), d.Int64(); tag != 0 || n != 3 {
		t.Errorf("counts: tag %d, %d", tag, n)
	}
	if why := decode(t, call, "why", nil).String(); !strings.HasPrefix(why, "guest_fault") {
		t.Errorf("the reason of a panic is %q", why)
	}
	put := time.AfterFunc(50*time.Millisecond, func() {
		if _, err := e.border.Put("test", "late", lattice.Encode(lattice.NewSet([]byte("late")))); err != nil {
			t.Error(err)
		}
	})
	defer put.Stop()
	d = decode(t, call, "await", bincode.AppendString(nil, "late"))
	if d.Uint32() != 0 || d.String() != "late" {
		t.Error("the guest did not see what it waited for")
	}
}

func (e *engineTest) split(t *testing.T) {
	call := e.caller(t, e.prepare(t, splitter.Wasm))
	for _, leaves := range []uint64{1, 65, 4096} {
		start := time.Now()
		d := decode(t, call, "split", bincode.AppendUint64(bincode.AppendUint64(nil, 0), leaves))
		if tag, n := d.Uint32(), d.Uint64(); tag != 0 || n != leaves {
			t.Errorf("%d leaves: tag %d, %d", leaves, tag, n)
		}
		t.Logf("%d leaves in %v", leaves, time.Since(start))
	}
	args := bincode.AppendUint64(bincode.AppendUint64(bincode.AppendString(nil, "range"), 48), 113)
	d := decode(t, call, "concurrent_kvs_test", args)
	v, ok := e.border.Value("test", "range")
	if d.Uint32() != 0 || !ok {
		t.Fatal("the set was not stored")
	}
	set, err := lattice.Decode(v.Data)
	if err != nil {
		t.Fatal(err)
	}
	for n := 48; n < 113; n++ {
		if !set.(lattice.Set).Contains([]byte(strconv.Itoa(n))) {
			t.Errorf("%d is missing", n)
		}
	}
}
