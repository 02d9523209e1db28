package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// The exit codes of `essad run` that are not the module's.
const (
	exitTrap   = 1
	exitBefore = 125 // essad failed before the module ran
	maxExit    = 124 // a module's greater code is shown as this one
)

func (a *app) runCmd() *cobra.Command {
	var (
		o       client.RunOptions
		limits  limitFlags
		noStdin bool
	)
	cmd := &cobra.Command{
		Use:   "run FILE.wasm [-- ARG...]",
		Short: "Run a module's main once and follow its output",
		Long: `Run a module's main once and follow its output.

The module's main is its export "_start" (a command) or "essa_main" (a reactor, as Go guests are). It sees a fresh state
of its own, gone when it ends unless --keep-state is given; with --deployment NAME it runs that deployment's module with
that deployment's state instead of a file. Standard input is passed on.

With --output json standard output has nothing but a document of how it ended; what the module writes there goes to
standard error.

Exit status: the module's own (0-124), 1 after a trap, 125 where essad failed before the module ran.`,
		Example: `  essad run hello.wasm
  essad run report.wasm -- --year 2026 < sales.csv
  essad run --deployment shop -- import`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeModule(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, argv, err := runArgs(cmd, args, o.Deployment)
			if err != nil {
				return err
			}
			o.Argv, o.Limits = argv, limits.limits()
			if !noStdin {
				o.Stdin = a.in
			}
			return a.run(cmd.Context(), file, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Deployment, "deployment", "", "run the main of this deployment, with its state")
	f.BoolVar(&o.KeepState, "keep-state", false, "keep what the run put under its own keys")
	f.StringArrayVar(&o.Env, "env", nil, "environment of the module, K=V; may be repeated")
	f.StringVar(&o.Engine, "engine", "", "the engine to run on (default: the executor's first)")
	f.BoolVar(&noStdin, "no-stdin", false, "do not pass standard input on")
	limits.add(f)
	_ = cmd.RegisterFlagCompletionFunc("deployment", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return a.completeDeployments(nil)(cmd, nil, word)
	}) // fails only where the flag is not
	return cmd
}

func runArgs(cmd *cobra.Command, args []string, deployment string) (file string, argv []string, err error) {
	if deployment != "" {
		if dash := cmd.ArgsLenAtDash(); dash > 0 {
			return "", nil, fmt.Errorf("--deployment %s takes no file", deployment)
		}
		return "", append([]string{deployment}, args...), nil
	}
	if len(args) == 0 {
		return "", nil, errors.New("which module? give a file: essad run FILE.wasm")
	}
	if len(args) > 1 && cmd.ArgsLenAtDash() != 1 {
		return "", nil, fmt.Errorf("arguments for the module go after --: essad run %s -- %s", args[0], strings.Join(args[1:], " "))
	}
	return args[0], append([]string{filepath.Base(args[0])}, args[1:]...), nil
}

func (a *app) run(ctx context.Context, file string, o client.RunOptions) error {
	o.Stdout, o.Stderr = a.out, a.err
	if a.output == "json" {
		o.Stdout = a.err // the document is the only thing on standard output
	}
	err := a.withClient(ctx, func(c *client.Client, _ transport.Session) error {
		if file != "" {
			sha, err := a.upload(ctx, c, file)
			if err != nil {
				return err
			}
			o.Module = sha
		}
		res, err := c.Run(ctx, o)
		if err != nil {
			return runError{err}
		}
		return a.runEnded(res)
	})
	return a.runFailed(err)
}

// runError is a failure of the run itself, as opposed to one on the way to it.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

func (a *app) runEnded(res *client.RunResult) error {
	if res.Lost > 0 {
		fmt.Fprintf(a.err, "essad: %d messages of the module's output were lost: this terminal or pipe was too slow\n", res.Lost)
	}
	if a.output == "json" {
		if err := a.printJSON(map[string]any{"id": res.ID.String(), "exit_code": res.ExitCode, "stats": res.Stats}); err != nil {
			return err
		}
	}
	if res.ExitCode == 0 {
		return nil
	}
	return exitCode(min(res.ExitCode, maxExit))
}

func (a *app) runFailed(err error) error {
	var code exitCode
	if err == nil || errors.As(err, &code) {
		return err
	}
	a.printError(err)
	ran := runError{}
	switch c := status.Of(err); {
	case errors.As(err, &ran) && (c == status.GuestFault || c == status.Limit || c == status.Deadline):
		return exitCode(exitTrap)
	case c == status.Cancelled:
		return exitCode(status.Cancelled.ExitCode())
	}
	return exitCode(exitBefore)
}

// upload stores a module file, with a progress bar where that takes a while and somebody is looking.
func (a *app) upload(ctx context.Context, c *client.Client, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", status.Errorf(status.Invalid, "%w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return "", status.Errorf(status.Invalid, "%s is a folder, not a WebAssembly module", file)
	}
	var bar *progressbar.ProgressBar
	sha, err := c.Upload(ctx, f, func(sent, size int64) {
		if bar == nil && size > 4*client.ChunkBytes && isTerminal(a.err) {
			bar = progressbar.DefaultBytes(size, "uploading "+filepath.Base(file))
		}
		if bar != nil {
			_ = bar.Set64(sent)
		}
	})
	if bar != nil {
		_ = bar.Finish()
	}
	return sha, err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func isTerminalReader(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
