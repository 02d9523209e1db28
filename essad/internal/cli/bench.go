package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// load is a closed loop: so many clients, each with one request in flight.
type load struct {
	clients  int
	duration time.Duration
	warmUp   time.Duration
}

// measured is one row of a benchmark.
type measured struct {
	Name    string  `json:"name"`
	Clients int     `json:"clients"`
	Ops     int64   `json:"ops"`
	Errors  int64   `json:"errors"`
	PerSec  float64 `json:"ops_per_second"`
	P50     float64 `json:"p50_us"`
	P90     float64 `json:"p90_us"`
	P99     float64 `json:"p99_us"`
	Max     float64 `json:"max_us"`
	Error   string  `json:"first_error,omitempty"`
}

// run drives op until the time is over. What ends in the warm-up does not count. op gets the number of its client.
func (l load) run(ctx context.Context, name string, op func(ctx context.Context, client int) error) measured {
	start := time.Now().Add(l.warmUp)
	end := start.Add(l.duration)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   = hdrhistogram.New(1, int64(time.Minute/time.Microsecond)*1000, 3)
		m     = measured{Name: name, Clients: l.clients}
		first error
	)
	for c := range l.clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine := hdrhistogram.New(1, int64(time.Minute/time.Microsecond)*1000, 3)
			var errs int64
			var err1 error
			for ctx.Err() == nil {
				t := time.Now()
				if !t.Before(end) {
					break
				}
				err := op(ctx, c)
				if t.Before(start) {
					continue
				}
				if err != nil {
					if errs++; err1 == nil {
						err1 = err
					}
					continue
				}
				_ = mine.RecordValue(int64(time.Since(t))) // a minute and more is beyond the scale and shows as errors do
			}
			mu.Lock()
			defer mu.Unlock()
			all.Merge(mine)
			m.Errors += errs
			if first == nil {
				first = err1
			}
		}()
	}
	wg.Wait()
	m.Ops = all.TotalCount()
	m.PerSec = float64(m.Ops) / min(time.Since(start), l.duration).Seconds()
	us := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1e3 }
	m.P50, m.P90, m.P99, m.Max = us(50), us(90), us(99), float64(all.Max())/1e3
	if first != nil {
		m.Error = first.Error()
	}
	return m
}

// benchFlags are what both benchmarks take.
type benchFlags struct {
	clients  []int
	duration time.Duration
	warmUp   time.Duration
}

func (b *benchFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntSliceVar(&b.clients, "clients", []int{1, 8, 64}, "clients at once, each with one request in flight; one row each")
	cmd.Flags().DurationVar(&b.duration, "duration", 3*time.Second, "how long each row is measured")
	cmd.Flags().DurationVar(&b.warmUp, "warm-up", 500*time.Millisecond, "how long each row runs before it is measured")
}

// rows measures one row per number of clients and prints them as they come.
func (a *app) rows(ctx context.Context, b *benchFlags, name string, op func(context.Context, int) error) error {
	for _, n := range b.clients {
		if n < 1 || n > 65536 {
			return fmt.Errorf("--clients %d: want 1 to 65536", n)
		}
		stop := a.spin(fmt.Sprintf("%s, %d clients", name, n), b.warmUp+b.duration)
		m := load{clients: n, duration: b.duration, warmUp: b.warmUp}.run(ctx, name, op)
		stop()
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.printMeasured(m); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printMeasured(m measured) error {
	if a.output == "json" {
		return json.NewEncoder(a.out).Encode(m)
	}
	_, err := fmt.Fprintf(a.out, "%-20s %5d clients  %9.0f/s  p50 %8.1f us  p90 %8.1f us  p99 %8.1f us  max %9.1f us  %d errors\n",
		m.Name, m.Clients, m.PerSec, m.P50, m.P90, m.P99, m.Max, m.Errors)
	if m.Error != "" {
		fmt.Fprintf(a.err, "essad: first error: %s\n", m.Error)
	}
	return err
}

// spin shows that a long row is under way, where somebody is looking.
func (a *app) spin(what string, d time.Duration) func() {
	if !isTerminal(a.err) {
		return func() {}
	}
	bar := progressbar.NewOptions(int(d/(100*time.Millisecond)), progressbar.OptionSetWriter(a.err),
		progressbar.OptionSetDescription(what), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(false))
	tick := time.NewTicker(100 * time.Millisecond)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-tick.C:
				_ = bar.Add(1)
			case <-done:
				_ = bar.Finish()
				return
			}
		}
	}()
	return func() { tick.Stop(); close(done); wg.Wait() }
}

func (a *app) benchCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure a running daemon: calls or the key-value store"}
	cmd.AddCommand(a.benchCallCmd(), a.benchKVSCmd())
	return cmd
}

func (a *app) benchCallCmd() *cobra.Command {
	var (
		b benchFlags
		f callFlags
	)
	cmd := &cobra.Command{
		Use:     "call DEPLOYMENT FUNCTION",
		Short:   "Measure calls of a function: latency and calls per second",
		Example: `  essad bench call shop total --arg u64:42 --clients 1,64 --duration 10s`,
		Args:    cobra.ExactArgs(2),

		ValidArgsFunction: a.completeDeployments(functionsOf),
		RunE: func(cmd *cobra.Command, pos []string) error {
			args, err := a.encodeArgs(&f)
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				// One call first, so that a wrong name is an error and not a row of errors.
				if _, err := c.Call(cmd.Context(), pos[0], pos[1], args, client.CallOptions{}); err != nil {
					return err
				}
				return a.rows(cmd.Context(), &b, pos[0]+"/"+pos[1], func(ctx context.Context, _ int) error {
					_, err := c.Call(ctx, pos[0], pos[1], args, client.CallOptions{})
					return err
				})
			})
		},
	}
	b.add(cmd)
	cmd.Flags().StringArrayVar(&f.args, "arg", nil, "an argument, as in essad call")
	cmd.Flags().StringVar(&f.argsJSON, "arg-json", "", "all arguments as a JSON array")
	cmd.Flags().StringVar(&f.argsFile, "arg-file", "", "a file with the encoded arguments")
	return cmd
}

