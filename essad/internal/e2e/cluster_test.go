package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
)

// cluster is several daemons that find each other over links of one kind.
type cluster struct {
	t       *testing.T
	dir     string
	kind    string
	seed    string   // endpoint of the daemon with the role routing
	native  []string // daemons that use the official library
	daemons map[string]*daemon
}

// fourRoles are the daemons of examples/cluster/four-processes, in the order in which they are started here: the one that the
// others connect to is not the first.
var fourRoles = []string{"kvs", "executor", "routing", "scheduler"}

// newCluster takes the example as it is, but for places: folders, the port that may be in use, and where programs are.
func newCluster(t *testing.T, kind string, native ...string) *cluster {
	t.Helper()
	dir := filepath.Dir(shortSocket(t))
	c := &cluster{t: t, dir: dir, kind: kind, native: native, daemons: map[string]*daemon{}}
	port := fmt.Sprint(freePort(t))
	c.seed = kind + "/127.0.0.1:" + port
	switch kind {
	case "unix":
		c.seed = "unixsock-stream/" + dir + "/mesh-routing.sock"
	case "tls":
		certificates(t, filepath.Join(dir, "certificates"), fourRoles...)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, role := range fourRoles {
		raw := readFile(t, filepath.Join("..", "..", "..", "examples", "cluster", "four-processes", kind, role+".hcl"))
		text := strings.NewReplacer("127.0.0.1:7447", "127.0.0.1:"+port, "/run/essad/", dir+"/").Replace(string(raw))
		c.add(role, text)
	}
	return c
}

// add makes a daemon of a configuration that keeps everything in a folder of the daemon's name.
func (c *cluster) add(name, text string) *daemon {
	c.t.Helper()
	file := filepath.Join(c.dir, name+".hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	args := []string{"--config", file, "--set", "node.plugin_dir=" + bin, "--log-level", "debug"}
	if strings.Contains(text, "executor {") {
		args = append(args, "--set", "executor.stop_grace=30s", "--set", "engine.wazero.settings.cache_dir="+filepath.Join(bin, "compiled"))
	}
	if slices.Contains(c.native, name) {
		args = append(args, "--set", "fabric.implementation=zenohc")
	}
	d := &daemon{t: c.t, dir: filepath.Join(c.dir, name), socket: filepath.Join(c.dir, name, "run", "essad.sock"), args: args, log: &lockedBuffer{}}
	c.daemons[name] = d
	return d
}

// start starts all and waits until each knows all.
func (c *cluster) start() {
	c.t.Helper()
	for _, role := range fourRoles {
		c.daemons[role].start()
		c.daemons[role].cleanUp()
	}
	c.settle(len(fourRoles))
}

// settle waits until every daemon is linked to every other one and knows who it is.
func (c *cluster) settle(n int) {
	c.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(c.daemons)) {
		d := c.daemons[name]
		var has map[string]bool
		defer func() {
			if c.t.Failed() {
				c.t.Logf("%s is linked to %v:\n%s", name, has, d.run("status").out)
			}
		}()
		eventually(c.t, name+" is linked to all others", func() bool { has = d.peers(); return len(has) == n-1 })
	}
}

// peers lists the daemons that a daemon says it is linked to.
func (d *daemon) peers() map[string]bool {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, s := d.once()
	defer s.Close()
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil
	}
	out := map[string]bool{}
	for _, n := range nodes {
		if n.Node != d.name() {
			continue
		}
		for _, l := range n.Fabric.GetLinks() {
			if l.Kind != "client" && l.Node != "" && l.RttNano > 0 {
				out[l.Node] = true
			}
		}
	}
	return out
}

// name is that of the daemon's folder, as newCluster gives it.
func (d *daemon) name() string { return filepath.Base(d.dir) }

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// certificates makes an authority and certificates for names, as examples/cluster/certificates.sh does.
func certificates(t *testing.T, dir string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	keep := func(file, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "essad"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	must(err)
	keep("ca.pem", "CERTIFICATE", der)
	for i, name := range names {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1+byte(i))}, DNSNames: []string{"localhost"},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, key.Public(), caKey)
		must(err)
		keep(name+".pem", "CERTIFICATE", der)
		der, err = x509.MarshalPKCS8PrivateKey(key)
		must(err)
		keep(name+".key", "PRIVATE KEY", der)
	}
}

