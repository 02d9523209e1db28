package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// border: an echo over the plugin border. Its benchmark lives beside the border's code, which it needs from inside; this
// runs it and takes its ratios.
func (b *bench) border(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "Border", "-benchtime", "7x", "./sdk/plugin")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	found := false
	for line := range strings.Lines(string(out)) {
		name, m := benchLine(line)
		if size, callers, ok := borderCase(name); ok {
			found = true
			b.addBorder(size, callers, m)
		}
	}
	if !found {
		return fmt.Errorf("no rows in the output of go test:\n%s", out)
	}
	return nil
}

func (b *bench) addBorder(size, callers string, m map[string]float64) {
	title := fmt.Sprintf("plugin echo: %s B, %s callers, two processes", size, callers)
	overBare, overGRPC := 0.0, 0.0
	if callers == "64" && size != "65536" {
		overBare, overGRPC = 0.85, 4
	}
	b.add(title+"; floor: bare framed socket", m["calls/s"], "1/s", "higher", m["calls/s"]/m["rate/bare"], overBare)
	b.add(title+"; beside go-plugin gRPC", m["calls/s"], "1/s", "higher", m["calls/s"]/m["rate/grpc"], overGRPC)
	b.add(title+", p50; floor: bare framed socket", m["p50-us"], "us", "lower", m["p50-us"]/m["p50/bare"], 0)
}

// borderCase takes BenchmarkBorder/size=64/callers=64-2 apart.
func borderCase(name string) (size, callers string, ok bool) {
	rest, ok := strings.CutPrefix(name, "BenchmarkBorder/size=")
	if !ok {
		return "", "", false
	}
	size, callers, ok = strings.Cut(rest, "/callers=")
	callers, _, _ = strings.Cut(callers, "-")
	return size, callers, ok
}

// benchLine reads a line of go test's benchmark output: the name, and the metrics by unit.
func benchLine(line string) (name string, metrics map[string]float64) {
	f := strings.Fields(line)
	if len(f) < 4 {
		return "", nil
	}
	metrics = map[string]float64{}
	for i := 2; i+1 < len(f); i += 2 {
		if v, err := strconv.ParseFloat(f[i], 64); err == nil {
			metrics[f[i+1]] = v
		}
	}
	return f[0], metrics
}
