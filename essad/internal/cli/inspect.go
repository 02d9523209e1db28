package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/essa-project/essad/essad/internal/agent"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

func (a *app) psCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "ps",
		Short: "List the calls and runs in flight",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				ps, err := c.Processes(cmd.Context())
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(processesOf(ps))
				}
				w := a.table("ID", "KIND", "DEPLOYMENT", "FUNCTION", "STATE", "EXECUTOR", "STARTED", "ATTEMPTS")
				for _, p := range ps {
					row(w, idText(p.Id), p.Kind, dash(p.Deployment), dash(strings.TrimPrefix(p.Function, wrapperPrefix)), p.State, dash(p.Executor), age(p.StartedUnixNano), p.Attempts)
				}
				return w.Flush()
			})
		},
	}
}

// wrapperPrefix begins the names of exports; people call the functions without it.
const wrapperPrefix = "__essa_wrapper__"

// process is one in JSON. Ids are text everywhere, in the form that "essad result" takes.
type process struct {
	ID string `json:"id"`
	*client.Process
}

func processesOf(ps []*client.Process) []process {
	out := make([]process, len(ps))
	for i, p := range ps {
		out[i] = process{idText(p.Id), p}
	}
	return out
}

func idText(b []byte) string {
	if len(b) != len(hlc.ID{}) {
		return "-"
	}
	return hlc.ID(b).String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the daemons, their roles and how they fare",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withNodes(cmd.Context(), func(nodes []*client.NodeStatus) error {
				if a.output == "json" {
					return a.printJSON(nodes)
				}
				for _, n := range nodes {
					a.printNode(n)
				}
				return nil
			})
		},
	}
}

func (a *app) withNodes(ctx context.Context, f func([]*client.NodeStatus) error) error {
	return a.withClient(ctx, func(c *client.Client, _ transport.Session) error {
		nodes, err := c.Nodes(ctx)
		if err != nil {
			return err
		}
		return f(nodes)
	})
}

func (a *app) printNode(n *client.NodeStatus) {
	fmt.Fprintf(a.out, "node %s  version %s  pid %d  started %s\n", n.Node, n.Version, n.Pid, age(n.StartedUnixNano))
	fmt.Fprintf(a.out, "  roles      %s\n", strings.Join(n.Roles, ", "))
	a.printFabric(n.Fabric)
	if s := n.Scheduler; s != nil {
		fmt.Fprintf(a.out, "  scheduler  %d in flight, %d queued; %d calls, %d failed, %d retried; executors: %s\n",
			s.InFlight, s.Queued, s.Calls, s.Failed, s.Retried, dash(strings.Join(s.Executors, ", ")))
	}
	if e := n.Executor; e != nil {
		a.printExecutor(e)
	}
	if k := n.Kvs; k != nil {
		fmt.Fprintf(a.out, "  kvs        %d keys, %d KiB in memory, %d KiB on disk; %d gets (%d hits), %d puts; store %s, durability %s\n",
			k.Keys, k.MemoryBytes>>10, k.DiskBytes>>10, k.Gets, k.Hits, k.Puts, dash(k.Store), k.Durability)
	}
	for _, p := range n.Plugins {
		fmt.Fprintf(a.out, "  plugin     %s (%s) %s, pid %d, %d restarts%s\n", pluginName(p), p.Kind, p.State, p.Pid, p.Restarts, lastError(p.LastError))
	}
}

func (a *app) printExecutor(e *client.ExecutorInfo) {
	engines, ready := make([]string, len(e.Engines)), map[string]bool{}
	for i, g := range e.Engines {
		for _, m := range g.Modules {
			ready[m] = true
		}
		engines[i] = g.Name
		if g.Default && len(e.Engines) > 1 {
			engines[i] += " (default)"
		}
		if g.Shards > 1 {
			engines[i] += fmt.Sprintf(" (%d of %d shards)", g.Ready, g.Shards)
		}
	}
	fmt.Fprintf(a.out, "  executor   %d of %d calls, %d modules ready; engines: %s\n", e.InFlight, e.Slots, len(ready), strings.Join(engines, ", "))
	for _, q := range e.Quarantine {
		fmt.Fprintf(a.out, "  quarantine %s until %s, %d processes killed\n", quarantined(q), until(q), q.Strikes)
	}
}

