package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/transport"
)

func (a *app) tapCmd() *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use:   "tap [KEYEXPR]",
		Short: "Show what is published, as it happens",
		Long: `Show what is published on a key expression and which liveliness tokens come and go, until interrupted. Queries and their
answers are not published and not shown. By a daemon's own socket everything can be seen, the cluster's own topics included;
otherwise what is below essa/ and anna/ cannot. A tap slows nobody down: what it is too slow for is lost, and counted at the
end.`,
		Example: `  essad tap
  essad tap 'essa/executor/*/report'
  essad tap --count 1 --output json demo/temperature`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			expr := "**"
			if len(args) == 1 {
				expr = args[0]
			}
			return a.tap(cmd, expr, limit)
		},
	}
	cmd.Flags().IntVarP(&limit, "count", "n", 0, "end after so many; 0: go on until interrupted")
	return cmd
}

func (a *app) tap(cmd *cobra.Command, expr string, limit int) error {
	return a.withClient(cmd.Context(), func(c *client.Client, _ transport.Session) error {
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		shown := 0
		lost, err := c.Tap(ctx, expr, a.ownSocket(), func(t client.Traffic) {
			if limit > 0 && shown >= limit {
				return
			}
			a.printTraffic(t)
			if shown++; shown == limit {
				cancel()
			}
		})
		if lost > 0 {
			fmt.Fprintf(a.err, "essad: %d were lost: they came faster than they could be shown\n", lost)
		}
		return err
	})
}

func (a *app) printTraffic(t client.Traffic) {
	s := t.Sample
	if a.output == "json" {
		_ = json.NewEncoder(a.out).Encode(map[string]any{
			"time": t.Time.UTC(), "kind": t.Kind.String(), "key": s.Key, "bytes": len(s.Payload), "encoding": s.Encoding,
			"payload_base64": base64.StdEncoding.EncodeToString(s.Payload), "attachment_bytes": len(s.Attachment),
		})
		return
	}
	fmt.Fprintf(a.out, "%s %-6s %s", t.Time.UTC().Format("15:04:05.000"), t.Kind, s.Key)
	if t.Kind == client.Published {
		fmt.Fprintf(a.out, "  %d B  %s", len(s.Payload), preview(s.Payload))
	}
	fmt.Fprintln(a.out)
}

// previewBytes is how much of a payload is shown on a line.
const previewBytes = 48

// preview shows the beginning of a payload: as text where it is text, otherwise in hexadecimal.
func preview(p []byte) string {
	cut := p[:min(len(p), previewBytes)]
	dots := ""
	if len(cut) < len(p) {
		dots = "..."
		for i := 0; i < utf8.UTFMax && len(cut) > 0 && !utf8.Valid(cut); i++ { // a rune may have been cut in two
			cut = cut[:len(cut)-1]
		}
	}
	if utf8.Valid(cut) && strings.IndexFunc(string(cut), func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return fmt.Sprintf("%q%s", cut, dots)
	}
	return fmt.Sprintf("%x%s", p[:min(len(p), previewBytes/2)], dots)
}
