// Bench measures essad beside its floors: what the same work costs with nothing of essad around it, in the same run on the
// same machine. `make bench` builds the programs and runs it; it prints a table and writes bin/bench.json, a list of
// {name, value, unit, better, floor, ratio, target, holds}.
//
// Only ratios within one run say anything: machines are shared and drift. A row that misses its target says so.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// row is one measurement.
type row struct {
	Name   string   `json:"name"`
	Value  float64  `json:"value"`
	Unit   string   `json:"unit"`
	Better string   `json:"better"` // "lower" or "higher"
	Floor  *float64 `json:"floor"`
	Ratio  *float64 `json:"ratio"`
	Target *float64 `json:"target"` // of the ratio where there is a floor, of the value otherwise
	Holds  *bool    `json:"holds"`
}

// bench is one run of all measurements.
type bench struct {
	bin      string
	dir      string // scratch, on a disk that syncs
	duration time.Duration
	short    bool
	rows     []row
	only     *regexp.Regexp
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "floor" {
		fmt.Fprintln(os.Stderr, "bench: floor:", floorProcess(os.Args[2:])) // it serves until it fails
		os.Exit(1)
	}
	b := &bench{}
	only := flag.String("only", "", "only the sections whose names match this expression")
	flag.StringVar(&b.bin, "bin", "bin", "folder with the built programs and guests/")
	flag.StringVar(&b.dir, "dir", "", "scratch folder, on the disk whose syncs count (default: a new one in the bin folder)")
	flag.DurationVar(&b.duration, "duration", 2*time.Second, "how long each rate is measured")
	flag.BoolVar(&b.short, "short", false, "fewer keys and leaves: a check that it works, not a measurement")
	flag.Parse()
	// Whatever ends it, also that nobody reads its output any more, the daemons that it has started are stopped first.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGPIPE) // to be told of it would mean of every socket whose daemon was stopped
	defer stop()
	re, err := regexp.Compile(*only)
	if err == nil {
		b.only = re
		err = b.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// section is a group of rows that share their set-up.
type section struct {
	name string
	run  func(*bench, context.Context) error
}

var sections = []section{
	{"border", (*bench).border},
	{"fabric", (*bench).fabric},
	{"idle", (*bench).idle},
	{"call", (*bench).calls},
	{"cold", (*bench).cold},
	{"guest", (*bench).inGuest},
	{"engines", (*bench).engines},
	{"recursion", (*bench).recursion},
	{"kvs", (*bench).kvs},
	{"durable", (*bench).durable},
	{"restart", (*bench).restart},
}

func (b *bench) run(ctx context.Context) error {
	if b.dir == "" {
		dir, err := os.MkdirTemp(b.bin, "bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	}
	var failed error
	for _, s := range sections {
		if !b.only.MatchString(s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "== %s\n", s.name)
		if err := s.run(b, ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", s.name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	b.print()
	return errors.Join(failed, b.save())
}

// add records a row. floor 0 means that there is none, target 0 that there is none.
func (b *bench) add(name string, value float64, unit, better string, floor, target float64) {
	r := row{Name: name, Value: value, Unit: unit, Better: better}
	judged := value
	if floor != 0 {
		ratio := value / floor
		r.Floor, r.Ratio, judged = &floor, &ratio, ratio
	}
	if target != 0 {
		holds := judged <= target
		if better == "higher" {
			holds = judged >= target
		}
		r.Target, r.Holds = &target, &holds
	}
	b.rows = append(b.rows, r)
	fmt.Fprintf(os.Stderr, "   %s\n", strings.Join(cells(r), "  "))
}

func cells(r row) []string {
	opt := func(p *float64) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprintf("%.4g", *p)
	}
	holds := "-"
	if r.Holds != nil {
		holds = map[bool]string{true: "holds", false: "MISSED"}[*r.Holds]
	}
	return []string{r.Name, fmt.Sprintf("%.4g %s", r.Value, r.Unit), opt(r.Floor), opt(r.Ratio), opt(r.Target), holds}
}

func (b *bench) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join([]string{"ROW", "VALUE", "FLOOR", "RATIO", "TARGET", ""}, "\t"))
	for _, r := range b.rows {
		fmt.Fprintln(w, strings.Join(cells(r), "\t"))
	}
	_ = w.Flush()
}

func (b *bench) save() error {
	raw, err := json.MarshalIndent(b.rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.bin, "bench.json"), append(raw, '\n'), 0o644)
}
