package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/essa-project/essad/config"
	"github.com/essa-project/essad/essad/internal/agent"
	"github.com/essa-project/essad/sdk/status"
)

// daemonFlags say which configuration to load.
type daemonFlags struct {
	config []string
}

func (d *daemonFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&d.config, "config", "c", nil,
		"configuration file or folder of files (HCL or YAML); may be repeated, later ones win")
	config.AddFlags(cmd.Flags())
}

// ownEnv are the ESSA_* variables that are the command line's own and no keys.
var ownEnv = []string{envAddress, envUser, envPassword, envPasswordFile, envCA, envCertificate, envKey}

func (d *daemonFlags) load(cmd *cobra.Command, more ...config.Setting) (*config.Config, config.Origins, error) {
	s := config.Sources{Files: d.config, Env: os.Environ(), IgnoreEnv: ownEnv, Flags: cmd.Flags(), Set: more}
	if len(d.config) == 0 {
		s.Inline = []config.Inline{{Name: "default.hcl", Data: config.Default()}}
	}
	return config.Load(s)
}

// configError prints every mistake of a configuration; the exit code is that of invalid.
func (a *app) configError(err error) error {
	var diags config.Diagnostics
	if !errors.As(err, &diags) {
		return status.Wrap(status.Invalid, err)
	}
	if a.output == "json" {
		_ = diags.JSON(a.err)
	} else {
		_ = diags.Pretty(a.err)
	}
	return exitCode(status.Invalid.ExitCode())
}

// daemon is `essad --config FILE`.
func (a *app) daemon(cmd *cobra.Command, d *daemonFlags) error {
	cfg, _, err := d.load(cmd)
	if err != nil {
		return a.configError(err)
	}
	log := newLogger(cfg, a)
	setTimerSlack(cfg, log)
	ag := agent.New(cfg, log)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-reload:
				a.reload(cmd, d, ag, log)
			}
		}
	}()
	return status.Wrap(status.Internal, ag.Run(ctx, nil))
}

func setTimerSlack(cfg *config.Config, log hclog.Logger) {
	if err := agent.SetTimerSlack(cfg.Node.TimerSlack.Std()); err != nil {
		log.Warn("node.timer_slack is not in effect", "error", err)
	}
}

// reload reads the configuration again; one with mistakes changes nothing.
func (a *app) reload(cmd *cobra.Command, d *daemonFlags, ag *agent.Agent, log hclog.Logger) {
	next, _, err := d.load(cmd)
	if err != nil {
		log.Error("configuration was not reloaded", "error", err)
		return
	}
	ag.Reload(next)
}

func newLogger(cfg *config.Config, a *app) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "essad", Level: hclog.LevelFromString(cfg.Log.Level), Output: a.err, JSONFormat: cfg.Log.Format == "json",
	})
}

func (a *app) validateCmd() *cobra.Command {
	var d daemonFlags
	cmd := &cobra.Command{
		Use:   "validate [FILE|FOLDER...]",
		Short: "Check a configuration and report every mistake in it",
		Example: `  essad validate /etc/essad
  essad validate node1.hcl --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d.config = append(d.config, args...)
			if len(d.config) == 0 {
				return errors.New("which configuration? give a file or folder: essad validate /etc/essad")
			}
			cfg, _, err := d.load(cmd)
			if err != nil {
				return a.configError(err)
			}
			if a.output == "json" {
				return a.printJSON(map[string]any{"valid": true, "roles": cfg.Roles()})
			}
			fmt.Fprintf(a.out, "the configuration is valid (roles: %v)\n", cfg.Roles())
			return nil
		},
	}
	d.add(cmd)
	return cmd
}

func (a *app) configCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show configurations and what can be configured"}
	cmd.AddCommand(a.configPrintCmd(), &cobra.Command{
		Use:   "default",
		Short: "Print a complete file to start from",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(config.Default())
			return err
		},
	}, &cobra.Command{
		Use:   "reference",
		Short: "Print every key with its default and what it is for, as Markdown",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.output == "json" {
				return a.printJSON(config.Keys())
			}
			return config.Reference(a.out)
		},
	})
	return cmd
}

func (a *app) configPrintCmd() *cobra.Command {
	var (
		d      daemonFlags
		format string
	)
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration, and where each value came from",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := config.Format(format)
			if a.output == "json" {
				f = config.JSON
			}
			cfg, origins, err := d.load(cmd)
			if err != nil {
				return a.configError(err)
			}
			return config.Print(a.out, cfg, origins, f)
		},
	}
	d.add(cmd)
	cmd.Flags().StringVar(&format, "format", "hcl", "hcl, yaml or json")
	return cmd
}

const devLong = `Start all roles on this machine, for development.

Data is kept in --data, and the daemon listens on the user's own socket, where the other commands find it. Values are on
disk before a write is acknowledged, as in production. One line is printed per event; Ctrl-C stops everything cleanly.`

func (a *app) devCmd() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start all roles on this machine, data in a folder",
		Long:  devLong,
		Example: `  essad dev
  essad dev --data /tmp/shop --set executor.limits.memory=64MiB`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.dev(cmd, data)
		},
	}
	cmd.Flags().StringVar(&data, "data", "essad-data", "folder for data; made if it is not there")
	config.AddFlags(cmd.Flags())
	return cmd
}

func (a *app) dev(cmd *cobra.Command, data string) error {
	dir, err := filepath.Abs(data)
	if err != nil {
		return err
	}
	socket, err := a.devSocket()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return status.Errorf(status.Invalid, "make the socket's folder: %w", err)
	}
	if socket == userSocket() && !trusted(socket) {
		return status.Errorf(status.Denied, "the folder %s is another user's or open to others, who could stand in for this daemon: remove it, or set XDG_RUNTIME_DIR or --address",
			filepath.Dir(socket))
	}
	var d daemonFlags
	set := []config.Setting{
		{Source: "essad dev", Path: "node.runtime_dir", Value: filepath.Join(dir, "run")},
		{Source: "essad dev", Path: "node.socket", Value: socket},
		{Source: "essad dev", Path: "node.socket_mode", Value: "0600"},
	}
	if !cmd.Flags().Changed("data-dir") {
		set = append(set, config.Setting{Source: "--data", Path: "node.data_dir", Value: dir})
	}
	cfg, _, err := d.load(cmd, set...)
	if err != nil {
		return a.configError(err)
	}
	log := newLogger(cfg, a)
	setTimerSlack(cfg, log)
	return status.Wrap(status.Internal, agent.New(cfg, log).Run(cmd.Context(), func() {
		fmt.Fprintf(a.out, "essad is ready: data in %s, socket %s; stop with Ctrl-C\n", dir, socket)
	}))
}

// devSocket is where `essad dev` listens for clients. Other endpoints are fabric.listen.
func (a *app) devSocket() (string, error) {
	s := orEnv(a.link.address, envAddress)
	if s == "" {
		return userSocket(), nil
	}
	e, err := endpointOf(s)
	if err != nil {
		return "", err
	}
	path, isSocket := strings.CutPrefix(e, unixProtocol)
	if !isSocket {
		return "", fmt.Errorf("--address %s: essad dev takes the path of a socket; give others by --set fabric.listen=%s", s, s)
	}
	return path, nil
}
