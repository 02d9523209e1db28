package cli

import (
	"cmp"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/transport"
)

func (a *app) deployCmd() *cobra.Command {
	m := &client.Manifest{}
	var limits limitFlags
	cmd := &cobra.Command{
		Use:   "deploy NAME FILE.wasm",
		Short: "Give a module a name, limits and an environment; its functions can then be called",
		Long: `Give a module a name, limits and an environment; its functions can then be called.

Deploying under a name that exists makes a new version active at once; calls in flight end on the old one, state is
shared by all versions, and "essad rollback" goes back. The version is the first 12 hexadecimal digits of the hash of
what was deployed, so deploying the same thing twice changes nothing.

Engines: --engine names one that an executor has (essad plugins lists them); calls then go to executors that have it.

Isolation says what a call finds of those before it:
  snapshot  nothing: the module is initialised once, and what a call leaves in it is undone before the next
  fresh     nothing: the module is loaded and initialised for each call, which takes far longer
  instance  what earlier calls on the same instance left in memory; which calls those are is not promised

With --warm-up an export without arguments is called once after the initialisation and before the snapshot is taken, so
that what it computes is there for every call.`,
		Example: `  essad deploy shop shop.wasm
  essad deploy shop shop.wasm --memory 64MiB --wall-time 2s --retry always
  essad deploy shop shop.wasm --engine wasmtime --isolation snapshot --warm-up prepare`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeModule(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				sha, err := a.upload(cmd.Context(), c, args[1])
				if err != nil {
					return err
				}
				m.Name, m.Module, m.Limits = args[0], sha, limits.limits()
				out, err := c.Deploy(cmd.Context(), m)
				if err != nil {
					return err
				}
				return a.deployed(out)
			})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&m.Env, "env", nil, "environment of its functions, K=V; may be repeated")
	f.StringVar(&m.Engine, "engine", "", "the engine to run on (default: the executor's first)")
	f.StringVar(&m.Isolation, "isolation", "snapshot", "what a call finds of those before it: snapshot, fresh or instance")
	f.StringVar(&m.WarmUp, "warm-up", "", "an export to call once before the snapshot is taken")
	f.StringVar(&m.Retry, "retry", "safe",
		"what happens when an executor or engine dies in a call: safe (try again only if the call had no effects) or always")
	limits.add(f)
	return cmd
}

func (a *app) deployed(out *client.DeployReply) error {
	if a.output == "json" {
		return a.printJSON(out)
	}
	m := out.Manifest
	state := "deployed"
	if out.Unchanged {
		state = "unchanged"
	}
	fmt.Fprintf(a.out, "%s %s version %s (module %.12s, %d functions)\n", state, m.Name, m.Version, m.Module, len(m.Functions))
	if len(m.Functions) == 0 {
		fmt.Fprintln(a.out, "nothing in it can be called: it exports nothing that takes one i32, the length of the arguments, and returns nothing")
	}
	if m.Fresh != "" && m.Isolation == "" {
		fmt.Fprintf(a.out, "its calls start more slowly than others, in an instance made for each: %s\n", m.Fresh)
	}
	return nil
}

func (a *app) undeployCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "undeploy NAME",
		Short: "Take a deployment away; its state stays until it is deployed again",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: a.completeDeployments(nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				if err := c.Undeploy(cmd.Context(), args[0]); err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(map[string]string{"undeployed": args[0]})
				}
				fmt.Fprintf(a.out, "undeployed %s\n", args[0])
				return nil
			})
		},
	}
}

func (a *app) rollbackCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "rollback NAME [VERSION]",
		Short: "Make an earlier version of a deployment active again",
		Args:  cobra.RangeArgs(1, 2),

		ValidArgsFunction: a.completeDeployments(versionsOf),
		RunE: func(cmd *cobra.Command, args []string) error {
			version := ""
			if len(args) == 2 {
				version = args[1]
			}
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				m, err := c.Rollback(cmd.Context(), args[0], version)
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(m)
				}
				fmt.Fprintf(a.out, "%s is at version %s\n", m.Name, m.Version)
				return nil
			})
		},
	}
}

func (a *app) deploymentsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "deployments",
		Short: "List what is deployed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				ds, err := c.Deployments(cmd.Context())
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(ds)
				}
				w := a.table("NAME", "VERSION", "MODULE", "ENGINE", "ISOLATION", "FUNCTIONS", "DEPLOYED", "VERSIONS")
				for _, d := range ds {
					m := d.Active
					row(w, m.Name, m.Version, short(m.Module), cmp.Or(m.Engine, "default"), isolationOf(m), len(m.Functions),
						age(m.CreatedUnixNano), len(d.History))
				}
				return w.Flush()
			})
		},
	}
}

// isolationOf tells how instances of a deployment are kept, and what warms them up.
func isolationOf(m *client.Manifest) string {
	text := cmp.Or(m.Isolation, "snapshot")
	if m.Fresh != "" && m.Isolation == "" {
		text = "fresh" // it cannot be set back
	}
	if m.WarmUp != "" {
		text += " after " + m.WarmUp
	}
	return text
}

func (a *app) modulesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "modules",
		Short: "List the stored modules",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				ms, err := c.Modules(cmd.Context())
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(ms)
				}
				return a.printModules(ms)
			})
		},
	}
	cmd.AddCommand(a.gcCmd())
	return cmd
}

func (a *app) printModules(ms []*client.Module) error {
	w := a.table("MODULE", "SIZE", "STORED", "DEPLOYMENTS")
	for _, m := range ms {
		row(w, short(m.Sha256), m.Size, age(m.CreatedUnixNano), m.Deployments)
	}
	return w.Flush()
}

func short(sha string) string { return client.Short(sha) }

func (a *app) gcCmd() *cobra.Command {
	var (
		dry bool
		old time.Duration
	)
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove modules that no version of a deployment uses",
		Long: `Remove modules that no version of a deployment uses, and what is left of uploads that were given up. A version is used
while its name is deployed and its history (the last 32) holds it; "essad undeploy" frees the modules of a name.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				out, err := c.CollectModules(cmd.Context(), old, dry)
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(map[string]any{"removed": append([]*client.Module{}, out.Removed...), "bytes": out.Bytes})
				}
				if err := a.printModules(out.Removed); err != nil {
					return err
				}
				verb := "removed"
				if dry {
					verb = "would remove"
				}
				fmt.Fprintf(a.out, "%s %d modules, %d bytes\n", verb, len(out.Removed), out.Bytes)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	cmd.Flags().DurationVar(&old, "older-than", time.Hour, "keep modules stored more recently than this; a run may be about to use them")
	return cmd
}

func (a *app) table(heads ...any) *tabwriter.Writer {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	row(w, heads...)
	return w
}

func row(w *tabwriter.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, c)
	}
	fmt.Fprintln(w)
}

func age(unixNano int64) string {
	d := time.Since(time.Unix(0, unixNano))
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String() + " ago"
	case d < 48*time.Hour:
		return d.Round(time.Minute).String() + " ago"
	}
	return time.Unix(0, unixNano).UTC().Format("2006-01-02 15:04Z")
}
