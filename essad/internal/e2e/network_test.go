package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machines are network namespaces on one bridge, which has a namespace too: nothing outside of them changes.
type machines struct {
	t      *testing.T
	prefix string
}

// newMachines makes n of them, with the addresses 10.0.0.1 and so on.
func newMachines(t *testing.T, n int) *machines {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces take root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skipf("network namespaces take the program ip (Debian: iproute2): %v", err)
	}
	m := &machines{t: t, prefix: fmt.Sprintf("essad%d-", os.Getpid()%100000)}
	if out, err := exec.Command("ip", "netns", "add", m.name(0)).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { m.ip("netns", "del", m.name(0)) })
	bridge := []string{"-n", m.name(0)}
	m.ip(append(bridge, "link", "add", "name", "switch", "type", "bridge")...)
	m.ip(append(bridge, "link", "set", "switch", "up")...)
	for i := 1; i <= n; i++ {
		port := fmt.Sprintf("port%d", i)
		m.ip("netns", "add", m.name(i))
		t.Cleanup(func() { m.ip("netns", "del", m.name(i)) })
		m.ip(append(bridge, "link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns", m.name(i))...)
		m.ip(append(bridge, "link", "set", port, "master", "switch", "up")...)
		m.ip("-n", m.name(i), "addr", "add", fmt.Sprintf("10.0.0.%d/24", i), "dev", "eth0")
		m.ip("-n", m.name(i), "link", "set", "eth0", "up")
		m.ip("-n", m.name(i), "link", "set", "lo", "up")
	}
	return m
}

func (m *machines) name(i int) string { return fmt.Sprintf("%s%d", m.prefix, i) }

func (m *machines) ip(args ...string) {
	m.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		m.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// cable plugs or pulls a machine's cable.
func (m *machines) cable(i int, state string) {
	m.t.Helper()
	m.ip("-n", m.name(0), "link", "set", fmt.Sprintf("port%d", i), state)
}

// Three machines, as the example has them. One that can no longer be reached is gone for everybody once its lease is over, and is there
// again once it can.
func TestThreeMachines(t *testing.T) {
	t.Parallel()
	m := newMachines(t, 3)
	c := &cluster{t: t, dir: filepath.Dir(shortSocket(t)), daemons: map[string]*daemon{}}
	t.Cleanup(func() { os.RemoveAll(c.dir) })
	names := []string{"node1", "node2", "node3"}
	certificates(t, filepath.Join(c.dir, "etc"), names...)
	for i, name := range names {
		text := string(readFile(t, filepath.Join("..", "..", "..", "examples", "cluster", "three-machines", name+".hcl")))
		here := fmt.Sprintf("name = %q\n", name)
		text = strings.NewReplacer("/etc/essad/", filepath.Join(c.dir, "etc")+"/",
			here, here+fmt.Sprintf("  data_dir = %q\n  runtime_dir = %q\n", name+"/data", name+"/run")).Replace(text)
		d := c.add(name, text)
		d.within = []string{"ip", "netns", "exec", m.name(i + 1)}
		d.start()
		d.cleanUp()
	}
	c.settle(3)
	one, two, three := c.daemons["node1"], c.daemons["node2"], c.daemons["node3"]
	checkDemo(t, three.must("run", guest("test-function")))
	one.must("deploy", "shop", splitter, "--retry", "always")
	certs := filepath.Join(c.dir, "etc")
	three.must("--address", "tls/10.0.0.2:7447", "--tls-ca", certs+"/ca.pem", "--tls-cert", certs+"/node3.pem", "--tls-key", certs+"/node3.key", "call", "shop", "noop")
	three.fails(69, []string{"no daemon at tls/10.0.0.2:7447"}, "--address", "tls/10.0.0.2:7447", "--tls-ca", certs+"/ca.pem", "status")

	m.cable(3, "down")
	begin := time.Now()
	for _, d := range []*daemon{one, two} {
		eventually(t, d.name()+" knows that node3 is gone", func() bool { return !d.peers()["node3"] && len(d.peers()) == 1 })
	}
	eventually(t, "node3 knows that it is alone", func() bool { return len(three.peers()) == 0 })
	t.Logf("after %v everybody knew", time.Since(begin).Round(time.Millisecond))
	one.must("call", "shop", "noop")
	m.cable(3, "up")
	c.settle(3)
	three.must("call", "shop", "noop")
}

// A daemon that is stopped and not dead is gone for the others once its lease is over, though its machine answers.
func TestSilentDaemon(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "tcp")
	c.start()
	executor := c.daemons["executor"]
	if err := executor.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = executor.cmd.Process.Signal(syscall.SIGCONT) }()
	begin := time.Now()
	for _, name := range []string{"kvs", "routing", "scheduler"} {
		eventually(t, name+" knows that the executor is gone", func() bool { return !strings.Contains(c.daemons[name].must("status"), "link       executor") })
	}
	t.Logf("after %v everybody knew", time.Since(begin).Round(time.Millisecond))
	if err := executor.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.settle(len(fourRoles))
	checkDemo(t, c.daemons["routing"].must("run", guest("test-function")))
}

// Who links to a daemon by the network has to prove who he is, where there are users; by its own socket nobody is asked. Only those
// who have may administer, where the configuration says so.
func TestUsers(t *testing.T) {
	t.Parallel()
	users := write(t, "users", []byte("# who may come\nada:secret word\nmesh:mesh\n"))
	password := write(t, "password", []byte("secret word\n"))
	endpoint := fmt.Sprintf("tcp/127.0.0.1:%d", freePort(t))
	d := start(t, "--set", "fabric.listen_clients="+endpoint, "--set", "fabric.users_file="+users, "--set", "fabric.admin=authenticated")
	d.must("deploy", "shop", splitter)
	d.fails(69, []string{"no daemon at " + endpoint}, "--address", endpoint, "call", "shop", "noop")
	d.fails(69, []string{"no daemon at " + endpoint}, "--address", endpoint, "--user", "ada", "call", "shop", "noop")
	as := []string{"--address", endpoint, "--user", "ada", "--password-file", password}
	d.must(append(as, "call", "shop", "noop")...)
	d.must(append(as, "status")...)
	d.must(append(as, "deploy", "shop2", splitter)...)
	wantAll(t, "status", d.must("--output", "json", "status"), `"fabric"`)
	d.fails(77, []string{"own socket"}, append(as, "tap")...) // what is published is for the socket alone
}
