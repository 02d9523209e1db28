package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/essa-project/essad"

// The third-party libraries, under the names the table uses.
var libraries = map[string][]string{
	"cache":      {"github.com/hashicorp/golang-lru/v2", "github.com/maypok86/otter/v2"},
	"cobra":      {"github.com/spf13/cobra", "github.com/spf13/pflag"},
	"flock":      {"github.com/gofrs/flock"},
	"go-plugin":  {"github.com/hashicorp/go-plugin"},
	"grpc":       {"google.golang.org/grpc"},
	"hclog":      {"github.com/hashicorp/go-hclog"},
	"histogram":  {"github.com/HdrHistogram/hdrhistogram-go"},
	"nats":       {"github.com/nats-io/nats.go"},
	"pebble":     {"github.com/cockroachdb/pebble/v2"},
	"prometheus": {"github.com/prometheus/client_golang"},
	"protobuf":   {"google.golang.org/protobuf"},
	"systemd":    {"github.com/coreos/go-systemd/v22"},
	"terminal":   {"github.com/schollz/progressbar/v3", "github.com/peterh/liner", "golang.org/x/term"},
	"wasmtime":   {"github.com/bytecodealliance/wasmtime-go/v44"},
	"wazero":     {"github.com/tetratelabs/wazero"},
	"x":          {"golang.org/x/sync", "golang.org/x/sys"},
}

// roleMay is what a role, and the gateway, may import. A role never sees another role, the supervisor, the configuration,
// the process border or an implementation of the fabric: what it needs of them it gets as a plain value or an interface.
const roleMay = "sdk/transport sdk/topic sdk/lattice sdk/bincode sdk/proto/... sdk/engine sdk/storage sdk/client sdk/ring " + leaves +
	" hclog cache protobuf prometheus histogram x"

// leaves import nothing of ours; everybody may import them but the guest library, which must stay small.
const leaves = "sdk/status sdk/hlc sdk/frame sdk/ring"

