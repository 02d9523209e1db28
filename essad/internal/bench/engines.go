package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/essa-project/essad/sdk/bincode"
)

// measured is what an engine plugin tells of a module; see runtime.Measurement.
type measured struct {
	Compile       float64 `json:"compile_ms"`
	Checked       float64 `json:"checked_us"`
	Cold          float64 `json:"cold_us"`
	Load          float64 `json:"load_ms"`
	Isolated      float64 `json:"isolated_us"`
	Reused        float64 `json:"reused_us"`
	Fresh         float64 `json:"fresh_us"`
	Bare          float64 `json:"bare_us"`
	VersusBare    float64 `json:"isolated_by_bare"`
	BareCold      float64 `json:"bare_cold_us"`
	Metered       float64 `json:"metered_us"`
	VersusWritten float64 `json:"metered_by_written"`
	Deployment    int64   `json:"deployment_bytes"`
	Running       int64   `json:"running_bytes"`
	Parked        int64   `json:"parked_bytes"`
	WhyFresh      string  `json:"why_fresh"`
}

// language is a guest of the engines section. Those that cannot be built everywhere are named by the environment.
type language struct{ name, file string }

func (b *bench) languages() []language {
	list := []language{{"C", b.guests()["C"]}, {"Go", b.guests()["Go"]}}
	for _, l := range []struct{ name, variable, file string }{
		{"Rust", "ESSAD_GUESTS_RUST", "bench-rust.wasm"}, {"TypeScript", "ESSAD_GUESTS_TS", "bench-ts.wasm"},
	} {
		if dir := os.Getenv(l.variable); dir != "" {
			list = append(list, language{l.name, filepath.Join(dir, l.file)})
			continue
		}
		fmt.Fprintf(os.Stderr, "   %s: left out, %s does not say where its guests are\n", l.name, l.variable)
	}
	return list
}

// engines: what each engine takes for guests of each language. The engine's own program measures, with no process border.
func (b *bench) engines(ctx context.Context) error {
	for _, engine := range []string{"wazero", "wasmtime", "wasmedge"} {
		program := filepath.Join(b.bin, "lib", "essad", "plugins", "essad-plugin-"+engine)
		if _, err := os.Stat(program); err != nil {
			fmt.Fprintf(os.Stderr, "   %s: left out, it was not built\n", engine)
			continue
		}
		for _, l := range b.languages() {
			if err := b.engineOf(ctx, program, engine, l); err != nil {
				return fmt.Errorf("%s, %s guest: %w", engine, l.name, err)
			}
		}
	}
	return nil
}

// Targets of calls that do nothing, in microseconds.
var isolatedTarget = map[string]float64{"wazero": 2.5, "wasmtime": 5}

const (
	firstTarget   = 1.3     // of loading from disk, on wazero
	coldTarget    = 1000    // microseconds, on wasmtime
	parkedTarget  = 200     // KiB
	liveTarget    = 1.1     // of a live instance's call, where a function does something
	meteredTarget = 1.1     // of the call of a module that was not rewritten
	gib           = 1 << 30 // for how many instances there are in one
	kib           = 1024.0  // for what one takes
)

// work is a function that does something: what it is, its name and its arguments.
type work struct {
	title, function string
	args            []byte
}

// works is what the guests of each language do.
func works(language string) work {
	switch language {
	case "Go":
		return work{title: "JSON and a regular expression", function: "document"}
	case "Rust":
		var orders strings.Builder
		for n := range 24 {
			fmt.Fprintf(&orders, `,{"customer":"customer-%d","lines":[{"item":"tea","count":%d,"cents":350},{"item":"scone","count":1,"cents":%d}]}`,
				n%5, n+1, 900-n)
		}
		return work{"sums of orders in JSON", "summarize", bincode.AppendString(nil, "["+orders.String()[1:]+"]")}
	default:
		return work{"numbers written, read and sorted", "tally", bincode.AppendUint64(nil, 300)}
	}
}

func (b *bench) engineOf(ctx context.Context, program, engine string, l language) error {
	m, err := b.measureModule(ctx, program, l.file, work{function: "noop"}, "-memory")
	if err != nil {
		return err
	}
	title := fmt.Sprintf("engine: %s, %s guest, ", engine, l.name)
	b.add(title+"compile", m.Compile, "ms", "lower", 0, 0)
	b.add(title+"load from the disk cache", m.Load, "ms", "lower", 0, 0)
	b.add(title+"the first cold start since boot: its files are checked", m.Checked, "us", "lower", 0, 0)
	switch {
	case l.name == "Go" && engine == "wazero":
		b.add(title+"cold start: load and first call; floor: load", m.Cold, "us", "lower", m.Load*1e3, firstTarget)
	case l.name == "Go" && engine == "wasmtime":
		b.add(title+"cold start: load and first call", m.Cold, "us", "lower", 0, coldTarget)
	default:
		b.add(title+"cold start: load and first call", m.Cold, "us", "lower", 0, 0)
	}
	b.add(title+"the engine's own cold start: load, initialise, call", m.BareCold, "us", "lower", 0, 0)
	b.add(title+"warm call, set back"+why(m), m.Isolated, "us", "lower", 0, isolatedTarget[engine])
	b.add(title+"warm call, instance reused", m.Reused, "us", "lower", 0, 0)
	b.add(title+"warm call, fresh instance", m.Fresh, "us", "lower", 0, 0)
	b.add(title+"the engine's own call of a live instance", m.Bare, "us", "lower", 0, 0)
	b.add(title+"memory of an idle deployment", float64(m.Deployment)/kib, "KiB", "lower", 0, 0)
	b.add(title+"memory of a running instance", float64(m.Running)/kib, "KiB", "lower", 0, 0)
	b.add(title+"memory of a parked instance", float64(m.Parked)/kib, "KiB", "lower", 0, parkedTarget)
	b.add(title+"parked instances in a GiB", gib/float64(max(m.Parked, 1)), "", "higher", 0, 0)
	return b.worksOf(ctx, program, title, l)
}

// worksOf measures the function that does something, in an instance that is set back, in a live one, and in one of the module
// as it was written. Ratios are of turns that follow each other, so the floors are what they make of the value.
func (b *bench) worksOf(ctx context.Context, program, title string, l language) error {
	w := works(l.name)
	flags := []string{"-counting"}
	if len(w.args) == 0 { // a warm-up has none
		flags = append(flags, "-warm-up", wrapper+w.function)
	}
	m, err := b.measureModule(ctx, program, l.file, w, flags...)
	if err != nil {
		return err
	}
	live := 0.0
	if l.name == "Go" {
		live = liveTarget
	}
	b.add(title+w.title+", set back; floor: live instance", m.Isolated, "us", "lower", m.Isolated/m.VersusBare, live)
	b.add(title+w.title+", metered; floor: the module as it was written", m.Metered, "us", "lower", m.Metered/m.VersusWritten, meteredTarget)
	return nil
}

// why tells that instances are not set back, where that is so.
func why(m *measured) string {
	if m.WhyFresh == "" {
		return ""
	}
	return " (a fresh one: " + m.WhyFresh + ")"
}

func (b *bench) measureModule(ctx context.Context, program, file string, w work, flags ...string) (*measured, error) {
	args := append([]string{"measure-module", "-for", b.duration.String()}, flags...)
	args = append(args, file, wrapper+w.function, hex.EncodeToString(w.args))
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	m := &measured{}
	if err := json.Unmarshal(out, m); err != nil {
		return nil, fmt.Errorf("what it measured: %w", err)
	}
	return m, nil
}
