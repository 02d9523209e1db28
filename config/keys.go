package config

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// kind is the shape of what a key holds.
type kind uint8

const (
	scalar   kind = iota
	list          // of strings
	group         // a block
	labelled      // named blocks
	textMap       // strings by free names
	anyMap        // anything by free names
)

// key is one field of the schema.
type key struct {
	name     string
	kind     kind
	typ      reflect.Type
	def      string // default as text; hasDef tells "" from none
	hasDef   bool
	checks   []check
	live     bool
	role     bool
	doc      string
	children []*key // of a group or of each block of labelled
}

// check is one condition of a check tag, as "min=1".
type check struct{ name, arg string }

// root is the schema as a tree. It is made once and never changed.
var root = sync.OnceValue(func() *key {
	return &key{kind: group, typ: reflect.TypeFor[Config](), children: fields(reflect.TypeFor[Config]())}
})

func fields(t reflect.Type) []*key {
	var out []*key
	for f := range t.NumField() {
		out = append(out, newKey(t.Field(f)))
	}
	return out
}

func newKey(f reflect.StructField) *key {
	k := &key{name: f.Tag.Get("key"), typ: f.Type, doc: f.Tag.Get("doc"), live: f.Tag.Get("live") == "true"}
	k.def, k.hasDef = f.Tag.Lookup("default")
	for c := range strings.SplitSeq(f.Tag.Get("check"), ",") {
		if name, arg, _ := strings.Cut(c, "="); name != "" {
			k.checks = append(k.checks, check{name, arg})
		}
	}
	switch f.Type {
	case reflect.TypeFor[map[string]any]():
		k.kind = anyMap
	case reflect.TypeFor[map[string]string]():
		k.kind = textMap
	case reflect.TypeFor[[]string]():
		k.kind = list
	default:
		switch f.Type.Kind() {
		case reflect.Pointer:
			k.kind, k.role, k.children = group, true, fields(f.Type.Elem())
		case reflect.Struct:
			k.kind, k.children = group, fields(f.Type)
		case reflect.Map:
			k.kind, k.children = labelled, fields(f.Type.Elem())
		}
	}
	return k
}

func (k *key) child(name string) *key {
	for _, c := range k.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (k *key) check(name string) (arg string, ok bool) {
	for _, c := range k.checks {
		if c.name == name {
			return c.arg, true
		}
	}
	return "", false
}

// typeName says what to write, for messages and the reference.
func (k *key) typeName() string {
	switch k.kind {
	case group:
		return "block"
	case labelled:
		return "named block"
	case list:
		return "list of strings"
	case textMap:
		return "map of strings"
	case anyMap:
		return "map"
	case scalar:
	}
	switch k.typ {
	case reflect.TypeFor[ByteSize]():
		return "size"
	case reflect.TypeFor[Duration]():
		return "duration"
	case reflect.TypeFor[Mode]():
		return "file mode"
	}
	switch k.typ.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "whole number"
	}
	return "string"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// find returns the key at path. A label stands for itself: engine.wazero.path.
func find(path []string) *key {
	k := root()
	for i := 0; i < len(path); i++ {
		if k = k.child(path[i]); k == nil {
			return nil
		}
		switch k.kind {
		case labelled:
			if i++; i < len(path)-1 {
				continue
			}
			return k
		case textMap, anyMap:
			return k
		}
	}
	return k
}

// suggest says what the writer of an unknown key may have meant.
func suggest(parent *key, path, name string) string {
	var names []string
	for _, c := range parent.children {
		names = append(names, c.name)
	}
	if n := nearest(name, names); n != "" {
		return "Did you mean \"" + n + "\"?"
	}
	if at := elsewhere(root(), "", name); len(at) > 0 {
		return "There is " + strings.Join(at, " and ") + "; move it there."
	}
	slices.Sort(names)
	if path == "" {
		return "Known here: " + strings.Join(names, ", ") + "."
	}
	if len(names) == 0 {
		return path + " has no keys: write " + path + " {}."
	}
	return "Known in " + path + ": " + strings.Join(names, ", ") + "."
}

// elsewhere lists the keys of this name in other blocks, three at most.
func elsewhere(k *key, path, name string) []string {
	var out []string
	for _, c := range k.children {
		p := join(path, c.name)
		if c.kind == labelled {
			p += ".NAME"
		}
		if c.name == name {
			out = append(out, p)
		}
		out = append(out, elsewhere(c, p, name)...)
	}
	return out[:min(len(out), 3)]
}

// nearest returns the candidate that few typing mistakes turn name into, or "".
func nearest(name string, candidates []string) string {
	best, bestCost := "", max(1, (len(name)+1)/3)
	for _, c := range candidates {
		if cost := distance(strings.ToLower(name), c, bestCost); cost < bestCost || cost == bestCost && best == "" {
			best, bestCost = c, cost
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b. Names that differ
// more in length than limit are not compared; the result is then larger than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	older, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, prev, cur = prev, cur, older
	}
	return prev[len(b)]
}
