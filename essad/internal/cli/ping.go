package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/essa-project/essad/config"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// pinger is what `essad ping` was told.
type pinger struct {
	count    int
	size     sizeFlag
	interval time.Duration
	timeout  time.Duration
}

// maxPing is the largest payload of a ping.
const maxPing = 16 << 20

func (a *app) pingCmd() *cobra.Command {
	p := pinger{size: 64}
	cmd := &cobra.Command{
		Use:   "ping [NODE]",
		Short: "Measure the round trip to daemons",
		Long: `Measure the round trip to one daemon, or to all of them: a query whose payload comes back, one at a time. The first
trip to each is not counted: it finds the way.`,
		Example: `  essad ping
  essad ping node2 --count 1000 --interval 0s --size 1KiB`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.count < 1 || p.size < 0 || p.size > maxPing {
				return fmt.Errorf("--count must be at least 1 and --size at most %s", config.ByteSize(maxPing))
			}
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				nodes, err := p.nodes(cmd.Context(), c, args)
				if err != nil {
					return err
				}
				return a.ping(cmd.Context(), c, p, nodes)
			})
		},
	}
	cmd.Flags().IntVarP(&p.count, "count", "n", 10, "round trips to each daemon")
	cmd.Flags().VarP(&p.size, "size", "s", "payload, as 1KiB")
	cmd.Flags().DurationVarP(&p.interval, "interval", "i", 100*time.Millisecond, "time between two round trips")
	cmd.Flags().DurationVar(&p.timeout, "timeout", 5*time.Second, "how long one may take")
	return cmd
}

// nodes returns the daemon that was named, or all that answer.
func (p *pinger) nodes(ctx context.Context, c *client.Client, args []string) ([]string, error) {
	if len(args) == 1 {
		if strings.Contains(args[0], "*") {
			return nil, fmt.Errorf("%q is not the name of a daemon; without a name all of them are asked", args[0])
		}
		return args, nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var nodes []string
	if err := c.Ping(ctx, "*", nil, func(x client.Pong) { nodes = append(nodes, x.Node) }); err != nil && len(nodes) == 0 {
		return nil, err
	}
	slices.Sort(nodes)
	return nodes, nil
}

// pinged is what came of the round trips to one daemon. Times are in microseconds.
type pinged struct {
	Node string  `json:"node"`
	Sent int     `json:"sent"`
	Lost int     `json:"lost"`
	Min  float64 `json:"min_us"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	Max  float64 `json:"max_us"`
}

func (a *app) ping(ctx context.Context, c *client.Client, p pinger, nodes []string) error {
	var all []pinged
	var failed error
	for _, n := range nodes {
		one, err := p.one(ctx, c, n)
		if ctx.Err() != nil && one.Sent == 0 {
			break
		}
		if err != nil {
			failed = err
		}
		if one.Lost < one.Sent {
			all = append(all, one)
		}
	}
	if len(all) == 0 && failed != nil {
		return failed
	}
	if a.output == "json" {
		return a.printJSON(all)
	}
	w := a.table("NODE", "SENT", "LOST", "MIN", "P50", "P99", "MAX")
	for _, x := range all {
		row(w, x.Node, x.Sent, x.Lost, usText(x.Min), usText(x.P50), usText(x.P99), usText(x.Max))
	}
	return w.Flush()
}

// one measures one daemon. The error is that of the last trip that failed.
func (p *pinger) one(ctx context.Context, c *client.Client, node string) (pinged, error) {
	out, payload := pinged{Node: node}, make([]byte, p.size)
	hist := hdrhistogram.New(1, int64(time.Minute), 3)
	var failed error
	for i := range p.count + 1 {
		trip, cancel := context.WithTimeout(ctx, p.timeout)
		err := c.Ping(trip, node, payload, func(x client.Pong) {
			if i > 0 {
				_ = hist.RecordValue(int64(min(x.RTT, time.Minute)))
			}
		})
		cancel()
		if ctx.Err() != nil {
			break
		}
		if i > 0 {
			out.Sent++
		}
		if err != nil {
			failed = err
			if status.Of(err) == status.NotFound || status.Of(err) == status.Denied {
				return out, err
			}
			if i > 0 {
				out.Lost++
			}
		}
		if i < p.count && !pause(ctx, p.interval) {
			break
		}
	}
	us := func(v int64) float64 { return float64(v) / 1e3 }
	out.Min, out.Max = us(hist.Min()), us(hist.Max())
	out.P50, out.P99 = us(hist.ValueAtQuantile(50)), us(hist.ValueAtQuantile(99))
	return out, failed
}

// pause waits and reports whether the time has passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func usText(us float64) string {
	return time.Duration(us * 1e3).Round(time.Microsecond).String()
}