// table says who may import what of this module and of others, besides the standard library. A package falls under the
// longest pattern that matches it; "/..." stands for a folder and all below it.
var table = []struct{ from, may, why string }{
	{"essad", "essad/internal/cli", "main is three lines around cli.Run"},
	{
		"essad/internal/cli", "essad/internal/agent config sdk/client sdk/transport sdk/transport/... sdk/zenoh sdk/lattice sdk/bincode " + leaves + " hclog cobra terminal histogram x",
		"the command line parses, asks the daemon through sdk/client and prints; it knows no role and no plugin",
	},
	{
		"essad/internal/agent", "essad/internal/... config sdk/... hclog protobuf prometheus flock systemd x",
		"the agent is the only place where configuration, roles and plugins meet; go-plugin and koanf stay behind supervisor and config",
	},
	{"essad/internal/supervisor", "sdk/plugin/... sdk/engine sdk/storage " + leaves + " go-plugin hclog x", "the supervisor runs processes; it knows no role"},
	{"essad/internal/routing", roleMay, "a role reaches other roles through the fabric, or by what the agent hands it"},
	{"essad/internal/kvs", roleMay, "a role reaches other roles through the fabric, or by what the agent hands it"},
	{"essad/internal/scheduler", roleMay, "a role reaches other roles through the fabric, or by what the agent hands it"},
	{"essad/internal/executor", roleMay, "a role reaches other roles through the fabric, or by what the agent hands it"},
	{"essad/internal/gateway", roleMay, "the gateway is a client of the fabric"},
	{"essad/internal/sim/...", "essad/internal/... sdk/... hclog protobuf x", "the simulator drives the roles' cores"},
	{"essad/internal/...", "config sdk/... essad/internal/... hclog protobuf cobra terminal histogram go-plugin grpc nats wazero pebble x", "programs that measure or test the whole"},

	{
		"config", "github.com/knadh/koanf github.com/hashicorp/hcl/v2 github.com/zclconf/go-cty github.com/go-viper/mapstructure/v2 go.yaml.in/yaml/v3 github.com/spf13/pflag",
		"the configuration is read in one place, and nothing of ours leaks into its format",
	},

	{"sdk/status", "", "the leaves import nothing, so that everybody can import them"},
	{"sdk/hlc", "", "the leaves import nothing, so that everybody can import them"},
	{"sdk/frame", "sdk/internal/sock", "the leaves import nothing but leaves, so that everybody can import them"},
	{"sdk/ring", "", "the leaves import nothing, so that everybody can import them"},
	{"sdk/bincode", "sdk/status sdk/hlc", "values are encoded the same way on hosts and in guests"},
	{"sdk/lattice", "sdk/bincode", "values merge the same way on hosts and in guests; the guest library imports it"},
	{"sdk/topic", "sdk/transport " + leaves, "key expressions are text, in the forms that the contract of the fabric defines"},
	{"sdk/internal/self", "", "goroutines told apart: a leaf that the fabric's implementations share"},
	{"sdk/internal/lifetime", "", "contexts of queries: a leaf that the fabric's implementations share"},
	{"sdk/internal/mailbox", "sdk/internal/self", "what waits for a handler: a leaf that the fabric's implementations share"},
	{"sdk/internal/sock", "", "sockets for small messages: a leaf that frames and links share"},
	{"sdk/transport", "sdk/internal/self sdk/internal/mailbox sdk/internal/lifetime sdk/zenoh/keyexpr " + leaves, "the contract of the fabric knows none of its implementations, only the algebra of keys they all share"},
	{"sdk/transport/zenoh/...", "sdk/transport sdk/zenoh/... " + leaves + " x", "an implementation of the fabric knows the contract only"},
	{
		"sdk/transport/zenohc/...", "sdk/transport sdk/internal/self sdk/internal/mailbox sdk/zenoh sdk/zenoh/wire " + leaves + " github.com/eclipse-zenoh/zenoh-go github.com/BooleanCat/option x",
		"an implementation of the fabric knows the contract only, and is configured like the other one",
	},
	{"sdk/zenoh/keyexpr", "", "the algebra of keys is a leaf: the contract of the fabric uses it too"},
	{"sdk/zenoh/wire", "", "the codec is pure"},
	{"sdk/zenoh/internal/route", "sdk/zenoh/wire sdk/zenoh/keyexpr", "routing is pure: messages and ticks in, messages out"},
	{"sdk/zenoh/internal/link", "sdk/zenoh/wire sdk/internal/sock x", "a link carries messages and does not know what they are for"},
	{"sdk/zenoh/internal/scout", "sdk/zenoh/wire x", "scouting finds sessions and does not connect to them"},
	{"sdk/zenoh/...", "sdk/zenoh/... sdk/internal/self sdk/internal/mailbox sdk/internal/lifetime x", "Zenoh in Go is of use without essa"},
	{"sdk/engine", "sdk/lattice sdk/bincode " + leaves, "the contract of engines knows no process border"},
	{"sdk/engine/...", "sdk/engine sdk/engine/... sdk/lattice sdk/bincode " + leaves + " cache x", "what every engine links, over its Backend; no engine, no process border"},
	{"sdk/storage", leaves, "the contract of stores knows no process border"},
	{"sdk/storage/memory", "sdk/storage " + leaves + " github.com/RaduBerinde/btreemap", "a store knows the contract only"},
	{"sdk/client", "sdk/transport sdk/topic sdk/lattice sdk/bincode sdk/proto/... " + leaves + " protobuf x", "the caller hands a client its session; which fabric that is does not matter"},
	{
		"sdk/plugin/...", "sdk/plugin/... sdk/engine sdk/engine/... sdk/storage sdk/proto/... sdk/lattice sdk/bincode " + leaves + " go-plugin grpc protobuf hclog x",
		"the process border carries the contracts and knows neither daemon nor plugins",
	},
	{"sdk/plugin/plugintest", "sdk/plugin sdk/plugin/engineplugin sdk/engine sdk/engine/enginetest go-plugin hclog go.uber.org/goleak", "it runs the suites through the process border"},
	{"sdk/proto/...", "sdk/proto/... protobuf grpc", "generated code"},
	{"sdk/guest", "sdk/lattice sdk/bincode", "everything a guest imports is in every guest"},
	{"sdk/guest/...", "sdk/guest sdk/guest/essagen/internal/... sdk/lattice sdk/bincode golang.org/x/tools", "the generator beside the guest library"},

	{"plugins/wasmtime/...", "plugins/wasmtime/... sdk/... hclog wasmtime x", "plugins get what a third party gets"},
	{"plugins/wazero/...", "plugins/wazero/... sdk/... hclog wazero x", "plugins get what a third party gets"},
	{"plugins/wasmedge/...", "plugins/wasmedge/... sdk/... hclog github.com/second-state/WasmEdge-go x", "plugins get what a third party gets"},
	{"plugins/pebble/...", "plugins/pebble/... sdk/... hclog pebble x", "plugins get what a third party gets"},
	{"plugins/...", "sdk/... hclog x", "plugins get what a third party gets"},
	{"examples/...", "examples/... sdk/... wazero x", "examples show what anybody can do"},
}

// suites are packages that are tests, though not named _test: what third parties run against their implementations.
var suites = []string{"sdk/engine/enginetest", "sdk/engine/runtimetest", "sdk/storage/storagetest", "sdk/transport/transporttest"}

const (
	suiteMay = "sdk/engine sdk/engine/... sdk/storage sdk/transport sdk/topic sdk/lattice sdk/bincode " + leaves + " pgregory.net/rapid go.uber.org/goleak x"
	// testMay is what test files may import over what their package may: a role's test needs a fabric and a store.
	testMay = "sdk/... protobuf grpc go-plugin hclog histogram wazero pebble cobra pgregory.net/rapid go.uber.org/goleak golang.org/x/mod golang.org/x/tools x"
)

