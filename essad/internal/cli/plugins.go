package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/transport"
)

func (a *app) pluginsCmd() *cobra.Command {
	var installed bool
	cmd := &cobra.Command{
		Use:   "plugins",
		Short: "List the engine and storage plugins of every daemon",
		Long: `List the engine and storage plugins of every daemon: what they are and can do, and how their processes fare. An engine
of several shards has a line for each. --output json adds the path and the SHA-256 of the program that runs, and the last
error in full.

--installed lists the plugins instead whose programs are in a daemon's plugin folder, and whether they are configured.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withNodes(cmd.Context(), func(nodes []*client.NodeStatus) error {
				if installed {
					return a.printInstalled(nodes)
				}
				return a.printPlugins(nodes)
			})
		},
	}
	cmd.Flags().BoolVar(&installed, "installed", false, "list what is installed, configured or not")
	return cmd
}

func (a *app) printPlugins(nodes []*client.NodeStatus) error {
	if a.output == "json" {
		byNode := map[string]any{}
		for _, n := range nodes {
			byNode[n.Node] = n.Plugins
		}
		return a.printJSON(byNode)
	}
	w := a.table("NODE", "PLUGIN", "KIND", "VERSION", "STATE", "PID", "UPTIME", "RESTARTS", "SHA256", "CAPABILITIES", "LAST ERROR")
	for _, n := range nodes {
		for _, p := range n.Plugins {
			version := p.Version
			if p.Plugin != "" && p.Plugin != p.Name {
				version = p.Plugin + " " + version
			}
			row(w, n.Node, pluginName(p), p.Kind, dash(version), p.State, p.Pid, uptime(p.StartedUnixNano), p.Restarts,
				dash(short(p.Sha256)), dash(strings.Join(p.Capabilities, " ")), dash(p.LastError))
		}
	}
	return w.Flush()
}

// pluginName tells a shard from the others, where there are others.
func pluginName(p *client.PluginStatus) string {
	if p.Shards > 1 {
		return fmt.Sprintf("%s/%d", p.Name, p.Shard)
	}
	return p.Name
}

func uptime(started int64) string {
	if started == 0 {
		return "-"
	}
	return time.Since(time.Unix(0, started)).Round(time.Second).String()
}

// installedPlugin is a program in a daemon's plugin folder.
type installedPlugin struct {
	Node       string   `json:"node"`
	Plugin     string   `json:"plugin"`
	Configured []string `json:"configured"` // the names of the blocks that use it
}

func (a *app) printInstalled(nodes []*client.NodeStatus) error {
	all := []installedPlugin{}
	for _, n := range nodes {
		for _, name := range n.Installed {
			p := installedPlugin{Node: n.Node, Plugin: name, Configured: []string{}}
			for _, s := range n.Plugins {
				if strings.HasSuffix(s.Path, "/essad-plugin-"+name) && !slices.Contains(p.Configured, s.Name) {
					p.Configured = append(p.Configured, s.Name)
				}
			}
			all = append(all, p)
		}
	}
	if a.output == "json" {
		return a.printJSON(all)
	}
	w := a.table("NODE", "PLUGIN", "CONFIGURED AS")
	for _, p := range all {
		row(w, p.Node, p.Plugin, dash(strings.Join(p.Configured, ", ")))
	}
	return w.Flush()
}

func (a *app) quarantineCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "List the deployments whose calls are refused because they made engines be killed",
		Long: `List the deployments whose calls are refused because they made engines be killed.

A call that does not end at its deadline by any gentler means ends with the process it is in, and the calls beside it end
with it. A version of a deployment that has cost executor.quarantine.strikes processes is refused from then on, for
executor.quarantine.for; so is a module that is run without a deployment. Another version is not, so deploying one that is
mended is the way out; "essad quarantine lift" is the other. An executor that is started again has forgotten.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withNodes(cmd.Context(), func(nodes []*client.NodeStatus) error {
				all := []*client.Quarantine{}
				for _, n := range nodes {
					all = append(all, n.GetExecutor().GetQuarantine()...)
				}
				if a.output == "json" {
					return a.printJSON(all)
				}
				w := a.table("WHO", "EXECUTOR", "ENGINE", "LAST FUNCTION", "KILLED", "SINCE", "UNTIL")
				for _, q := range all {
					row(w, quarantined(q), q.Executor, q.Engine, dash(strings.TrimPrefix(q.Function, wrapperPrefix)), q.Strikes, age(q.SinceUnixNano), until(q))
				}
				return w.Flush()
			})
		},
	}
	cmd.AddCommand(a.liftCmd())
	return cmd
}

func (a *app) liftCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "lift NAME",
		Short: "End the quarantine of a deployment, or of a module by 12 digits or more of its hash",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				lifted, err := c.Lift(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(lifted)
				}
				for _, q := range lifted {
					fmt.Fprintf(a.out, "lifted %s on executor %s, %d processes killed\n", quarantined(q), q.Executor, q.Strikes)
				}
				return nil
			})
		},
	}
}

// quarantined names who is in quarantine.
func quarantined(q *client.Quarantine) string {
	switch {
	case q.Deployment == "":
		return "module " + short(q.Module)
	case q.Version == "":
		return q.Deployment
	}
	return q.Deployment + "@" + q.Version
}

func until(q *client.Quarantine) string {
	return time.Unix(0, q.UntilUnixNano).UTC().Format("2006-01-02 15:04:05Z")
}
