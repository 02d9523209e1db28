package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/essa-project/essad/config"
	"github.com/essa-project/essad/essad/internal/agent"
	"github.com/essa-project/essad/sdk/status"
)

// manCmd writes the manual: what --help and the configuration's schema say, as pages. It is for packages, and hidden.
func (a *app) manCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "man FOLDER",
		Short:  "Write the manual's pages: man1 and man5 below a folder",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := writeManual(cmd.Root(), args[0]); err != nil {
				return status.Errorf(status.Invalid, "write the manual: %w", err)
			}
			return nil
		},
	}
}

func writeManual(root *cobra.Command, dir string) error {
	for _, d := range []string{"man1", "man5"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, c := range documented(root) {
		if err := os.WriteFile(filepath.Join(dir, "man1", pageOf(c)+".1"), []byte(commandPage(c)), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "man5", "essad.hcl.5"), []byte(configPage()), 0o644)
}

// documented lists a command and all below it that people are told of.
func documented(c *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			out = append(out, documented(sub)...)
		}
	}
	return out
}

func pageOf(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// page is a page of the manual in the language of man(7). What is written to it is text.
type page struct{ strings.Builder }

func newPage(name string, section int) *page {
	p := &page{}
	fmt.Fprintf(p, ".TH \"%s\" %d \"\" \"essad %s\" \"essad\"\n", roff(strings.ToUpper(name)), section, roff(agent.Version))
	return p
}

// roff protects what the formatter would take for something else.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

func (p *page) section(title string) { fmt.Fprintf(p, ".SH %s\n", title) }

func (p *page) item(term, text string) {
	fmt.Fprintf(p, ".TP\n\\fB%s\\fR\n%s\n", roff(term), roff(cmp.Or(text, term)))
}

// literal writes lines as they are.
func (p *page) literal(text string) {
	fmt.Fprintf(p, ".PP\n.nf\n%s\n.fi\n", roff(strings.Trim(text, "\n")))
}

// text writes paragraphs. One with lines that are set in stays as it is.
func (p *page) text(s string) {
	for _, paragraph := range strings.Split(strings.Trim(s, "\n"), "\n\n") {
		if strings.HasPrefix(paragraph, "  ") || strings.Contains(paragraph, "\n  ") {
			p.literal(paragraph)
			continue
		}
		fmt.Fprintf(p, ".PP\n%s\n", roff(paragraph))
	}
}

func (p *page) flags(title string, fs *pflag.FlagSet) {
	if !fs.HasAvailableFlags() {
		return
	}
	p.section(title)
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		term := "--" + f.Name
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ", " + term
		}
		if value != "" {
			term += " " + value
		}
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0s" {
			usage += " (default " + f.DefValue + ")"
		}
		p.item(term, usage)
	})
}

func commandPage(c *cobra.Command) string {
	p := newPage(pageOf(c), 1)
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", roff(pageOf(c)), roff(c.Short))
	p.section("SYNOPSIS")
	if c.Runnable() {
		fmt.Fprintf(p, "\\fB%s\\fR\n", roff(c.UseLine()))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(p, ".br\n\\fB%s\\fR COMMAND\n", roff(c.CommandPath()))
	}
	p.section("DESCRIPTION")
	p.text(cmp.Or(c.Long, c.Short+"."))
	if c.Example != "" {
		p.section("EXAMPLES")
		p.literal(c.Example)
	}
	if c.HasAvailableSubCommands() {
		p.section("COMMANDS")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				p.item(pageOf(sub)+"(1)", sub.Short)
			}
		}
	}
	p.flags("OPTIONS", c.LocalFlags())
	p.flags("OPTIONS OF ALL COMMANDS", c.InheritedFlags())
	p.section("SEE ALSO")
	if c.HasParent() {
		fmt.Fprintf(p, "%s(1), ", roff(pageOf(c.Parent())))
	}
	fmt.Fprintln(p, "essad.hcl(5)")
	return p.String()
}

func configPage() string {
	p := newPage("essad.hcl", 5)
	p.section("NAME")
	fmt.Fprintf(p, "essad.hcl \\- %s\n", roff("configuration of essad"))
	p.section("DESCRIPTION")
	p.text(config.Intro())
	p.section("KEYS")
	for _, k := range config.Keys() {
		if k.Block {
			fmt.Fprintf(p, ".SS \"%s\"\n", roff(k.Heading()))
			p.text(k.Doc)
			continue
		}
		p.item(k.Path, k.About())
	}
	p.section("FILES")
	p.item("/etc/essad", "The files that the service reads.")
	p.section("SEE ALSO")
	fmt.Fprintln(p, "essad(1), essad\\-config(1), essad\\-validate(1)")
	return p.String()
}
