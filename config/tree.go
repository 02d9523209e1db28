package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// leaf is a value in a tree, with the place it came from. A tree is a map[string]any of subtrees and leaves. koanf merges
// trees without looking into leaves, so each value carries its origin through the merge. The fields are exported because
// koanf copies what it is given by reflection.
type leaf struct {
	Value  any
	Origin Origin // of the value
	Name   Origin // of the key before it
}

// layer is one source while it is read: a file, the environment, the flags.
type layer struct {
	name   string
	dir    string   // relative paths are relative to it
	lines  []string // of a file
	form   form     // how values are written
	origin OriginKind

	blocks map[string]Origin // where each block starts
	labels map[string]bool   // paths whose last part was written as a block's label
	nulls  map[string]bool   // paths that YAML left without a value
	off    []string          // roles that the environment or a flag turns off
	diags  Diagnostics
	bad    map[string]bool // paths that have a diagnostic
}

// form is how a layer writes values, which decides how they are read and how messages show them.
type form uint8

const (
	inHCL form = iota
	inYAML
	inText // all values are strings, to be parsed by the key's type
)

func newLayer(name string, o OriginKind) *layer {
	return &layer{name: name, origin: o, blocks: map[string]Origin{}, labels: map[string]bool{}, nulls: map[string]bool{}, bad: map[string]bool{}}
}

func newFile(name string, data []byte) *layer {
	l := newLayer(name, FromFile)
	l.dir = filepath.Dir(name)
	if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
		l.form = inYAML
	}
	l.lines = strings.Split(string(data), "\n")
	return l
}

func (l *layer) at(line, column, end int) Origin {
	return Origin{Kind: l.origin, Source: l.name, Line: line, Column: column, End: end}
}

// line returns the text of line n.
func (l *layer) line(n int) string {
	if n < 1 || n > len(l.lines) {
		return ""
	}
	return strings.TrimSuffix(l.lines[n-1], "\r")
}

// report notes a mistake. There are at most maxDiagnostics of them: a file that is of another kind altogether would
// otherwise drown the first, which says so.
func (l *layer) report(path string, at Origin, help, format string, args ...any) {
	l.bad[path] = true
	if n := len(l.diags); n > 0 && at.Line > 0 && l.diags[n-1].Origin == at {
		return // the parsers say more than once that they do not understand a place
	}
	if len(l.diags) >= maxDiagnostics {
		return
	}
	l.diags = append(l.diags, Diagnostic{
		Path: path, Summary: fmt.Sprintf(format, args...), Help: help, Origin: at, Snippet: l.snippet(at),
	})
}

func (l *layer) snippet(at Origin) string {
	if at.Kind == FromFile {
		return l.line(at.Line)
	}
	if l.form == inText {
		return l.lineOf(at.Source)
	}
	return ""
}

// lineOf finds the NAME=VALUE line of a variable or flag.
func (l *layer) lineOf(source string) string {
	for _, s := range l.lines {
		if name, _, _ := strings.Cut(s, "="); name == source {
			return s
		}
	}
	return ""
}

// Bounds on what is read and reported.
const (
	maxFileBytes   = 128 << 10
	maxFiles       = 256
	maxNesting     = 64
	maxOperators   = 4096
	maxValues      = 16 << 10 // values in one file, aliases followed
	maxDiagnostics = 50
)
