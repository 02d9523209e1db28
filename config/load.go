package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

//go:embed default.hcl
var defaultHCL []byte

// Default returns a complete file for a daemon with all roles: what `essad config default` prints.
func Default() []byte { return slices.Clone(defaultHCL) }

// Sources are the layers of a configuration, lowest first.
type Sources struct {
	Inline    []Inline       // files that are not on disk
	Files     []string       // files, and folders whose *.hcl, *.yaml and *.yml are read in the order of their names
	Env       []string       // as os.Environ returns it; only ESSA_* counts
	IgnoreEnv []string       // ESSA_* variables that are no keys: the command line's own
	Flags     *pflag.FlagSet // prepared by AddFlags; may be nil
	Set       []Setting      // values beside the flags, over them
}

// Inline is a file that is not on disk. Its name tells the format: .yaml and .yml are YAML, anything else HCL.
type Inline struct {
	Name string
	Data []byte
}

// Setting is one value as text.
type Setting struct {
	Source string // what diagnostics and `config print` call it, as "--data-dir"
	Path   string // kvs.durability
	Value  string
}

// Load reads all layers and returns the effective configuration and where each value came from. The error is Diagnostics
// with every mistake in the content; another error means that a file could not be read.
func Load(s Sources) (*Config, Origins, error) {
	ld := &loader{merged: koanf.New("."), blocks: map[string]Origin{}, bad: map[string]bool{}}
	for _, f := range s.Inline {
		ld.file(f.Name, f.Data)
	}
	for _, name := range s.Files {
		if err := ld.path(name); err != nil {
			return nil, nil, err
		}
	}
	ld.texts(FromEnv, envSettings(s.Env, s.IgnoreEnv))
	ld.texts(FromFlag, append(flagSettings(s.Flags), s.Set...))
	return ld.finish()
}

type loader struct {
	merged  *koanf.Koanf
	sources []string
	files   int
	layers  []*layer
	blocks  map[string]Origin
	bad     map[string]bool
	diags   Diagnostics
}

// path reads a file or a folder.
func (ld *loader) path(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if !info.IsDir() {
		return ld.read(name)
	}
	entries, err := os.ReadDir(name) // sorted by name
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	found := false
	for _, e := range entries {
		if !isConfigName(e.Name()) {
			continue
		}
		found = true
		if err := ld.read(filepath.Join(name, e.Name())); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("read configuration: folder %s has no file that ends in .hcl, .yaml or .yml: %w", name, fs.ErrNotExist)
	}
	return nil
}

// isConfigName leaves out what editors and package managers put beside files.
func isConfigName(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".hcl" || ext == ".yaml" || ext == ".yml")
}

func (ld *loader) read(name string) error {
	if ld.files++; ld.files > maxFiles {
		return fmt.Errorf("read configuration: more than %d files", maxFiles)
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	ld.file(name, data)
	return nil
}

// file parses, migrates and checks one file and merges what is right of it.
func (ld *loader) file(name string, data []byte) {
	l := newFile(name, data)
	if len(data) > maxFileBytes {
		l.report("", l.at(0, 0, 0), "", "the file is larger than %s", ByteSize(maxFileBytes))
		ld.merge(l, nil)
		return
	}
	var parser koanf.Parser = hclParser{l}
	if l.form == inYAML {
		parser = &yamlParser{layer: l}
	}
	file := koanf.New(".")
	if err := file.Load(bytesProvider(data), parser); err != nil {
		l.report("", l.at(0, 0, 0), "", "%v", err)
	}
	tree := file.Raw()
	if l.migrate(tree, migrations) {
		ld.merge(l, l.accept(root(), tree, ""))
	} else {
		ld.merge(l, nil)
	}
}

// bytesProvider hands a file's bytes to koanf.
type bytesProvider []byte

func (p bytesProvider) ReadBytes() ([]byte, error) { return p, nil }

func (p bytesProvider) Read() (map[string]any, error) {
	return nil, errors.New("config: a file needs a parser")
}

// treeProvider hands a tree to koanf. koanf's own provider would copy it first, leaf by leaf with reflection.
type treeProvider map[string]any

func (p treeProvider) Read() (map[string]any, error) { return p, nil }

func (p treeProvider) ReadBytes() ([]byte, error) {
	return nil, errors.New("config: a tree has no bytes")
}

func (ld *loader) texts(kind OriginKind, settings []Setting) {
	l, tree := textLayer(kind, settings)
	for _, s := range settings {
		ld.sources = append(ld.sources, s.Source)
	}
	ld.merge(l, l.accept(root(), tree, ""))
}

func (ld *loader) merge(l *layer, tree map[string]any) {
	ld.layers = append(ld.layers, l)
	ld.sources = append(ld.sources, l.name)
	ld.diags = append(ld.diags, l.diags...)
	maps.Copy(ld.bad, l.bad)
	for path, at := range l.blocks {
		if _, ok := ld.blocks[path]; !ok {
			ld.blocks[path] = at
		}
	}
	if err := ld.merged.Load(treeProvider(tree), nil); err != nil {
		ld.diags = append(ld.diags, Diagnostic{Summary: err.Error(), Origin: l.at(0, 0, 0)})
	}
	for _, role := range l.off {
		ld.merged.Delete(role)
	}
}

// finish puts the defaults below what was merged, decodes, derives and validates.
func (ld *loader) finish() (*Config, Origins, error) {
	all := koanf.New(".")
	if err := all.Load(treeProvider(defaults(root(), ld.merged.Raw())), nil); err != nil {
		return nil, nil, fmt.Errorf("config: defaults: %w", err)
	}
	if err := all.Merge(ld.merged); err != nil {
		return nil, nil, fmt.Errorf("config: merge: %w", err)
	}
	tree := all.Raw()
	cfg := new(Config)
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{Result: cfg, TagName: "key", DecodeHook: unwrap, ErrorUnused: true})
	if err == nil {
		err = dec.Decode(tree)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("config: decode: %w", err)
	}
	origins := Origins{}
	originsOf(tree, "", origins)
	unclear := cfg.derive(origins)
	cfg.visit(func(path string, k *key, _ any) {
		if _, ok := origins[path]; !ok && (k.kind == scalar || k.kind == list) {
			origins[path] = Origin{Kind: FromDefault}
		}
	})
	for _, p := range append(unclear, cfg.problems()...) {
		if !ld.follows(p) {
			ld.diags = append(ld.diags, ld.locate(p, origins))
		}
	}
	if len(ld.diags) > 0 {
		ld.diags.sortBySource(ld.sources)
		return nil, nil, ld.diags
	}
	return cfg, origins, nil
}

