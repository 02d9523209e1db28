package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// EnvPrefix starts the variables that set keys: ESSA_KVS__MAX_KEY sets kvs.max_key.
const EnvPrefix = "ESSA_"

// EnvName returns the variable that sets the key at path.
func EnvName(path string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}

// envSettings finds the variables that set keys.
func envSettings(env, ignore []string) []Setting {
	var out []Setting
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if rest, ok := strings.CutPrefix(name, EnvPrefix); ok && !slices.Contains(ignore, name) {
			out = append(out, Setting{Source: name, Path: strings.ReplaceAll(rest, "__", "."), Value: value})
		}
	}
	slices.SortFunc(out, func(a, b Setting) int { return strings.Compare(a.Source, b.Source) })
	return out
}

// flagPath is the annotation that ties a flag to its key.
const flagPath = "essad_config_key"

// AddFlags defines the flags of `essad` that set keys: one each for the few that are often given by hand, and --set for
// all of them.
func AddFlags(fs *pflag.FlagSet) {
	for _, f := range []struct{ name, path string }{
		{"name", "node.name"},
		{"data-dir", "node.data_dir"},
		{"plugin-dir", "node.plugin_dir"},
		{"log-level", "log.level"},
		{"log-format", "log.format"},
	} {
		doc, _, _ := strings.Cut(find(strings.Split(f.path, ".")).doc, ".")
		fs.String(f.name, "", doc+" (key "+f.path+")")
		_ = fs.SetAnnotation(f.name, flagPath, []string{f.path}) // fails only for a flag that is not there
	}
	fs.StringArray("set", nil, "set any key, as --set kvs.durability=batched; may be repeated")
	_ = fs.SetAnnotation("set", flagPath, []string{""})
}

// flagSettings returns the values of the flags that were given.
func flagSettings(fs *pflag.FlagSet) []Setting {
	if fs == nil {
		return nil
	}
	var out, sets []Setting
	fs.Visit(func(f *pflag.Flag) {
		path, ok := f.Annotations[flagPath]
		if !ok {
			return
		}
		if path[0] != "" {
			out = append(out, Setting{Source: "--" + f.Name, Path: path[0], Value: f.Value.String()})
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, entry := range list.GetSlice() {
				key, value, _ := strings.Cut(entry, "=")
				sets = append(sets, Setting{Source: "--set " + key, Path: key, Value: value})
			}
		}
	})
	return append(out, sets...) // the more general flag last, so that it wins whatever its name
}

// textLayer makes the layer and tree of values that are all text. Later settings win.
func textLayer(kind OriginKind, settings []Setting) (*layer, map[string]any) {
	l := newLayer(string(kind), kind)
	l.form = inText
	tree := map[string]any{}
	for _, s := range settings {
		l.lines = append(l.lines, s.Source+"="+s.Value)
		start := len([]rune(s.Source)) + 2
		name := Origin{Kind: kind, Source: s.Source, Column: 1, End: start - 1}
		value := Origin{Kind: kind, Source: s.Source, Column: start, End: start + len([]rune(s.Value))}
		l.put(tree, caseOf(strings.Split(s.Path, ".")), leaf{Value: s.Value, Origin: value, Name: name})
	}
	return l, tree
}

// caseOf makes the names of keys small, as they are in the schema. What stands in a map keeps its case for the
// environment of a plugin (engine.NAME.env.HOME), where it matters.
func caseOf(path []string) []string {
	out := make([]string, len(path))
	for i, name := range path {
		out[i] = strings.ToLower(name)
	}
	if len(path) == 4 && out[2] == "env" {
		out[3] = path[3]
	}
	return out
}

// put stores v at path. A role as a whole can be turned on and off: ESSA_KVS=on.
func (l *layer) put(tree map[string]any, path []string, v leaf) {
	at := ""
	for _, name := range path[:len(path)-1] {
		at = join(at, name)
		sub, ok := tree[name].(map[string]any)
		if !ok {
			sub = map[string]any{}
			tree[name] = sub
			l.blocks[at] = v.Name
		}
		tree = sub
	}
	last := path[len(path)-1]
	if k := root().child(last); len(path) == 1 && k != nil && k.role {
		l.toggle(tree, last, v)
		return
	}
	if sub, ok := tree[last].(map[string]any); ok && len(sub) > 0 {
		l.report(join(at, last), v.Name, "Set either it or what is in it.", "%s is a block and has values already", join(at, last))
		return
	}
	tree[last] = v
}

func (l *layer) toggle(tree map[string]any, role string, v leaf) {
	switch strings.ToLower(v.Value.(string)) {
	case "on", "true", "1":
		if _, ok := tree[role]; !ok {
			tree[role] = map[string]any{}
			l.blocks[role] = v.Name
		}
	case "off", "false", "0":
		l.off = append(l.off, role)
	default:
		l.report(role, v.Origin, "Write on or off.", "%s is a role and can be on or off", role)
	}
}