func (a *app) printFabric(f *client.FabricStatus) {
	if f == nil {
		return
	}
	clients := 0
	for _, l := range f.Links {
		if l.Kind == "client" {
			clients++
		}
	}
	fmt.Fprintf(a.out, "  fabric     %s, id %s, %d clients; %d refused, %d dropped\n", f.Mode, f.Id, clients, f.Refused, f.Dropped)
	for _, at := range f.Listen {
		fmt.Fprintf(a.out, "  listens    %s\n", at)
	}
	for _, l := range f.Links {
		if l.Kind == "client" {
			continue // they come and go; --output json has them
		}
		rtt := "no answer"
		if l.RttNano > 0 {
			rtt = "round trip " + time.Duration(l.RttNano).Round(time.Microsecond).String()
		}
		fmt.Fprintf(a.out, "  link       %s (%s) %s, %s; %d KiB in, %d KiB out\n", dash(l.Node), l.Kind, dash(l.Remote), rtt, l.BytesIn>>10, l.BytesOut>>10)
	}
}

func lastError(s string) string {
	if s == "" {
		return ""
	}
	return "; last error: " + s
}

func (a *app) logsCmd() *cobra.Command {
	var (
		follow bool
		bytes  int64
	)
	cmd := &cobra.Command{
		Use:   "logs DEPLOYMENT",
		Short: "Show what a deployment's functions wrote",
		Long: `Show what a deployment's functions wrote to standard output and standard error. Each executor keeps the newest
executor.logs.ring bytes per deployment. A follower that is too slow misses lines; it never slows a function down.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDeployments(nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				if follow {
					if err := knownDeployment(cmd.Context(), c, args[0]); err != nil {
						return err
					}
					return c.FollowLogs(cmd.Context(), args[0], bytes, a.printRecord)
				}
				recs, err := c.Logs(cmd.Context(), args[0], bytes)
				if err != nil {
					return err
				}
				for _, r := range recs {
					a.printRecord(r)
				}
				if len(recs) == 0 { // what was undeployed may still have a log
					return knownDeployment(cmd.Context(), c, args[0])
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on, until interrupted")
	cmd.Flags().Int64Var(&bytes, "bytes", 64<<10, "how much of the past to show, per executor")
	return cmd
}

// knownDeployment tells a deployment that has written nothing from a name that is wrong.
func knownDeployment(ctx context.Context, c *client.Client, name string) error {
	ds, err := c.Deployments(ctx)
	if err != nil {
		return err
	}
	for _, d := range ds {
		if d.Active.GetName() == name {
			return nil
		}
	}
	return status.Errorf(status.NotFound, "there is no deployment %q (essad deployments lists them)", name)
}

func (a *app) printRecord(r *client.LogRecord) {
	if a.output == "json" {
		_ = json.NewEncoder(a.out).Encode(map[string]any{
			"time": time.Unix(0, r.TimeUnixNano).UTC(), "call": idText(r.Call), "stream": r.Stream, "line": string(r.Line), "executor": r.Executor,
		})
		return
	}
	mark := " "
	if r.Stream == 2 {
		mark = "!"
	}
	fmt.Fprintf(a.out, "%s %.8s %s %s\n", time.Unix(0, r.TimeUnixNano).UTC().Format("15:04:05.000"), idText(r.Call), mark, strings.TrimRight(string(r.Line), "\n"))
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.output == "json" {
				return a.printJSON(map[string]string{"version": agent.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			fmt.Fprintf(a.out, "essad %s (%s, %s/%s)\n", agent.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