type kvsLoad struct {
	keys       int
	size       int
	zipf       float64
	durability string
	mix        string
}

func (a *app) benchKVSCmd() *cobra.Command {
	var (
		b benchFlags
		l kvsLoad
	)
	cmd := &cobra.Command{
		Use:   "kvs",
		Short: "Measure the key-value store: gets, puts or both",
		Long: `Measure the key-value store. Keys are bench/00000000 and so on, chosen evenly or, with --zipf S > 1, by a Zipf law;
the keys of this run are put first and deleted in the end.`,
		Example: `  essad bench kvs --mix put --durability sync --clients 64
  essad bench kvs --mix mixed --keys 100000 --zipf 1.2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.benchKVS(cmd.Context(), &b, &l)
		},
	}
	b.add(cmd)
	f := cmd.Flags()
	f.IntVar(&l.keys, "keys", 10_000, "keys")
	f.IntVar(&l.size, "value-size", 1024, "bytes of a value")
	f.Float64Var(&l.zipf, "zipf", 0, "skew of the choice of keys, more than 1; 0: even")
	f.StringVar(&l.durability, "durability", "default", "of puts: default, memory, batched or sync")
	f.StringVar(&l.mix, "mix", "mixed", "get, put or mixed (half and half)")
	return cmd
}

func (l *kvsLoad) check() (client.Durability, error) {
	if l.keys < 1 || l.keys > 100_000_000 || l.size < 0 || l.size > 64<<20 || (l.zipf != 0 && l.zipf <= 1) {
		return 0, fmt.Errorf("want --keys 1 to 100000000, --value-size up to 64 MiB, and --zipf 0 or more than 1")
	}
	if l.mix != "get" && l.mix != "put" && l.mix != "mixed" {
		return 0, fmt.Errorf("--mix %s: want get, put or mixed", l.mix)
	}
	d, ok := map[string]client.Durability{
		"default": client.DefaultDurability, "memory": client.MemoryDurability,
		"batched": client.BatchedDurability, "sync": client.SyncDurability,
	}[l.durability]
	if !ok {
		return 0, fmt.Errorf("--durability %s: want default, memory, batched or sync", l.durability)
	}
	return d, nil
}

func benchKey(i int) []byte { return fmt.Appendf(nil, "bench/%08d", i) }

func (a *app) benchKVS(ctx context.Context, b *benchFlags, l *kvsLoad) error {
	d, err := l.check()
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(_ *client.Client, s transport.Session) error {
		k, err := client.NewKVS(s, client.Public)
		if err != nil {
			return err
		}
		value := make([]byte, l.size)
		for i := range value {
			value[i] = byte(rand.Uint32()) // what compresses well would flatter the store
		}
		if err := eachBatch(ctx, k, l.keys, client.Op{Kind: client.OpPut, Value: value, Stamp: true}); err != nil {
			return err
		}
		defer func() { _ = eachBatch(context.WithoutCancel(ctx), k, l.keys, client.Op{Kind: client.OpDelete}) }()
		choose := l.chooser(b.clients)
		return a.rows(ctx, b, "kvs "+l.mix, func(ctx context.Context, c int) error {
			key, put := choose(c)
			if put {
				_, err := k.Set(ctx, client.UserSpace, "", key, value, client.PutOptions{Durability: d})
				return err
			}
			_, _, err := k.Data(ctx, client.UserSpace, "", key)
			return err
		})
	})
}

// chooser returns how each client chooses its next key and operation.
func (l *kvsLoad) chooser(clients []int) func(client int) (key []byte, put bool) {
	most := 1
	for _, n := range clients {
		most = max(most, n)
	}
	rands, zipfs := make([]*rand.Rand, most), make([]*rand.Zipf, most)
	for i := range most {
		rands[i] = rand.New(rand.NewPCG(uint64(i), 1))
		if l.zipf > 1 {
			zipfs[i] = rand.NewZipf(rands[i], l.zipf, 1, uint64(l.keys-1))
		}
	}
	return func(c int) ([]byte, bool) {
		i := 0
		if z := zipfs[c]; z != nil {
			i = int(z.Uint64())
		} else {
			i = rands[c].IntN(l.keys)
		}
		return benchKey(i), l.mix == "put" || (l.mix == "mixed" && rands[c].IntN(2) == 0)
	}
}

// eachBatch does op on all keys of a benchmark.
func eachBatch(ctx context.Context, k *client.KVS, keys int, op client.Op) error {
	const most = 256
	for from := 0; from < keys; from += most {
		var ops []client.Op
		for i := from; i < min(from+most, keys); i++ {
			o := op
			o.Key = benchKey(i)
			ops = append(ops, o)
		}
		res, err := k.Do(ctx, client.UserSpace, "", client.BatchedDurability, ops)
		if err != nil {
			return err
		}
		for _, r := range res {
			if r.Err != nil && op.Kind == client.OpPut {
				return status.Wrap(status.Of(r.Err), r.Err)
			}
		}
	}
	return nil
}