// unwrap takes values out of leaves while mapstructure decodes.
func unwrap(from, _ reflect.Type, v any) (any, error) {
	if from == reflect.TypeFor[leaf]() {
		return v.(leaf).Value, nil
	}
	return v, nil
}

func originsOf(tree map[string]any, path string, out Origins) {
	for name, v := range tree {
		p := join(path, name)
		switch v := v.(type) {
		case leaf:
			out[p] = v.Origin
		case map[string]any:
			originsOf(v, p, out)
		}
	}
}

// follows reports whether p may be only the consequence of a mistake that is already reported.
func (ld *loader) follows(p problem) bool {
	for _, path := range append([]string{p.path}, p.with...) {
		for bad := range ld.bad {
			if bad == "" || bad == path || strings.HasPrefix(bad, path+".") || strings.HasPrefix(path, bad+".") {
				return true
			}
		}
	}
	return false
}

// locate finds the place of a problem: that of its key, else of one it conflicts with, else of a block around it.
func (ld *loader) locate(p problem, origins Origins) Diagnostic {
	d := Diagnostic{Path: p.path, Summary: p.summary, Help: p.help}
	for _, path := range append([]string{p.path}, p.with...) {
		at, ok := origins[path]
		if !ok || at.Kind == FromDefault || at.Kind == FromDerived {
			at, ok = ld.blocks[path]
		}
		if ok {
			d.Origin = at
			break
		}
	}
	for path := p.path; d.Origin.Kind == "" && path != ""; {
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
		d.Origin = ld.blocks[path]
	}
	for _, l := range ld.layers {
		if l.name == d.Origin.Source || l.form == inText && l.origin == d.Origin.Kind {
			d.Snippet = l.snippet(d.Origin)
		}
	}
	return d
}

// defaults makes the tree of defaults of all blocks that are there.
func defaults(k *key, given map[string]any) map[string]any {
	out := map[string]any{}
	for _, c := range k.children {
		sub, isGiven := given[c.name].(map[string]any)
		switch {
		case c.kind == group && (!c.role || isGiven):
			out[c.name] = defaults(c, sub)
		case c.kind == labelled:
			out[c.name] = labelledDefaults(c, sub)
		case c.hasDef:
			out[c.name] = leaf{Value: c.defaultValue(), Origin: Origin{Kind: FromDefault}}
		}
	}
	return out
}

func labelledDefaults(k *key, given map[string]any) map[string]any {
	out := map[string]any{}
	for label, sub := range given {
		block, _ := sub.(map[string]any)
		out[label] = defaults(k, block)
	}
	return out
}

// defaultValue converts the default tag, which is written as in the environment.
func (k *key) defaultValue() any {
	v, m := k.convert(k.def, inText)
	if m != nil {
		panic("config: default of " + k.name + ": " + m.text) // the schema itself is wrong; a test loads every default
	}
	return v
}
