package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/transport"
)

// completeTime is how long the shell may wait for names. Where the daemon does not tell them in time there are none.
const completeTime = 500 * time.Millisecond

// completion offers the words that may follow args.
type completion = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

// completeDeployments offers the daemon's deployments as the first argument, and what of gives for one of them as the second.
func (a *app) completeDeployments(of func(*client.Deployment) []string) completion {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 1 || (len(args) == 1 && of == nil) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, d := range a.deploymentsInTime(cmd.Context()) {
			words := []string{d.Active.GetName()}
			if len(args) == 1 {
				if d.Active.GetName() != args[0] {
					continue
				}
				words = of(d)
			}
			for _, w := range words {
				if strings.HasPrefix(w, word) {
					out = append(out, w)
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) deploymentsInTime(ctx context.Context) (out []*client.Deployment) {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	_ = a.withClient(ctx, func(c *client.Client, _ transport.Session) (err error) {
		out, err = c.Deployments(ctx)
		return err
	}) // a shell's line is no place for it
	return out
}

func functionsOf(d *client.Deployment) []string {
	var out []string
	for _, f := range d.Active.GetFunctions() {
		out = append(out, strings.TrimPrefix(f, wrapperPrefix))
	}
	return out
}

func versionsOf(d *client.Deployment) []string { return d.History }

// completeModule offers WebAssembly files as the argument after n others.
func completeModule(n int) completion {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) != n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return []string{"wasm"}, cobra.ShellCompDirectiveFilterFileExt
	}
}