// The demo, unchanged, with each role in a process of its own, over each kind of link.
func TestClusterOfFour(t *testing.T) {
	for _, kind := range []string{"tcp", "tls", "unix"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, kind)
			c.start()
			d := c.daemons["routing"]
			checkDemo(t, d.must("run", guest("test-function")))
			d.must("deploy", "hello", guest("hello"))
			d.must("call", "hello", "sign", "--arg", "Ada")
			c.daemons["kvs"].kill()
			c.daemons["kvs"].start()
			eventually(t, "the guestbook is there again", func() bool {
				r := d.run("call", "hello", "guests")
				return r.code == 0 && strings.Contains(r.out, "Ada")
			})
			// Every daemon is a door for those who may open its socket.
			c.daemons["executor"].must("call", "hello", "sign", "--arg", "Grace")
			wantAll(t, "status", d.must("status"), "node kvs", "node routing", "node scheduler", "node executor", "round trip", "link ")
			wantAll(t, "ping", d.must("ping", "--count", "3", "--interval", "0s"), "kvs", "routing", "scheduler", "executor")
			remote := []string{"--address", c.seed}
			if kind == "tls" {
				certs := filepath.Join(c.dir, "certificates")
				remote = append(remote, "--tls-ca", certs+"/ca.pem", "--tls-cert", certs+"/kvs.pem", "--tls-key", certs+"/kvs.key")
			}
			if kind != "unix" { // there a client of the mesh's socket is one that has the daemon's own user
				d.fails(77, []string{"fabric.admin"}, append(remote, "status")...)
			}
			wantAll(t, "a call from afar", d.must(append(remote, "call", "hello", "guests")...), "Ada", "Grace")
			for _, role := range fourRoles {
				c.daemons[role].stop()
			}
		})
	}
}

// checkDemo wants what the ancestors' demo prints.
func checkDemo(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(demoLines) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(demoLines), out)
	}
	for i, w := range demoLines {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("line %d is %q, want %q", i+1, lines[i], w)
		}
	}
}

// loop calls a function over and over until it is stopped, and keeps account of how the calls ended.
type loop struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	ok     atomic.Int64
	mu     sync.Mutex
	errs   []error
}

