package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// fixture loads a file of testdata. Comments at its start that begin with "# env " and "# set " are the layers above it.
func fixture(t *testing.T, name string) (*Config, Origins, error) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s := Sources{
		Inline:    []Inline{{Name: filepath.Base(name), Data: data}},
		IgnoreEnv: []string{"ESSA_ADDRESS"},
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if env, ok := strings.CutPrefix(line, "# env "); ok {
			s.Env = append(s.Env, env)
		}
		if set, ok := strings.CutPrefix(line, "# set "); ok {
			path, value, _ := strings.Cut(set, "=")
			s.Set = append(s.Set, Setting{Source: "--set " + path, Path: path, Value: value})
		}
	}
	return Load(s)
}

func fixtures(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("testdata", dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range all {
		if isConfigName(filepath.Base(f)) {
			out = append(out, f)
		}
	}
	if len(out) < 5 {
		t.Fatalf("only %d fixtures in testdata/%s", len(out), dir)
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v (go test ./config -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("differs from %s\n--- got\n%s\n--- want\n%s", name, got, want)
	}
}

func TestBadFiles(t *testing.T) {
	for _, name := range fixtures(t, "bad") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			cfg, _, err := fixture(t, name)
			var diags Diagnostics
			if !errors.As(err, &diags) || cfg != nil {
				t.Fatalf("want diagnostics and no config, got %v and %v", err, cfg)
			}
			for _, d := range diags {
				if d.Origin.Kind == "" && d.Path != "" {
					t.Errorf("no place: %+v", d)
				}
			}
			golden(t, name+".err", err.Error()+"\n")
		})
	}
}

func TestGoodFiles(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for _, name := range fixtures(t, "good") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			cfg, origins, err := fixture(t, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := cfg.Validate(); err != nil {
				t.Errorf("Validate after Load: %v", err)
			}
			roundTrip(t, cfg, origins)
			if origins["node.name"].Kind == FromDerived {
				cfg.Node.Name = "HOST"
			}
			golden(t, name+".out", printed(t, cfg, origins, HCL))
		})
	}
}

