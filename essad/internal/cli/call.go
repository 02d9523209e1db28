package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/hlc"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

type callFlags struct {
	args     []string
	argsJSON string
	argsFile string
	as       string
	version  string
	timeout  time.Duration
	async    bool
	stats    bool
}

const callLong = `Call a function of a deployment and print its result.

Arguments are encoded as the function expects them (bincode: the values one after the other):

  --arg TEXT         a string
  --arg TYPE:VALUE   u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 bool str char hex
  --arg-json JSON    an array, one element an argument: strings, whole numbers (64 bit), fractions (f64), booleans, null
                     (None), arrays (Vec); {"TYPE": VALUE} where another width is meant
  --arg-file FILE    the encoded bytes themselves; - reads standard input

The result is printed as raw bytes, as hexadecimal digits (--as hex), or decoded with --as TYPE, where a type is one of those
above or vec<T>, option<T>, result<T>, result<T,E>, map<K,V>, tuple<T,...>, unit. A result that is an error is printed as one,
and the exit code is 1.`

func (a *app) callCmd() *cobra.Command {
	var f callFlags
	cmd := &cobra.Command{
		Use:   "call DEPLOYMENT FUNCTION",
		Short: "Call a function of a deployment and print its result",
		Long:  callLong,
		Example: `  essad call shop total --arg u64:42 --as u64
  essad call text to_uppercase --arg foobar --as str
  essad call hello sign --arg Ada --as 'result<vec<str>>'
  essad call shop import --arg-file order.bin --async`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeDeployments(functionsOf),
		RunE: func(cmd *cobra.Command, pos []string) error {
			args, err := a.encodeArgs(&f)
			if err != nil {
				return err
			}
			decode, err := decoder(f.as)
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				if f.async {
					return a.callAsync(cmd.Context(), c, pos[0], pos[1], args, &f)
				}
				return a.call(cmd.Context(), c, pos[0], pos[1], args, &f, decode)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.args, "arg", nil, "an argument, TYPE:VALUE or text; may be repeated")
	fl.StringVar(&f.argsJSON, "arg-json", "", "all arguments as a JSON array")
	fl.StringVar(&f.argsFile, "arg-file", "", "a file with the encoded arguments; - is standard input")
	fl.StringVar(&f.as, "as", "raw", "how to print the result: raw, hex or a type")
	fl.StringVar(&f.version, "deployment-version", "", "call this version (default: the active one)")
	fl.DurationVar(&f.timeout, "timeout", 0, "give up after this long (default: the deployment's, else scheduler.call.timeout)")
	fl.BoolVar(&f.async, "async", false, "print the call's id at once; fetch the result with `essad result ID`")
	fl.BoolVar(&f.stats, "stats", false, "tell on standard error what the call used")
	cmd.MarkFlagsMutuallyExclusive("arg", "arg-json", "arg-file")
	cmd.MarkFlagsMutuallyExclusive("async", "stats")
	return cmd
}

func (a *app) encodeArgs(f *callFlags) ([]byte, error) {
	switch {
	case f.argsFile == "-":
		return io.ReadAll(a.in)
	case f.argsFile != "":
		b, err := os.ReadFile(f.argsFile)
		if err != nil {
			return nil, status.Errorf(status.Invalid, "%w", err)
		}
		return b, nil
	case f.argsJSON != "":
		return encodeJSON(f.argsJSON)
	}
	return encodeTyped(f.args)
}

func (a *app) call(ctx context.Context, c *client.Client, deployment, function string, args []byte, f *callFlags, decode func([]byte) (any, error)) error {
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	res, err := c.Call(ctx, deployment, function, args, client.CallOptions{ID: hlc.NewID(), Version: f.version, Stats: f.stats || a.output == "json"})
	if err != nil {
		return err
	}
	if f.stats && a.output == "text" {
		st := res.Stats
		fmt.Fprintf(a.err, "executor %s, engine %s, queued %v, ran %v, %d units of fuel, %d host calls, %d nested calls, %d KiB of memory\n",
			st.GetExecutor(), st.GetEngine(), time.Duration(st.GetQueuedNano()), time.Duration(st.GetGuestNano()),
			st.GetFuel(), st.GetHostCalls(), st.GetNested(), st.GetMemory()>>10)
	}
	return a.printValue(res.Value, decode, map[string]any{"has_value": res.HasValue, "stats": res.Stats})
}

// printValue prints a result; with --output json beside what else there is to say.
func (a *app) printValue(value []byte, decode func([]byte) (any, error), more map[string]any) error {
	v, err := decode(value)
	if said := (guestError{}); errors.As(err, &said) {
		return status.Errorf(status.GuestFault, "%w", said)
	}
	if err != nil {
		return status.Errorf(status.Invalid, "the result of %d bytes is not what --as says: %w", len(value), err)
	}
	raw, isRaw := v.([]byte)
	if a.output == "json" {
		if more == nil {
			more = map[string]any{}
		}
		more["value_base64"] = base64.StdEncoding.EncodeToString(value)
		if !isRaw {
			more["value"] = v
		}
		return a.printJSON(more)
	}
	switch {
	case isRaw:
	case v == nil:
		return nil
	default:
		return a.printDecoded(v)
	}
	if _, err := a.out.Write(raw); err != nil {
		return err
	}
	if len(raw) > 0 && isTerminal(a.out) {
		fmt.Fprintln(a.out)
	}
	return nil
}

// printDecoded prints scalars as they are and everything else as JSON in one line.
func (a *app) printDecoded(v any) error {
	switch v.(type) {
	case []any, map[string]any:
		return json.NewEncoder(a.out).Encode(v)
	}
	_, err := fmt.Fprintln(a.out, v)
	return err
}

func (a *app) callAsync(ctx context.Context, c *client.Client, deployment, function string, args []byte, f *callFlags) error {
	id, err := c.CallAsync(ctx, deployment, function, args, client.CallOptions{Version: f.version, Timeout: f.timeout})
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(map[string]string{"id": id.String()})
	}
	fmt.Fprintln(a.out, id)
	return nil
}

func (a *app) resultCmd() *cobra.Command {
	var (
		wait time.Duration
		as   string
	)
	cmd := &cobra.Command{
		Use:   "result ID",
		Short: "Fetch the result of an asynchronous call",
		Long: `Fetch the result of an asynchronous call. While it still runs, this waits for --wait and then exits with 69
(unavailable). Results are kept for scheduler.async.result_ttl after the call's end.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, pos []string) error {
			id, err := hlc.ParseID(pos[0])
			if err != nil {
				return err
			}
			decode, err := decoder(as)
			if err != nil {
				return err
			}
			if wait < 0 {
				return errors.New("--wait must not be negative")
			}
			return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
				value, err := c.Result(cmd.Context(), id, wait)
				if err != nil {
					return err
				}
				return a.printValue(value, decode, nil)
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait for a call that still runs")
	cmd.Flags().StringVar(&as, "as", "raw", "how to print the result, as in essad call")
	return cmd
}
