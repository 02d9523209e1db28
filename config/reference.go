package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"
)

// KeyInfo describes one key, for the reference, the man page and completion.
type KeyInfo struct {
	Path    string   `json:"path"`              // kvs.max_key; a block's label is NAME
	Type    string   `json:"type"`              // as people say it
	Default string   `json:"default,omitempty"` // as it is written; empty where there is none
	Allowed []string `json:"allowed,omitempty"` // the values it may have, where they are few
	Min     string   `json:"min,omitempty"`
	Max     string   `json:"max,omitempty"`
	Env     string   `json:"env,omitempty"`   // variable that sets it
	Live    bool     `json:"live,omitempty"`  // a reload changes it
	Block   bool     `json:"block,omitempty"` // it holds keys
	Role    bool     `json:"role,omitempty"`  // a block that turns a role on
	Doc     string   `json:"doc"`
}

// Keys lists every key and block in the order of the schema.
func Keys() []KeyInfo { return keysOf(root(), "", nil) }

func keysOf(k *key, path string, out []KeyInfo) []KeyInfo {
	for _, c := range k.children {
		p := join(path, c.name)
		if c.kind == labelled {
			p += ".NAME"
		}
		out = append(out, c.info(p))
		out = keysOf(c, p, out)
	}
	return out
}

func (k *key) info(path string) KeyInfo {
	i := KeyInfo{
		Path: path, Type: k.typeName(), Default: k.def, Env: EnvName(path), Live: k.live,
		Block: len(k.children) > 0 || k.kind == group, Role: k.role, Doc: k.doc,
	}
	if allowed, ok := k.check("oneof"); ok {
		i.Allowed = strings.Split(allowed, "|")
	}
	i.Min, _ = k.check("min")
	i.Max, _ = k.check("max")
	switch k.kind {
	case textMap, anyMap:
		i.Env += "__KEY"
	case group, labelled:
		if i.Env = ""; k.role {
			i.Env = EnvName(path) // on or off
		}
	case scalar, list:
	}
	return i
}

// Reference writes a reference of all keys as Markdown.
func Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(referenceHead)
	open := false
	for _, k := range Keys() {
		switch {
		case k.Block:
			fmt.Fprintf(&b, "\n## %s\n\n%s", k.heading(), k.Doc)
			if k.Role {
				fmt.Fprintf(&b, " The role is on when the block is there, or with `%s=on`.", k.Env)
			}
			b.WriteString("\n")
			open = false
		default:
			if !open {
				b.WriteString("\n| key | type | default | what it is for |\n|---|---|---|---|\n")
				open = true
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Path, k.typeCell(), k.defaultCell(), k.docCell())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const referenceHead = "# Configuration reference\n\n" + intro

const intro = `Files are HCL (` + "`.hcl`" + `) or YAML (` + "`.yaml`, `.yml`" + `); a folder's files are merged in the order of their names. A value is
looked for in this order, the later one wins: default, files, environment, flags. The variable of a key is ` + "`ESSA_`" + ` and its
path in capitals with ` + "`__`" + ` for each dot: ` + "`kvs.max_key`" + ` is ` + "`ESSA_KVS__MAX_KEY`" + `. Any key can be given as
` + "`--set KEY=VALUE`" + `. Relative paths in a file are relative to the file.

Sizes are written as ` + "`\"64MiB\"`" + `, durations as ` + "`\"30s\"`" + `. Keys marked *live* change on a reload (SIGHUP) without a restart.
`

// Intro says as plain text what a reader of the reference has to know first.
func Intro() string { return plain(intro) }

// plain takes the marks of Markdown out of a text.
func plain(s string) string { return strings.NewReplacer("`", "", "*live*", "live").Replace(s) }

// About says as plain text what a key is, and what it may be.
func (k KeyInfo) About() string {
	text := plain(k.Doc) + " (" + plain(k.typeCell())
	if k.Default != "" {
		text += ", by default " + k.Default
	}
	if k.Live {
		text += "; live"
	}
	return text + ")"
}

// Heading is how one would write a block.
func (k KeyInfo) Heading() string { return plain(k.heading()) }

// heading writes a block's path as one would write the block.
func (k KeyInfo) heading() string {
	if path, ok := strings.CutSuffix(k.Path, ".NAME"); ok {
		return "`" + path + " \"NAME\" {}`"
	}
	return "`" + strings.ReplaceAll(k.Path, ".", " { ") + " {}" + strings.Repeat(" }", strings.Count(k.Path, ".")) + "`"
}

func (k KeyInfo) typeCell() string {
	t := k.Type
	if len(k.Allowed) > 0 {
		t = "`" + strings.Join(k.Allowed, "`, `") + "`"
	}
	switch {
	case k.Min != "" && k.Max != "":
		t += fmt.Sprintf(", %s to %s", k.Min, k.Max)
	case k.Min != "" && k.Min != "0" && k.Min != "0s":
		t += ", at least " + k.Min
	case k.Max != "":
		t += ", at most " + k.Max
	}
	return t
}

func (k KeyInfo) defaultCell() string {
	if k.Default == "" {
		return ""
	}
	return "`" + k.Default + "`"
}

func (k KeyInfo) docCell() string {
	doc := strings.ReplaceAll(k.Doc, "|", `\|`)
	if k.Live {
		doc += " *Live.*"
	}
	return doc
}

// Change is one difference between two configurations.
type Change struct {
	Path     string
	Old, New any  // nil where the key is not there
	Live     bool // a running daemon can take it over
}

// Diff lists what differs between a running configuration and a new one, in the order of the schema.
func Diff(old, next *Config) []Change {
	type value struct {
		k *key
		v any
	}
	was := map[string]value{}
	old.visit(func(path string, k *key, v any) { was[path] = value{k, v} })
	var out []Change
	next.visit(func(path string, k *key, v any) {
		before, ok := was[path]
		delete(was, path)
		if !ok {
			out = append(out, Change{Path: path, New: v})
		} else if !reflect.DeepEqual(before.v, v) {
			out = append(out, Change{Path: path, Old: before.v, New: v, Live: k.live})
		}
	})
	old.visit(func(path string, _ *key, v any) {
		if _, gone := was[path]; gone {
			out = append(out, Change{Path: path, Old: v})
		}
	})
	return out
}