func printed(t *testing.T, cfg *Config, origins Origins, f Format) string {
	t.Helper()
	var b strings.Builder
	if err := Print(&b, cfg, origins, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// roundTrip loads what Print writes and wants the same configuration.
func roundTrip(t *testing.T, cfg *Config, origins Origins) {
	t.Helper()
	for _, f := range []Format{HCL, YAML} {
		text := printed(t, cfg, origins, f)
		again, _, err := Load(Sources{Inline: []Inline{{Name: "printed." + string(f), Data: []byte(text)}}})
		if err != nil {
			t.Errorf("load what was printed as %s: %v\n%s", f, err, text)
			continue
		}
		if !reflect.DeepEqual(cfg, again) {
			t.Errorf("printed as %s and loaded it differs: %v\n%s", f, Diff(cfg, again), text)
		}
	}
}

func TestPrintJSON(t *testing.T) {
	cfg, origins, err := fixture(t, "testdata/good/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Config struct {
			KVS    map[string]any
			Engine map[string]map[string]any
		}
		Origins map[string]Origin
	}
	if err := json.Unmarshal([]byte(printed(t, cfg, origins, JSON)), &out); err != nil {
		t.Fatal(err)
	}
	if out.Config.KVS["memory"] != "512MiB" || out.Config.Engine["wazero"]["env"] == nil {
		t.Errorf("config: %+v", out.Config)
	}
	if o := out.Origins["kvs.memory"]; o.Kind != FromFile || o.Line != 10 || o.Column != 11 {
		t.Errorf("origin of kvs.memory: %+v", o)
	}
	if err := Print(new(strings.Builder), cfg, origins, "toml"); err == nil {
		t.Error("an unknown format must be refused")
	}
}

func TestDefaultFile(t *testing.T) {
	cfg, _, err := Load(Sources{Inline: []Inline{{Name: "default.hcl", Data: Default()}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(cfg.Roles(), " "); got != "routing kvs scheduler executor" {
		t.Errorf("roles: %s", got)
	}
	if cfg.KVS.Store != "pebble" || cfg.KVS.Durability != DurabilitySync || cfg.Executor.Engines[0] != "wazero" {
		t.Errorf("kvs %+v, executor %+v", cfg.KVS, cfg.Executor)
	}
}

func TestExamplesAndPackagedFilesLoad(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../examples/*.hcl", "../examples/*.yaml", "../examples/cluster/*/*.hcl", "../examples/cluster/*/*/*.hcl", "../packaging/*.hcl"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 20 {
		t.Fatalf("found only %v", files)
	}
	for _, f := range files {
		if _, _, err := Load(Sources{Files: []string{f}}); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := Load(Sources{Files: []string{dir}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	write("10-base.hcl", "node {\n  data_dir = \"data\"\n}\nkvs {\n  memory = \"64MiB\"\n  max_key = \"1KiB\"\n}\n")
	write("20-more.yaml", "kvs:\n  memory: 128MiB\nscheduler: {}\n")
	write("30-off.hcl.dpkg-old", "not { even hcl")
	write(".hidden.hcl", "not { even hcl")
	cfg, origins, err := Load(Sources{Files: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.KVS.Memory != 128<<20 || cfg.KVS.MaxKey != 1<<10 || cfg.Scheduler == nil {
		t.Errorf("kvs %+v, scheduler %v", cfg.KVS, cfg.Scheduler)
	}
	if want := filepath.Join(dir, "data"); cfg.Node.DataDir != want {
		t.Errorf("data_dir is %s, want %s: relative to its file", cfg.Node.DataDir, want)
	}
	if got, want := origins["kvs.memory"].String(), filepath.Join(dir, "20-more.yaml")+":2:11"; got != want {
		t.Errorf("origin %s, want %s", got, want)
	}

	// A mistake in a lower layer is reported though a higher one hides it, each with its own file.
	write("10-base.hcl", "kvs {\n  memory = \"lots\"\n}\n")
	write("20-more.yaml", "kvs:\n  memory: more\n")
	_, _, err = Load(Sources{Files: []string{dir}})
	var diags Diagnostics
	if !errors.As(err, &diags) || len(diags) != 2 ||
		!strings.HasSuffix(diags[0].Origin.Source, "10-base.hcl") || !strings.HasSuffix(diags[1].Origin.Source, "20-more.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	if _, _, err := Load(Sources{Files: []string{"testdata/nowhere.hcl"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	big := filepath.Join(t.TempDir(), "big.hcl")
	if err := os.WriteFile(big, bytes.Repeat([]byte("# x\n"), maxFileBytes/4+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := Load(Sources{Files: []string{big}})
	if err == nil || !strings.Contains(err.Error(), "larger than 128KiB") {
		t.Errorf("big file: %v", err)
	}
}

func TestFlags(t *testing.T) {
	fs := pflag.NewFlagSet("essad", pflag.ContinueOnError)
	fs.String("address", "", "not a key")
	AddFlags(fs)
	args := []string{"--address", "x", "--data-dir", "rel", "--set", "kvs.shards=3", "--set", "log.level=debug", "--log-level", "warn", "--set", "executor.engines=a,b"}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, origins, err := Load(Sources{
		Inline: []Inline{{Name: "a.hcl", Data: []byte("kvs {}\nexecutor {}\nengine \"a\" {}\nengine \"b\" {}\n")}},
		Env:    []string{"ESSA_LOG__LEVEL=error", "ESSA_KVS__SHARDS=9"},
		Flags:  fs,
	})
	if err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Node.DataDir != filepath.Join(wd, "rel") || cfg.KVS.Shards != 3 || cfg.Log.Level != "debug" || len(cfg.Executor.Engines) != 2 {
		t.Errorf("node %+v, kvs %+v, log %+v", cfg.Node, cfg.KVS, cfg.Log)
	}
	if o := origins["kvs.shards"].String(); o != "--set kvs.shards" {
		t.Errorf("origin of kvs.shards: %s", o)
	}
	if o := origins["node.data_dir"].String(); o != "--data-dir" {
		t.Errorf("origin of node.data_dir: %s", o)
	}
}

func TestMigrations(t *testing.T) {
	// Version 1 called the block "cache", version 2 calls it "kvs"; version 3 counts its memory in bytes.
	steps := []migration{
		func(tree map[string]any) {
			if old, ok := tree["cache"]; ok {
				tree["kvs"] = old
				delete(tree, "cache")
			}
		},
		func(tree map[string]any) {
			if kvs, ok := tree["kvs"].(map[string]any); ok {
				if mb, ok := kvs["megabytes"].(leaf); ok {
					n, _ := mb.Value.(int64)
					mb.Value = n << 20
					kvs["memory"] = mb
					delete(kvs, "megabytes")
				}
			}
		},
	}
	for text, want := range map[string]bool{
		"cache {\n  megabytes = 64\n}\n":                 true,
		"version = 2\nkvs {\n  megabytes = 64\n}\n":      true,
		"version = 3\nkvs {\n  memory = 67108864\n}\n":   true,
		"version = 3\ncache {\n  memory = 67108864\n}\n": false,
		"version = 4\nkvs {\n  memory = 67108864\n}\n":   false,
	} {
		l := newFile("old.hcl", []byte(text))
		tree, err := hclParser{l}.Unmarshal([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		ok := l.migrate(tree, steps)
		if ok {
			out := l.accept(root(), tree, "")
			kvs, _ := out["kvs"].(map[string]any)
			mem, _ := kvs["memory"].(leaf)
			ok = len(l.diags) == 0 && mem.Value == ByteSize(64<<20) && mem.Origin.Line > 0
		}
		if ok != want {
			t.Errorf("%q: %v, want %v; %v", text, ok, want, l.diags)
		}
	}
}

func TestValidateByHand(t *testing.T) {
	cfg, _, err := Load(Sources{Inline: []Inline{{Name: "default.hcl", Data: Default()}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.KVS.Shards = -1
	cfg.KVS.Store = "gone"
	cfg.Engines["Bad Name"] = Engine{SHA256: "x"}
	err = cfg.Validate()
	for _, want := range []string{"kvs.shards: -1 is too small", `no block store "gone"`, `"Bad Name" is not a name`, "64 hexadecimal"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}

func TestDiff(t *testing.T) {
	load := func(text string) *Config {
		t.Helper()
		cfg, _, err := Load(Sources{Inline: []Inline{{Name: "a.hcl", Data: []byte(text)}}})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	a := load("kvs {}\nscheduler {}\n")
	b := load("kvs {\n  shards = 3\n}\nrouting {}\nlog {\n  level = \"debug\"\n}\n")
	got := map[string]bool{}
	for _, c := range Diff(a, b) {
		got[c.Path] = c.Live
	}
	if live, ok := got["log.level"]; !ok || !live {
		t.Error("log.level must be a live change")
	}
	if live, ok := got["kvs.shards"]; !ok || live {
		t.Error("kvs.shards must be a change that needs a restart")
	}
	if _, ok := got["scheduler.call.queue"]; !ok {
		t.Error("a role that is gone must be a change")
	}
	if len(Diff(a, a)) != 0 {
		t.Error("nothing differs from itself")
	}
}

func TestDiffSeesEmptyRole(t *testing.T) {
	a, b := &Config{KVS: &KVS{}}, &Config{KVS: &KVS{}, Routing: &Routing{}}
	if d := Diff(a, b); len(d) != 1 || d[0].Path != "routing" {
		t.Errorf("got %v", d)
	}
}

func TestReference(t *testing.T) {
	var b strings.Builder
	if err := Reference(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/reference.md", b.String())
}

// TestSchema wants every key to be complete: later code relies on it, and so does the reader of the reference.
func TestSchema(t *testing.T) {
	seen := map[string]bool{}
	var walk func(k *key, path string)
	walk = func(k *key, path string) {
		for _, c := range k.children {
			p := join(path, c.name)
			if c.name == "" || c.doc == "" || seen[p] {
				t.Errorf("%s: a key needs a name of its own and a doc", p)
			}
			if c.doc != "" && !strings.HasSuffix(c.doc, ".") {
				t.Errorf("%s: the doc is not a sentence", p)
			}
			seen[p] = true
			if c.hasDef {
				if m := c.satisfies(c.defaultValue()); m != nil {
					t.Errorf("%s: its default fails its check: %s", p, m.text)
				}
			}
			for _, ch := range c.checks {
				switch ch.name {
				case "min", "max", "oneof", "name", "address", "sha256", "path", "listen", "connect":
				default:
					t.Errorf("%s: unknown check %q", p, ch.name)
				}
			}
			walk(c, p)
		}
	}
	walk(root(), "")
	if k := find([]string{"engine", "any", "path"}); k == nil || k.name != "path" {
		t.Errorf("find engine.any.path: %v", k)
	}
	if find([]string{"kvs", "nothing"}) != nil || find([]string{"kvs", "store", "x"}) != nil {
		t.Error("find must not find what is not there")
	}
}

func TestUnits(t *testing.T) {
	sizes := map[string]int64{
		"0": 0, "12": 12, "12B": 12, "1KiB": 1 << 10, "64MiB": 64 << 20, "1.5GiB": 3 << 29, "2 TiB": 2 << 40,
		"1kB": 1000, "3mb": 3e6, " 7kib ": 7 << 10,
		"": -1, "MiB": -1, "-1": -1, "1e400": -1, "9223372036854775807KiB": -1, "1.5": -1, "0x10": -1, "NaN": -1, "inf": -1, "1_000": -1, "5 apples": -1,
	}
	for text, want := range sizes {
		got, err := ParseByteSize(text)
		if (err != nil) != (want < 0) || err == nil && int64(got) != want {
			t.Errorf("size %q: %d, %v", text, got, err)
		}
		if err == nil {
			if again, err := ParseByteSize(got.String()); err != nil || again != got {
				t.Errorf("size %q prints as %q, which is %d, %v", text, got, again, err)
			}
		}
	}
	durations := map[string]time.Duration{
		"30s": 30 * time.Second, "1m30s": 90 * time.Second, "250ms": 250 * time.Millisecond, "7d": 168 * time.Hour, "0": 0,
		"": -1, "30": -1, "-1s": -1, "soon": -1, "99999999999d": -1, "-1d": -1,
	}
	for text, want := range durations {
		got, err := ParseDuration(text)
		if (err != nil) != (want < 0) || err == nil && got.Std() != want {
			t.Errorf("duration %q: %s, %v", text, got, err)
		}
		if err == nil {
			if again, err := ParseDuration(got.String()); err != nil || again != got {
				t.Errorf("duration %q prints as %q, which is %s, %v", text, got, again, err)
			}
		}
	}
	for d, want := range map[time.Duration]string{time.Hour: "1h", 10 * time.Minute: "10m", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 20 * time.Hour: "20h", 0: "0s"} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v prints as %s, want %s", d, got, want)
		}
	}
	for text, want := range map[string]string{"0660": "0660", "0o600": "0600", "7": "0007", "888": "", "rw-": "", "": ""} {
		m, err := ParseMode(text)
		if (err != nil) != (want == "") || err == nil && m.String() != want {
			t.Errorf("mode %q: %s, %v", text, m, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"durability", "memory", "max_key", "shards"}
	for name, want := range map[string]string{
		"durabilty": "durability", "memroy": "memory", "MAX_KEY": "max_key", "shard": "shards", "banana": "", "x": "", "": "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
}

func TestDiagnosticsJSON(t *testing.T) {
	_, _, err := Load(Sources{Inline: []Inline{{Name: "a.hcl", Data: []byte("kvs {\n  memory = \"x\"\n}\n")}}})
	var diags Diagnostics
	if !errors.As(err, &diags) {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := diags.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	if err := json.Unmarshal(b.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	origin, _ := out[0]["origin"].(map[string]any)
	if len(out) != 1 || out[0]["path"] != "kvs.memory" || origin["line"] != 2.0 || origin["column"] != 12.0 || out[0]["snippet"] != `  memory = "x"` {
		t.Errorf("got %s", b.String())
	}
	b.Reset()
	if err := Diagnostics(nil).JSON(&b); err != nil || strings.TrimSpace(b.String()) != "[]" {
		t.Errorf("no diagnostics as JSON: %q, %v", b.String(), err)
	}
}

// TestHostile feeds what would drive a recursive parser deep, or far.
func TestHostile(t *testing.T) {
	deep := strings.Repeat("[", maxFileBytes-20)
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 40; i++ {
		laughs.WriteString(strings.ReplaceAll(strings.ReplaceAll("aN: &aN [*aM, *aM]\n", "N", itoa(i)), "M", itoa(i-1)))
	}
	for name, text := range map[string]string{
		"brackets.hcl": "a = " + deep,
		"unary.hcl":    "a = " + strings.Repeat("-", maxFileBytes-20) + "1",
		"not.hcl":      "a = " + strings.Repeat("!", maxFileBytes-20) + "true",
		"parens.hcl":   "a = " + strings.Repeat("(", maxFileBytes-20),
		"ternary.hcl":  "a = " + strings.Repeat("true?1:", maxFileBytes/8),
		"binary.hcl":   "a = 1" + strings.Repeat("+1", maxFileBytes/3),
		"template.hcl": "a = \"" + strings.Repeat("${\"", maxFileBytes/4),
		"heredoc.hcl":  strings.Repeat("a = <<EOT\n", maxFileBytes/11),
		"blocks.hcl":   strings.Repeat("a {\n", maxFileBytes/5),
		"number.hcl":   "kvs {\n  shards = 1e99999999\n  memory = 1e-99999999\n}",
		"flow.yaml":    "a: " + deep,
		"maps.yaml":    strings.Repeat("{a: ", maxFileBytes/5),
		"laughs.yaml":  laughs.String(),
		"selves.yaml":  "a: &a\n  b: *a\n",
		"nul.yaml":     "kvs: \x00\n",
		"utf8.hcl":     "kvs {\n  store = \"\xff\xfe\"\n}\n",
		"unknowns.hcl": strings.Repeat("x", 100) + " = 1\n" + manyKeys(),
	} {
		start := time.Now()
		_, _, err := Load(Sources{Inline: []Inline{{Name: name, Data: []byte(text)}}})
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s took %s", name, took)
		}
		var diags Diagnostics
		if errors.As(err, &diags) && len(diags) > maxDiagnostics+1 {
			t.Errorf("%s: %d diagnostics", name, len(diags))
		}
	}
}

func itoa(n int) string { return string(rune('0'+n/10)) + string(rune('0'+n%10)) }

func manyKeys() string {
	var b strings.Builder
	for i := range 5000 {
		b.WriteString("k" + itoa(i/100) + itoa(i%100) + " = 1\n")
	}
	return b.String()
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		files, _ := filepath.Glob(filepath.Join("testdata", dir, "*"))
		for _, name := range files {
			if data, err := os.ReadFile(name); err == nil && isConfigName(name) {
				f.Add(data, strings.HasSuffix(name, ".yaml"), "ESSA_KVS__MEMORY=1GiB")
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, isYAML bool, env string) {
		name := "f.hcl"
		if isYAML {
			name = "f.yaml"
		}
		cfg, origins, err := Load(Sources{Inline: []Inline{{Name: name, Data: data}}, Env: []string{env}})
		if err != nil {
			var diags Diagnostics
			if !errors.As(err, &diags) {
				t.Fatalf("not diagnostics: %v", err)
			}
			_ = err.Error()
			return
		}
		if err := cfg.Validate(); err != nil {
			t.Fatalf("loaded and not valid: %v", err)
		}
		roundTrip(t, cfg, origins)
	})
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, _, err := Load(Sources{Inline: []Inline{{Name: "default.hcl", Data: Default()}}}); err != nil {
			b.Fatal(err)
		}
	}
}
