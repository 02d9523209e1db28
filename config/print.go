package config

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"go.yaml.in/yaml/v3"
)

// Format is a form in which Print writes a configuration.
type Format string

// The formats. HCL and YAML say after each value where it came from, and can be loaded again.
const (
	HCL  Format = "hcl"
	YAML Format = "yaml"
	JSON Format = "json" // {"config": {...}, "origins": {"kvs.store": {...}}}
)

// Print writes the effective configuration: every key of every block that is on.
func Print(w io.Writer, c *Config, origins Origins, f Format) error {
	tree := c.tree(origins)
	switch f {
	case HCL:
		var b strings.Builder
		printHCL(&b, tree, 0)
		_, err := io.WriteString(w, b.String())
		return err
	case YAML:
		enc := yaml.NewEncoder(w)
		enc.SetIndent(2)
		if err := enc.Encode(yamlNode(tree)); err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		return enc.Close()
	case JSON:
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{"config": jsonValue(tree), "origins": origins})
	}
	return fmt.Errorf("%q is no format; use hcl, yaml or json", f)
}

// entry is one line or block of what is printed.
type entry struct {
	name    string
	label   string // of a labelled block
	from    string // comment: where the value came from
	value   any    // plain: string, bool, int64, float64, []any, map[string]any
	entries []entry
	block   bool
}

func (c *Config) tree(origins Origins) []entry {
	return entries(reflect.ValueOf(c).Elem(), root(), "", origins)
}

func entries(v reflect.Value, k *key, path string, origins Origins) []entry {
	var out []entry
	for i, c := range k.children {
		field, p := v.Field(i), join(path, c.name)
		switch c.kind {
		case group:
			if field.Kind() == reflect.Pointer {
				if field.IsNil() {
					continue
				}
				field = field.Elem()
			}
			out = append(out, entry{name: c.name, block: true, entries: entries(field, c, p, origins)})
		case labelled:
			for _, label := range labels(field) {
				sub := entries(field.MapIndex(reflect.ValueOf(label)), c, join(p, label), origins)
				out = append(out, entry{name: c.name, label: label, block: true, entries: sub})
			}
		case textMap, anyMap:
			if field.Len() > 0 {
				out = append(out, entry{name: c.name, block: true, entries: mapEntries(field.Interface(), p, origins)})
			}
		default:
			out = append(out, entry{name: c.name, value: plainOf(field.Interface()), from: origins[p].comment()})
		}
	}
	return out
}

// mapEntries lists a free map with quoted names: they need not be identifiers.
func mapEntries(m any, path string, origins Origins) []entry {
	var out []entry
	v := reflect.ValueOf(m)
	for _, k := range slices.SortedFunc(maps.Keys(anyKeys(v)), strings.Compare) {
		out = append(out, entry{name: k, value: plainOf(v.MapIndex(reflect.ValueOf(k)).Interface()), from: origins[join(path, k)].comment()})
	}
	return out
}

func anyKeys(v reflect.Value) map[string]bool {
	out := make(map[string]bool, v.Len())
	for _, k := range v.MapKeys() {
		out[k.String()] = true
	}
	return out
}

func (o Origin) comment() string {
	if o.Kind == "" {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, o.String())
}

// plainOf turns a value of the schema's types into what files can hold.
func plainOf(v any) any {
	switch v := v.(type) {
	case ByteSize, Duration, Mode:
		return fmt.Sprint(v)
	case int:
		return int64(v)
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = s
		}
		return out
	}
	return v
}

func printHCL(b *strings.Builder, list []entry, depth int) {
	indent := strings.Repeat("  ", depth)
	width, texts := 0, make([]string, len(list))
	for i, e := range list {
		if !e.block {
			texts[i] = hclName(e.name)
			width = max(width, len(texts[i]))
		}
	}
	comments := 0
	for i, e := range list {
		if !e.block {
			texts[i] = fmt.Sprintf("%s%-*s = %s", indent, width, texts[i], hclText(e.value))
			comments = max(comments, min(len(texts[i]), maxCommentColumn))
		}
	}
	for i, e := range list {
		switch {
		case e.block && i > 0:
			b.WriteString("\n")
			fallthrough
		case e.block:
			e.blockHCL(b, indent, depth)
		case e.from == "":
			b.WriteString(texts[i] + "\n")
		default:
			fmt.Fprintf(b, "%-*s  # %s\n", comments, texts[i], e.from)
		}
	}
}

const maxCommentColumn = 48

func (e entry) blockHCL(b *strings.Builder, indent string, depth int) {
	b.WriteString(indent + e.name)
	// Names in a free map may be anything, so they are written as an object; a block's are identifiers.
	open, end := " {", "}\n"
	if e.label != "" {
		open = " " + hclText(e.label) + open
	}
	if e.name == "settings" || e.name == "env" {
		open = " =" + open
	}
	if len(e.entries) == 0 {
		b.WriteString(open + end)
		return
	}
	b.WriteString(open + "\n")
	printHCL(b, e.entries, depth+1)
	b.WriteString(indent + end)
}

func hclName(s string) string {
	if hclsyntax.ValidIdentifier(s) {
		return s
	}
	return hclText(s)
}

func hclText(v any) string {
	switch v := v.(type) {
	case string:
		return hclQuote(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		items := make([]string, len(v))
		for i, e := range v {
			items[i] = hclText(e)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		var items []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			items = append(items, hclQuote(k)+" = "+hclText(v[k]))
		}
		return "{ " + strings.Join(items, ", ") + " }"
	}
	return fmt.Sprint(v)
}

// hclQuote writes a string so that hcl reads the same back: ${ and %{ would start a template.
func hclQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case (r == '$' || r == '%') && strings.HasPrefix(s[i+1:], "{"):
			b.WriteRune(r)
			b.WriteRune(r)
		case !unicode.IsPrint(r):
			if r > 0xffff {
				fmt.Fprintf(&b, `\U%08x`, r)
			} else {
				fmt.Fprintf(&b, `\u%04x`, r)
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func yamlNode(list []entry) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	add := func(name string, v *yaml.Node) {
		k := new(yaml.Node)
		k.SetString(name)
		n.Content = append(n.Content, k, v)
	}
	for i := 0; i < len(list); i++ {
		e := list[i]
		switch {
		case e.label != "":
			labels := &yaml.Node{Kind: yaml.MappingNode}
			for ; i < len(list) && list[i].name == e.name; i++ {
				k := new(yaml.Node)
				k.SetString(list[i].label)
				labels.Content = append(labels.Content, k, yamlNode(list[i].entries))
			}
			i--
			add(e.name, labels)
		case e.block:
			add(e.name, yamlNode(e.entries))
		default:
			v := new(yaml.Node)
			if err := v.Encode(e.value); err != nil {
				v.SetString(fmt.Sprint(e.value))
			}
			if v.Kind == yaml.SequenceNode {
				v.Style = yaml.FlowStyle
			}
			v.LineComment = e.from
			add(e.name, v)
		}
	}
	return n
}

func jsonValue(list []entry) map[string]any {
	out := map[string]any{}
	for _, e := range list {
		switch {
		case e.label != "":
			labels, ok := out[e.name].(map[string]any)
			if !ok {
				labels = map[string]any{}
				out[e.name] = labels
			}
			labels[e.label] = jsonValue(e.entries)
		case e.block:
			out[e.name] = jsonValue(e.entries)
		default:
			out[e.name] = e.value
		}
	}
	return out
}
