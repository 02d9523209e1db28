// Package cli is the essad command line: the daemon, and everything a person does with a running one.
//
// It is thin: parse, ask sdk/client or start the agent, print. Every command prints text for people and, with
// --output json, one JSON document (or one per line where it follows something). Failures go to standard error as one line
// that says who refused and what to do; their exit codes are those of sdk/status.
//
// It may import agent, config, sdk/{client,transport,zenoh,lattice,bincode,status,hlc}, cobra, a progress bar and a line editor.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/status"
)

// streams are where a command reads and writes, so that tests can stand in for a terminal.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// app is what all commands share.
type app struct {
	streams
	link   linkFlags
	output string
}

// exitCode is an error that only ends the process with a code: everything there was to say has been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs the command line and returns the exit code of the process.
func Main(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an orderly end; a second one does not have to wait for it.
	context.AfterFunc(ctx, stop)
	return run(ctx, args, streams{os.Stdin, os.Stdout, os.Stderr})
}

func run(ctx context.Context, args []string, s streams) int {
	a := &app{streams: s}
	cmd := a.root()
	cmd.SetArgs(args)
	cmd.SetIn(s.in)
	cmd.SetOut(s.out)
	cmd.SetErr(s.err)
	ran, err := cmd.ExecuteContextC(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	a.printError(err)
	exit := exitOf(err)
	if exit == exitUsage && a.output != "json" {
		fmt.Fprintf(a.err, "usage: %s (more with --help)\n", ran.UseLine())
	}
	return exit
}

// classOf names the class of an error; a wrong command line is invalid.
func classOf(err error) string {
	if exitOf(err) == exitUsage {
		return status.Invalid.String()
	}
	return status.Code(err)
}

// exitOf gives an error of a class that class's code; what has no class is a wrong command line.
func exitOf(err error) int {
	var e *status.Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.Of(err).ExitCode()
	}
	return exitUsage
}

// exitUsage is sysexits' EX_USAGE.
const exitUsage = 64

func (a *app) printError(err error) {
	if a.output == "json" {
		_ = json.NewEncoder(a.err).Encode(map[string]string{"error": err.Error(), "class": classOf(err)})
		return
	}
	fmt.Fprintf(a.err, "essad: %s\n", err)
}

const rootLong = `essad runs WebAssembly functions on a cluster and gives them shared state.

  essad dev                       start everything on this machine, data in ./essad-data
  essad run app.wasm -- a b       run a module's main and follow its output
  essad deploy shop shop.wasm     give a module a name; its functions can then be called
  essad call shop total --arg 42  call a function and print its result
  essad kvs                       look into the state: GET, PUT, SCAN, WATCH ...
  essad --config /etc/essad       run the daemon as a service does

Exit codes: 0 done; 64 wrong command line; 65 invalid; 66 not found; 69 unavailable; 70 internal; 71 corrupt;
73 conflict; 74 deadline; 75 overloaded; 76 a limit was exceeded; 77 denied; 1 the guest failed; 130 interrupted.
"essad run" exits with the module's own code (0-124), 1 after a trap, 125 where essad failed before the module ran.`

func (a *app) root() *cobra.Command {
	var d daemonFlags
	root := &cobra.Command{
		Use:           "essad",
		Short:         "A stateful serverless runtime for WebAssembly",
		Long:          rootLong,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "text" && a.output != "json" {
				return fmt.Errorf("--output %s: want text or json", a.output)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(d.config) == 0 {
				return cmd.Help()
			}
			return a.daemon(cmd, &d)
		},
	}
	a.link.add(root.PersistentFlags())
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "text or json")
	d.add(root)
	root.AddCommand(
		a.devCmd(), a.validateCmd(), a.configCmd(),
		a.runCmd(), a.deployCmd(), a.undeployCmd(), a.rollbackCmd(), a.callCmd(), a.resultCmd(),
		a.psCmd(), a.modulesCmd(), a.deploymentsCmd(), a.statusCmd(), a.pingCmd(), a.tapCmd(), a.pluginsCmd(), a.quarantineCmd(), a.logsCmd(),
		a.kvsCmd(), a.benchCmd(), a.versionCmd(), a.manCmd(),
	)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)) // fails only where the flag is not
	return root
}

// printJSON writes v as one JSON document.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
