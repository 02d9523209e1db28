package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// yamlParser is a koanf parser over yaml's nodes, which have positions: what it returns is a tree of leaves, as hclParser's.
type yamlParser struct {
	*layer
	budget int // values left, so that aliases of aliases cannot blow up
}

// Unmarshal implements koanf.Parser.
func (p *yamlParser) Unmarshal(data []byte) (map[string]any, error) {
	p.budget = maxValues
	tree := map[string]any{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return tree, nil
	case err != nil:
		p.syntax(err)
		return tree, nil
	}
	top := &doc
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		top = doc.Content[0]
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			p.syntax(err)
		} else {
			p.report("", p.node(&more), "Put the second into a file of its own.", "the file holds more than one document")
		}
	}
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return tree, nil // only comments
	}
	if top.Kind != yaml.MappingNode {
		p.report("", p.node(top), "Start with a key, as \"kvs:\".", "the file must be a map of keys")
		return tree, nil
	}
	p.mapping(top, tree, "", 0)
	return tree, nil
}

// Marshal implements koanf.Parser. Print writes YAML with comments instead.
func (p *yamlParser) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("config: use Print to write YAML")
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	// yamlInside matches mistakes for which yaml gives the line before the one where the map or list around starts.
	yamlInside = regexp.MustCompile(`^did not find expected (key|'-'|',' or|node content)`)
)

func (p *yamlParser) syntax(err error) {
	text, line := err.Error(), 0
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		line, _ = strconv.Atoi(m[1])
	}
	if yamlInside.MatchString(text) {
		text = "the map or list that starts here has a mistake: " + text
		line++
	}
	column, end := 0, 0
	if s := p.line(line); s != "" {
		column = 1 + len(s) - len(strings.TrimLeft(s, " \t"))
		end = 1 + utf8.RuneCountInString(s)
	}
	p.report("", p.at(line, column, end), "Check the indentation and quotes in and before this line.", "%s", text)
}

func (p *yamlParser) node(n *yaml.Node) Origin {
	width := utf8.RuneCountInString(n.Value)
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		width += 2
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || n.Kind != yaml.ScalarNode {
		width = 1
	}
	return p.at(n.Line, n.Column, n.Column+width)
}

func (p *yamlParser) mapping(n *yaml.Node, tree map[string]any, path string, depth int) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := p.node(k)
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			p.report(path, at, "Write the keys out.", "the key of a map must be a name")
			continue
		}
		if _, twice := tree[k.Value]; twice {
			p.report(join(path, k.Value), at, "Keep one of them.", "%q is there twice", k.Value)
			continue
		}
		if out := p.value(v, join(path, k.Value), at, depth+1); out != nil {
			tree[k.Value] = out
		}
	}
}

// value turns a node into a leaf or a subtree; nil after a mistake.
func (p *yamlParser) value(n *yaml.Node, path string, name Origin, depth int) any {
	n, ok := p.follow(n, path, depth)
	if !ok {
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		// "kvs:" with nothing below it is how YAML writes an empty block.
		p.blocks[path], p.nulls[path] = name, true
		return map[string]any{}
	}
	if n.Kind == yaml.MappingNode {
		p.blocks[path] = name
		tree := map[string]any{}
		p.mapping(n, tree, path, depth)
		return tree
	}
	v, ok := p.plain(n, path, depth)
	if !ok {
		return nil
	}
	return leaf{Value: v, Origin: p.node(n), Name: name}
}

// follow resolves aliases and keeps the bounds.
func (p *yamlParser) follow(n *yaml.Node, path string, depth int) (*yaml.Node, bool) {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	p.budget--
	switch {
	case p.budget == -1:
		p.report(path, p.node(n), "", "the file holds more than %d values", maxValues)
		return nil, false
	case p.budget < 0:
		return nil, false
	case depth > maxNesting:
		p.report(path, p.node(n), "", "values are nested more than %d deep", maxNesting)
		return nil, false
	}
	return n, true
}

// plain turns a scalar or sequence into string, bool, int64, float64 or []any, and a mapping in a sequence into a map.
func (p *yamlParser) plain(n *yaml.Node, path string, depth int) (any, bool) {
	switch n.Kind {
	case yaml.SequenceNode:
		out := []any{}
		for _, c := range n.Content {
			c, ok := p.follow(c, path, depth+1)
			if !ok {
				return nil, false
			}
			v, ok := p.plain(c, path, depth+1)
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return out, true
	case yaml.MappingNode:
		tree := map[string]any{}
		p.mapping(n, tree, path, depth+1)
		return bare(tree), true
	}
	v, err := yamlScalar(n)
	if err != nil {
		p.report(path, p.node(n), "", "%s: %v", path, err)
		return nil, false
	}
	return v, true
}

func yamlScalar(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!str", "!!timestamp", "!!binary":
		return n.Value, nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, fmt.Errorf("%q: %w", n.Value, err)
		}
		if i, ok := v.(int); ok {
			return int64(i), nil
		}
		switch v.(type) {
		case bool, int64, float64:
			return v, nil
		}
		return nil, fmt.Errorf("%s is too large a number", n.Value)
	case "!!null":
		return nil, errors.New("null is no value; leave it out")
	}
	return nil, fmt.Errorf("a value of type %s cannot stand here", n.Tag)
}

// bare replaces the leaves of a tree by their values.
func bare(v any) any {
	switch v := v.(type) {
	case leaf:
		return v.Value
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = bare(e)
		}
		return out
	}
	return v
}
