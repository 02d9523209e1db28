package cli

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/essa-project/essad/config"
	"github.com/essa-project/essad/sdk/client"
)

func uidString() string { return strconv.Itoa(os.Getuid()) }

// sizeFlag is a number of bytes on the command line, written as in the configuration: 64MiB.
type sizeFlag config.ByteSize

func (s *sizeFlag) String() string { return config.ByteSize(*s).String() }
func (s *sizeFlag) Type() string   { return "size" }

func (s *sizeFlag) Set(text string) error {
	b, err := config.ParseByteSize(text)
	*s = sizeFlag(b)
	return err
}

// limitFlags are the limits of an invocation as flags; what is not given stays the executor's default.
type limitFlags struct {
	memory, args, result, log, line sizeFlag
	wall                            time.Duration
	hostCalls, fuel, stack          int64
	depth, handles                  int32
}

func (l *limitFlags) add(f *pflag.FlagSet) {
	f.Var(&l.memory, "memory", "limit: memory and tables of one instance, as 64MiB")
	f.DurationVar(&l.wall, "wall-time", 0, "limit: wall time of one call")
	f.Var(&l.args, "max-args", "limit: size of a nested call's arguments")
	f.Var(&l.result, "max-result", "limit: size of a result")
	f.Var(&l.log, "max-log", "limit: output of one call")
	f.Var(&l.line, "max-line", "limit: one line of output; a longer one is passed on in pieces")
	f.Int64Var(&l.hostCalls, "host-calls", 0, "limit: host calls of one call")
	f.Int64Var(&l.fuel, "fuel", 0, "limit: work of one call and what it calls, in units of about an instruction")
	f.Int32Var(&l.depth, "call-depth", 0, "limit: depth of nested calls")
	f.Int32Var(&l.handles, "handles", 0, "limit: results of nested calls that are open at once")
	f.Int64Var(&l.stack, "stack", 0, "limit: depth of the guest's stack, in units of about a byte of its frames")
}

// limits returns nil where none was given, so that two deployments that mean the same have the same version.
func (l *limitFlags) limits() *client.Limits {
	if *l == (limitFlags{}) {
		return nil
	}
	return &client.Limits{
		Memory: int64(l.memory), WallTimeNano: int64(l.wall), Args: int64(l.args), Result: int64(l.result), Log: int64(l.log),
		LogLine: int64(l.line), HostCalls: l.hostCalls, CallDepth: l.depth, Handles: l.handles, Stack: l.stack, Fuel: l.fuel,
	}
}
