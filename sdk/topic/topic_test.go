package topic

import (
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

func TestEncode(t *testing.T) {
	for s, want := range map[string]string{
		"":               "%",
		"total":          "total",
		"a/b":            "a%2Fb",
		"*":              "%2A",
		"**":             "%2A%2A",
		"$x":             "%24x",
		"a#b?c":          "a%23b%3Fc",
		"%":              "%25",
		"@admin":         "%40admin",
		"a@b":            "a@b",
		"größe":          "größe",
		"\xff\xfe":       "%FF%FE",
		"a\xc3":          "a%C3",
		"a\nb\x00\x7f":   "a%0Ab%00%7F",
		"core::ops<i32>": "core::ops<i32>",
		"a b;c=d&e":      "a b;c=d&e",
		"-":              "-",
		"\ufffd":         "\ufffd",
	} {
		got := Encode(s)
		if got != want {
			t.Errorf("%q is encoded as %q, want %q", s, got, want)
		}
		if back, err := Decode(got); err != nil || back != s {
			t.Errorf("%q comes back as %q, %v", s, back, err)
		}
	}
}

func TestDecode(t *testing.T) {
	for chunk, want := range map[string]string{"a%2fb": "a/b", "%61": "a", "%2D": "-", "%c3%9f": "ß"} {
		if got, err := Decode(chunk); err != nil || got != want {
			t.Errorf("%q is decoded as %q, %v", chunk, got, err)
		}
	}
	for _, chunk := range []string{"", "%2", "a%", "%zz", "%%", "%2x"} {
		if s, err := Decode(chunk); status.Of(err) != status.Invalid {
			t.Errorf("%q is decoded as %q, %v", chunk, s, err)
		}
	}
}

// Every name is one chunk that the fabric takes, whatever it holds, and comes back as it was.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "a/b", "*", "$*", "@x", "%", "\xff", "%2F", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		chunk := Encode(s)
		if strings.Contains(chunk, "/") {
			t.Fatalf("%q becomes more than one chunk: %q", s, chunk)
		}
		if len(s) < 1000 {
			if err := transport.ValidKeyExpr(chunk); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			if transport.Wild(chunk) {
				t.Fatalf("%q becomes a wildcard: %q", s, chunk)
			}
		}
		if back, err := Decode(chunk); err != nil || back != s {
			t.Fatalf("%q comes back as %q, %v", s, back, err)
		}
		d, fn, args, err := Default.ParseCall(Default.Call(s, s, s))
		if err != nil || d != s || fn != s || args != s {
			t.Fatalf("a call of %q comes back as %q %q %q, %v", s, d, fn, args, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("a%2Fb")
	f.Add("%")
	f.Fuzz(func(t *testing.T, chunk string) {
		s, err := Decode(chunk)
		if err != nil {
			return
		}
		if back, err := Decode(Encode(s)); err != nil || back != s {
			t.Fatalf("%q stands for %q, which comes back as %q, %v", chunk, s, back, err)
		}
	})
}

func TestNames(t *testing.T) {
	n := Default
	for got, want := range map[string]string{
		n.RunModule():                         "essa/run-module",
		n.Call("shop", "total", ""):           "essa/call/shop/total/-",
		n.Call("shop", "", "k"):               "essa/call/shop/%/k",
		n.Call("a/b", "*", "-"):               "essa/call/a%2Fb/%2A/%2D",
		n.Calls():                             "essa/call/**",
		n.ExecutorRun("x1"):                   "essa/executor/x1/run-module",
		n.RunFunction("x1", "m", "f", ""):     "essa/executor/x1/run-function/m/f/-",
		n.ExecutorFunctions("x1"):             "essa/executor/x1/run-function/**",
		n.ExecutorInfo("x1"):                  "essa/executor/x1/info",
		n.ExecutorReport("*"):                 "essa/executor/*/report",
		n.ExecutorLift("*"):                   "essa/executor/*/lift",
		n.Nested("*"):                         "essa/executor/*/nested",
		n.Alive("kvs", "n1"):                  "essa/alive/kvs/n1",
		n.Alive("*", "*"):                     "essa/alive/*/*",
		n.Ping("n1"):                          "essa/ping/n1",
		n.RunOut("id"):                        "essa/run/id/out",
		n.RunIn("id"):                         "essa/run/id/in",
		n.Admin("scheduler", "deploy"):        "essa/admin/scheduler/deploy",
		n.ExecutorLogs("*"):                   "essa/admin/executor/*/logs",
		n.Log("shop"):                         "essa/admin/log/shop",
		n.Log("*"):                            "essa/admin/log/%2A",
		n.Seed():                              "anna/seed",
		n.AdvertiseRouting():                  "anna/advertise-routing-node",
		n.MonitoringNotify():                  "anna/monitoring_notify",
		n.MonitoringResponse("n1"):            "anna/n1/monitoring_response",
		n.DepartDone("n1"):                    "anna/n1/depart_done",
		n.FeedbackReport():                    "anna/feedback_report",
		n.Management("add_nodes"):             "anna/management/add_nodes",
		n.Benchmark(3):                        "anna/benchmark/benchmark_command/3",
		n.NodeRequest("n1", 2):                "anna/n1/key_request/2",
		n.Node("n1", Gossip, AnyThread):       "anna/n1/gossip/*",
		n.AnyRequest():                        "anna/key_request",
		n.Caches("x1"):                        "anna/x1/cache_update/0",
		n.Watch("w"):                          "anna/watch/w",
		Names{"a/b", "c"}.Call("m", "f", "k"): "a/b/call/m/f/k",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if err := transport.ValidKeyExpr(got); err != nil {
			t.Error(err)
		}
	}
}

func TestParse(t *testing.T) {
	n := Names{Essa: "site/essa", Anna: "site/anna"}
	if d, f, a, err := n.ParseCall(n.Call("a/b", "", "-")); err != nil || d != "a/b" || f != "" || a != "-" {
		t.Errorf("call: %q %q %q %v", d, f, a, err)
	}
	if id, m, f, a, err := n.ParseRunFunction(n.RunFunction("x", "m/n", "*", "")); err != nil || id != "x" || m != "m/n" || f != "*" || a != "" {
		t.Errorf("run function: %q %q %q %q %v", id, m, f, a, err)
	}
	if id, err := n.ParseNested(n.Nested("x/1")); err != nil || id != "x/1" {
		t.Errorf("nested: %q %v", id, err)
	}
	if r, node, err := n.ParseAlive(n.Alive("kvs", "n?1")); err != nil || r != "kvs" || node != "n?1" {
		t.Errorf("alive: %q %q %v", r, node, err)
	}
	at := time.Unix(1, 2)
	if name, id, started, err := n.ParseDaemon(n.Daemon("n/1", "ab12", at)); err != nil || name != "n/1" || id != "ab12" || !started.Equal(at) {
		t.Errorf("daemon: %q %q %v %v", name, id, started, err)
	}
	if err := transport.ValidKeyExpr(n.Daemons()); err != nil || !transport.Includes(n.Daemons(), n.Daemon("n", "i", at)) {
		t.Errorf("daemons: %q, %v", n.Daemons(), err)
	}
	for _, key := range []string{"site/essa/node/a/b", "site/essa/node/a/b/c", "site/essa/node/a/%/1/2", "essa/node/a/b/1"} {
		if _, _, _, err := n.ParseDaemon(key); status.Of(err) != status.Invalid {
			t.Errorf("the key of no daemon, %q: %v", key, err)
		}
	}
	if id, out, err := n.ParseRun(n.RunOut("r")); err != nil || id != "r" || !out {
		t.Errorf("run: %q %v %v", id, out, err)
	}
	if id, out, err := n.ParseRun(n.RunIn("r")); err != nil || id != "r" || out {
		t.Errorf("run: %q %v %v", id, out, err)
	}
	if g, v, err := n.ParseAdmin(n.Admin("node", "status")); err != nil || g != "node" || v != "status" {
		t.Errorf("admin: %q %q %v", g, v, err)
	}
	for _, k := range Kinds() {
		if node, kind, thread, err := n.ParseNode(n.Node("n/1", k, 12)); err != nil || node != "n/1" || kind != k || thread != 12 {
			t.Errorf("node: %q %q %d %v", node, kind, thread, err)
		}
	}
	for _, key := range []string{
		"", "essa/call/a/b/-", "site/essa", "site/essa/call", "site/essa/call/a/b", "site/essa/call/a/b/c/d",
		"site/essa/callx/a/b/c", "site/essa/call/a/%4/c", "site/essa/alive/a", "site/anna/a/b", "site/anna/a/gossip/x",
		"site/anna/a/gossip/-1", "site/anna/a/gossip/01", "site/essa/run/a/err", "site/essa/executor/x/run-module",
	} {
		_, _, _, err1 := n.ParseCall(key)
		_, _, _, _, err2 := n.ParseRunFunction(key)
		_, err3 := n.ParseNested(key)
		_, _, err4 := n.ParseAlive(key)
		_, _, _, err5 := n.ParseNode(key)
		_, _, err6 := n.ParseRun(key)
		_, _, err7 := n.ParseAdmin(key)
		for i, err := range []error{err1, err2, err3, err4, err5, err6, err7} {
			if status.Of(err) != status.Invalid {
				t.Errorf("parser %d takes %q: %v", i+1, key, err)
			}
		}
	}
}

func TestClientPolicy(t *testing.T) {
	n := Default
	for _, x := range []struct {
		op      transport.Op
		key     string
		allowed bool
	}{
		{transport.OpGet, n.Call("shop", "total", ""), true},
		{transport.OpGet, n.RunModule(), true},
		{transport.OpGet, n.Admin("node", "status"), true},
		{transport.OpGet, n.ExecutorLogs("*"), true},
		{transport.OpGet, n.ClientRequest(), true},
		{transport.OpGet, n.Seed(), true},
		{transport.OpGet, n.AnyRequest(), false},
		{transport.OpGet, n.NodeRequest("n1", 0), false},
		{transport.OpGet, n.NodeRequest("client", 0), false},
		{transport.OpGet, n.Alive("*", "*"), false},
		{transport.OpGet, n.RunFunction("x", "m", "f", ""), false},
		{transport.OpGet, n.RunIn("r"), false},
		{transport.OpGet, "essa/**", false},
		{transport.OpGet, "essa/*", false},
		{transport.OpGet, "**", false},
		{transport.OpGet, "*/x", false},
		{transport.OpGet, "e$*/x", false},
		{transport.OpGet, "essa", false},
		{transport.OpGet, "mine/**", true},
		{transport.OpGet, "essay/x", true},
		{transport.OpSubscribe, n.RunOut("r"), true},
		{transport.OpSubscribe, n.RunOut("*"), false},
		{transport.OpSubscribe, "essa/run/$*1/out", false},
		{transport.OpSubscribe, n.Log("shop"), true},
		{transport.OpSubscribe, n.Watch("w"), true},
		{transport.OpSubscribe, n.Watch("*"), false},
		{transport.OpSubscribe, n.Caches("x"), false},
		{transport.OpSubscribe, n.Calls(), false},
		{transport.OpSubscribe, "mine/x", true},
		{transport.OpQueryable, n.RunIn("r"), true},
		{transport.OpQueryable, n.RunIn("*"), false},
		{transport.OpQueryable, n.Calls(), false},
		{transport.OpQueryable, n.Admin("node", "status"), false},
		{transport.OpQueryable, "mine/x", true},
		{transport.OpPut, n.ExecutorReport("x"), false},
		{transport.OpPut, n.RunOut("r"), false},
		{transport.OpPut, n.Log("shop"), false},
		{transport.OpPut, "mine/x", true},
		{transport.OpToken, n.Alive("kvs", "n1"), false},
		{transport.OpToken, "mine/x", true},
		{transport.OpLiveliness, n.Alive("*", "*"), true},
		{transport.OpLiveliness, "**", false},
		{transport.OpLiveliness, "mine/*", true},
		{transport.OpGet, n.Ping("*"), true},
		{transport.OpGet, n.Ping("n1"), true},
		{transport.OpQueryable, n.Ping("n1"), false},
	} {
		err := n.ClientPolicy(Operator)(x.op, x.key)
		if x.allowed != (err == nil) {
			t.Errorf("%v %q: %v", x.op, x.key, err)
		}
		if err != nil && (status.Of(err) != status.Denied || !strings.Contains(err.Error(), x.key)) {
			t.Errorf("%v %q: the refusal is %v", x.op, x.key, err)
		}
	}
}

// What each trust adds, and that none may answer for the cluster or speak in its name.
func TestTrust(t *testing.T) {
	n := Default
	for _, x := range []struct {
		op    transport.Op
		key   string
		least Trust
	}{
		{transport.OpGet, n.Call("shop", "total", ""), User},
		{transport.OpGet, n.Ping("n1"), User},
		{transport.OpLiveliness, n.Alive("*", "*"), User},
		{transport.OpSubscribe, n.RunOut("r"), User},
		{transport.OpGet, n.Admin("kvs", "export"), Operator},
		{transport.OpGet, n.Admin("kvs", "import"), Operator},
		{transport.OpGet, n.Admin("node", "status"), Operator},
		{transport.OpSubscribe, n.Log("shop"), Operator},
		{transport.OpSubscribe, n.RunOut("*"), Observer},
		{transport.OpSubscribe, "**", Observer},
		{transport.OpSubscribe, n.Caches("x"), Observer},
		{transport.OpLiveliness, "**", Observer},
		{transport.OpQueryable, n.Calls(), Observer + 1},
		{transport.OpQueryable, n.Admin("node", "status"), Observer + 1},
		{transport.OpPut, n.ExecutorReport("x"), Observer + 1},
		{transport.OpPut, n.Log("shop"), Observer + 1},
		{transport.OpToken, n.Alive("kvs", "n1"), Observer + 1},
		{transport.OpGet, n.AnyRequest(), Observer + 1},
		{transport.OpGet, n.RunFunction("x", "m", "f", ""), Observer + 1},
	} {
		for trust := User; trust <= Observer; trust++ {
			err := n.ClientPolicy(trust)(x.op, x.key)
			if (err == nil) != (trust >= x.least) {
				t.Errorf("trust %d: %v %q: %v", trust, x.op, x.key, err)
			}
			if err != nil && status.Of(err) != status.Denied {
				t.Errorf("trust %d: %v %q: the refusal is %v", trust, x.op, x.key, err)
			}
		}
	}
	if err := n.ClientPolicy(User)(transport.OpGet, n.Admin("scheduler", "deploy")); !strings.Contains(err.Error(), "fabric.admin") {
		t.Errorf("the refusal does not say what to do: %v", err)
	}
}

func BenchmarkCall(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = Default.Call("shop", "total", "")
	}
}

func BenchmarkClientPolicy(b *testing.B) {
	allow := Default.ClientPolicy(User)
	b.ReportAllocs()
	for b.Loop() {
		if err := allow(transport.OpGet, "essa/call/shop/total/-"); err != nil {
			b.Fatal(err)
		}
	}
}