type goPackage struct {
	ImportPath   string
	Dir          string
	Name         string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Standard     bool
}

func (p goPackage) path() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// goList asks the go command about packages of this module; env changes the platform.
func goList(t *testing.T, env []string, patterns ...string) []goPackage {
	t.Helper()
	args := append([]string{"list", "-e", "-json=ImportPath,Dir,Name,GoFiles,Imports,TestImports,XTestImports,Standard"}, patterns...)
	cmd := exec.Command("go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no package")
	}
	return pkgs
}

func covers(pattern, path string) bool {
	if folder, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == folder || strings.HasPrefix(path, folder+"/")
	}
	return path == pattern
}

// ruleOf returns the row of the table for a package of ours.
func ruleOf(path string) (may, why string, ok bool) {
	for _, s := range suites {
		if path == s {
			return suiteMay, "a conformance suite runs against any implementation, and so knows none", true
		}
	}
	best := ""
	for _, r := range table {
		if covers(r.from, path) && len(r.from) > len(best) {
			best, may, why, ok = r.from, r.may, r.why, true
		}
	}
	return may, why, ok
}

// allowed reports whether an import is in a list of what may be imported.
func allowed(imp, may string) bool {
	ours, isOurs := strings.CutPrefix(imp, module+"/")
	for word := range strings.FieldsSeq(may) {
		if isOurs {
			if covers(word, ours) {
				return true
			}
			continue
		}
		prefixes, named := libraries[word]
		if !named {
			prefixes = []string{word}
		}
		for _, p := range prefixes {
			if imp == p || strings.HasPrefix(imp, p+"/") {
				return true
			}
		}
	}
	return false
}

func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// TestImports holds the code against the table of who may import what.
func TestImports(t *testing.T) {
	pkgs := goList(t, nil, "./...")
	// The guest library is built for wasip1, where other files of it count.
	pkgs = append(pkgs, goList(t, []string{"GOOS=wasip1", "GOARCH=wasm"}, "./sdk/guest/...")...)
	// What needs a library that few machines have is built by a tag; reading its imports does not need the library.
	pkgs = append(pkgs, goList(t, []string{"CGO_ENABLED=1"}, "-tags=wasmedge", "./plugins/wasmedge")...)
	for _, p := range pkgs {
		may, why, ok := ruleOf(p.path())
		if !ok {
			t.Errorf("%s is in no row of the import table; a new package needs one", p.path())
			continue
		}
		for _, imp := range p.Imports {
			if !standard(imp) && !allowed(imp, may) {
				t.Errorf("%s must not import %s: %s", p.path(), strings.TrimPrefix(imp, module+"/"), why)
			}
		}
		if p.path() == "essad" {
			may += " config" // the tests here hold the documents against the code
		}
		for _, imp := range append(p.TestImports, p.XTestImports...) {
			if !standard(imp) && imp != p.ImportPath && !allowed(imp, may+" "+testMay) {
				t.Errorf("the tests of %s must not import %s: %s", p.path(), strings.TrimPrefix(imp, module+"/"), why)
			}
		}
	}
}

// TestImportTableCanFail wants the table to refuse what it is there to refuse.
func TestImportTableCanFail(t *testing.T) {
	for _, c := range []struct {
		from, imp string
		want      bool
	}{
		{"essad/internal/kvs", module + "/essad/internal/executor", false},
		{"essad/internal/kvs", module + "/config", false},
		{"essad/internal/executor", module + "/sdk/plugin", false},
		{"essad/internal/executor", module + "/sdk/transport/zenoh", false},
		{"essad/internal/executor", module + "/sdk/transport", true},
		{"essad/internal/agent", "github.com/hashicorp/go-plugin", false},
		{"essad/internal/agent", "github.com/knadh/koanf/v2", false},
		{"essad/internal/agent", module + "/essad/internal/kvs", true},
		{"essad/internal/cli", module + "/essad/internal/kvs", false},
		{"essad/internal/supervisor", module + "/config", false},
		{"config", module + "/sdk/status", false},
		{"config", "github.com/knadh/koanf/v2", true},
		{"sdk/status", module + "/sdk/hlc", false},
		{"sdk/status", "golang.org/x/sys/unix", false},
		{"sdk/lattice", module + "/sdk/status", false},
		{"sdk/guest", "google.golang.org/protobuf/proto", false},
		{"sdk/engine/runtime", "google.golang.org/grpc", false},
		{"sdk/client", module + "/sdk/transport/zenoh", false},
		{"plugins/pebble", module + "/plugins/wazero", false},
		{"plugins/pebble", module + "/config", false},
		{"plugins/pebble", "github.com/cockroachdb/pebble/v2/vfs", true},
		{"plugins/redis", "github.com/cockroachdb/pebble/v2", false},
	} {
		may, _, ok := ruleOf(c.from)
		if got := ok && allowed(c.imp, may); got != c.want {
			t.Errorf("%s importing %s: allowed is %v, want %v", c.from, c.imp, got, c.want)
		}
	}
}