func startLoop(d *daemon, callers int, deployment, function string, args []byte) *loop {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &loop{cancel: cancel}
	d.t.Cleanup(func() { l.stop() })
	for range callers {
		c, _ := d.client()
		l.wg.Go(func() {
			for ctx.Err() == nil {
				_, err := c.Call(ctx, deployment, function, args, client.CallOptions{})
				switch {
				case err == nil:
					l.ok.Add(1)
				case ctx.Err() == nil:
					l.mu.Lock()
					l.errs = append(l.errs, err)
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func (l *loop) stop() []error {
	l.cancel()
	l.wg.Wait()
	return l.errs
}

// more waits for n more calls that succeed.
func (l *loop) more(t *testing.T, n int64) {
	t.Helper()
	from := l.ok.Load()
	eventually(t, fmt.Sprintf("%d more calls succeed", n), func() bool { return l.ok.Load() >= from+n })
}

// The daemon with the role routing is the hub of its own clients and nobody else's: when it is killed, calls among the others go on
// without a failure, and everybody knows soon that it is gone.
func TestKillRouting(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "tcp")
	c.start()
	d := c.daemons["scheduler"]
	d.must("deploy", "shop", splitter)
	l := startLoop(d, 4, "shop", "noop", nil)
	l.more(t, 100)
	begin := time.Now()
	c.daemons["routing"].kill()
	eventually(t, "the others know that routing is gone", func() bool {
		for _, name := range []string{"kvs", "executor", "scheduler"} {
			if c.daemons[name].peers()["routing"] {
				return false
			}
		}
		return true
	})
	t.Logf("after %v everybody knew", time.Since(begin).Round(time.Millisecond))
	l.more(t, 200)
	if errs := l.stop(); len(errs) > 0 {
		t.Errorf("%d calls failed when routing was killed, the first with: %v", len(errs), errs[0])
	}
	c.daemons["routing"].start()
	c.settle(len(fourRoles))
	c.daemons["routing"].must("call", "shop", "noop")
}

// When an executor is killed, its calls run elsewhere if their deployment says that they may run twice, and otherwise fail and say
// that they may have run. What comes afterwards goes to those that are there.
func TestKillExecutor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "tcp")
	c.start()
	text := string(readFile(t, filepath.Join(c.dir, "executor.hcl")))
	second := c.add("second", strings.NewReplacer(`"executor"`, `"second"`, "executor/data", "second/data", "executor/run", "second/run").Replace(text))
	second.start()
	second.cleanUp()
	c.settle(len(fourRoles) + 1)
	d := c.daemons["scheduler"]
	eventually(t, "the scheduler knows both executors", func() bool {
		out := d.must("status")
		return strings.Contains(out, "executors: executor, second") || strings.Contains(out, "executors: second, executor")
	})
	d.must("deploy", "shop", splitter, "--retry", "always")
	d.must("deploy", "twice", rude, "--retry", "always")
	d.must("deploy", "once", rude)
	load := startLoop(d, 4, "shop", "noop", nil)
	load.more(t, 50)
	client1, _ := d.client()
	ends := map[string]chan error{"twice": make(chan error, 1), "once": make(chan error, 1)}
	for name, end := range ends {
		go func() {
			_, err := client1.Call(context.Background(), name, "sleep", binary.LittleEndian.AppendUint64(nil, 3000), client.CallOptions{})
			end <- err
		}()
	}
	// Both have one module, so they run where it is compiled.
	var on string
	eventually(t, "two calls sleep on one executor", func() bool {
		ps, err := client1.Processes(t.Context())
		n := 0
		for _, p := range ps {
			if strings.HasSuffix(p.Function, "sleep") && p.State == "running" {
				n, on = n+1, p.Executor
			}
		}
		return err == nil && n == 2
	})
	c.daemons[on].kill()
	if err := <-ends["twice"]; err != nil {
		t.Errorf("a call that may run twice, on an executor that was killed: %v", err)
	}
	if err := <-ends["once"]; status.Of(err) != status.Unavailable || !strings.Contains(err.Error(), "may have run") {
		t.Errorf("a call that may run once, on an executor that was killed, ends with class %v: %v", status.Of(err), err)
	}
	load.more(t, 200)
	if errs := load.stop(); len(errs) > 0 {
		t.Errorf("%d calls that may run twice failed, the first with: %v", len(errs), errs[0])
	}
	other := map[string]string{"executor": "second", "second": "executor"}[on]
	wantAll(t, "status", d.must("status"), "executors: "+other+"\n")
}

// A cluster has one key-value store, and its daemons have names of their own: who comes second goes, and says why.
func TestClusterRefusesSeconds(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "tcp")
	c.start()
	for name, want := range map[string]string{
		"kvs2":       "has one key-value store so far",
		"executor-2": "another daemon of the cluster has the name",
	} {
		of, _ := map[string]string{"kvs2": "kvs", "executor-2": "executor"}[name], 0
		text := string(readFile(t, filepath.Join(c.dir, of+".hcl")))
		text = strings.NewReplacer(of+"/data", name+"/data", of+"/run", name+"/run").Replace(text)
		if name == "kvs2" {
			text = strings.Replace(text, `"kvs"`, `"kvs2"`, 1)
		}
		d := c.add(name, text)
		d.launch()
		select {
		case <-d.exited:
		case <-time.After(patience):
			t.Errorf("%s runs on", name)
			d.stop()
			continue
		}
		if code := d.cmd.ProcessState.ExitCode(); code != 73 || !strings.Contains(d.log.String(), want) {
			t.Errorf("%s ends with code %d, want 73 and %q:\n%s", name, code, want, tail(d.log.String(), 2000))
		}
		delete(c.daemons, name)
	}
	c.daemons["routing"].must("kvs", "PUT", "a", "b")
	c.settle(len(fourRoles))
}
