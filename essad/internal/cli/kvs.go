package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/peterh/liner"
	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

const kvsLong = `Look into the key-value store and change it.

  essad kvs                     a prompt with line editing, history and completion
  essad kvs GET KEY             one command
  essad kvs < commands.txt      commands from a file, one a line

Commands, in upper or lower case:

  PUT KEY VALUE          put a last-writer-wins value          GET KEY         read it
  PUT_SET KEY VALUE...   add to a set                          GET_SET KEY     read it, sorted
  PUT_CAUSAL KEY VALUE   put a multi-key causal value          GET_CAUSAL KEY  read it, with its clock
  DELETE KEY             delete a key of any type              SCAN [PREFIX]   list keys, their types and sizes
  WATCH [PREFIX]         follow changes until interrupted      help, quit

The keys are those of the command line and of client programs; the state of functions is kept apart from them.`

func (a *app) kvsCmd() *cobra.Command {
	sh := &kvsShell{app: a}
	cmd := &cobra.Command{
		Use:   "kvs [COMMAND [ARG...]]",
		Short: "Look into the key-value store and change it",
		Long:  kvsLong,
		Example: `  essad kvs PUT greeting hello
  essad kvs GET greeting
  essad kvs SCAN user/ --output json`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeKVS,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(_ *client.Client, s transport.Session) error {
				k, err := client.NewKVS(s, client.Public)
				if err != nil {
					return err
				}
				sh.kvs = k
				switch {
				case len(args) > 0:
					return sh.do(cmd.Context(), args)
				case isTerminalReader(a.in):
					return sh.prompt(cmd.Context())
				}
				return sh.script(cmd.Context())
			})
		},
	}
	cmd.AddCommand(a.exportCmd(), a.importCmd())
	return cmd
}

func completeKVS(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return commandsWith(word), cobra.ShellCompDirectiveNoFileComp
}

func commandsWith(word string) []string {
	var out []string
	for _, c := range kvsCommands {
		if strings.HasPrefix(c.name, strings.ToUpper(word)) {
			out = append(out, c.name)
		}
	}
	return out
}

// kvsShell carries out commands on the key-value store.
type kvsShell struct {
	*app
	kvs *client.KVS
}

// do carries out one command.
func (sh *kvsShell) do(ctx context.Context, words []string) error {
	name := words[0]
	for _, c := range kvsCommands {
		if name != c.name && name != strings.ToLower(c.name) {
			continue
		}
		args := words[1:]
		if len(args) < c.min || (c.max >= 0 && len(args) > c.max) {
			return status.Errorf(status.Invalid, "usage: %s %s", c.name, c.usage)
		}
		return c.run(sh, ctx, args)
	}
	var names []string
	for _, c := range kvsCommands {
		names = append(names, c.name)
	}
	return status.Errorf(status.Invalid, "unrecognized command `%s`; valid commands are %s", name, strings.Join(names, ", "))
}

// quit reports whether a line ends the session.
func quit(line string) bool { return line == "quit" || line == "exit" || line == "q" }

// maxLine bounds a line of commands: it holds the largest value that can be configured.
const maxLine = 64 << 20

// script reads commands from standard input. The first that fails ends it, with its exit code.
func (sh *kvsShell) script(ctx context.Context) error {
	in := bufio.NewScanner(sh.in)
	in.Buffer(nil, maxLine)
	n := 1
	for ; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if quit(line) {
			return nil
		}
		if err := sh.do(ctx, strings.Fields(line)); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch err := in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return status.Errorf(status.Invalid, "line %d is longer than %d bytes: larger values go in by a client program, or by essad kvs import", n, maxLine)
	case err != nil:
		return status.Errorf(status.Unavailable, "read commands: %w", err)
	}
	return nil
}

// prompt is the session at a terminal. A command that fails says why; the session goes on.
func (sh *kvsShell) prompt(ctx context.Context) error {
	l := liner.NewLiner()
	defer l.Close()
	l.SetCtrlCAborts(true)
	l.SetCompleter(func(line string) []string {
		if strings.Contains(line, " ") {
			return nil
		}
		return commandsWith(line)
	})
	for ctx.Err() == nil {
		line, err := l.Prompt("kvs> ")
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(sh.out)
			return nil
		case err != nil:
			return err
		}
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case quit(line):
			return nil
		case line == "help":
			fmt.Fprintln(sh.out, kvsLong)
		default:
			if err := sh.do(ctx, strings.Fields(line)); err != nil {
				fmt.Fprintf(sh.err, "Error: %s\n", err)
			}
		}
		l.AppendHistory(line)
	}
	return nil
}
