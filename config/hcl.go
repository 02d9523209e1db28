package config

import (
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// hclParser is a koanf parser over hcl/v2 that keeps positions: what it returns is a tree of leaves. Blocks, and objects
// written with "=", become subtrees; labels become levels. Mistakes go to the layer.
//
// Values are plain: literals, lists, objects, and arithmetic on them (64 * 1024). There is nothing to refer to, so that a
// file means the same on every machine and reading it takes no longer than its size allows.
type hclParser struct{ *layer }

// Unmarshal implements koanf.Parser.
func (p hclParser) Unmarshal(data []byte) (map[string]any, error) {
	if !p.nestingOK(data) {
		return map[string]any{}, nil
	}
	file, diags := hclsyntax.ParseConfig(data, p.name, hcl.InitialPos)
	p.syntax(diags)
	tree := map[string]any{}
	if file != nil {
		if body, ok := file.Body.(*hclsyntax.Body); ok && sound(diags) {
			p.body(body, tree, "")
		}
	}
	return tree, nil
}

// sound reports whether the parser understood the file, though it may have found a key twice.
func sound(diags hcl.Diagnostics) bool {
	for _, d := range diags {
		if d.Severity == hcl.DiagError && d.Summary != "Attribute redefined" {
			return false
		}
	}
	return true
}

// Marshal implements koanf.Parser. Print writes HCL with comments instead.
func (p hclParser) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("config: use Print to write HCL")
}

// nestingOK refuses what would drive hcl's recursive parser deep into the stack, before the parser sees it: each bracket,
// template and operator may cost it one level.
func (p hclParser) nestingOK(data []byte) bool {
	tokens, _ := hclsyntax.LexConfig(data, p.name, hcl.InitialPos) // the parser reports its mistakes
	depth, operators := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc,
			hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			if depth++; depth > maxNesting {
				p.report("", p.rng(t.Range), "", "brackets and templates are nested more than %d deep", maxNesting)
				return false
			}
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc,
			hclsyntax.TokenTemplateSeqEnd:
			depth = max(0, depth-1)
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash,
			hclsyntax.TokenPercent, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenQuestion, hclsyntax.TokenColon,
			hclsyntax.TokenDot:
			if operators++; operators > maxOperators {
				p.report("", p.rng(t.Range), "", "the file holds more than %d operators", maxOperators)
				return false
			}
		}
	}
	return true
}

// syntax turns hcl's diagnostics into ours.
func (p hclParser) syntax(diags hcl.Diagnostics) {
	for _, d := range diags {
		at := p.at(0, 0, 0)
		if d.Subject != nil {
			at = p.rng(*d.Subject)
		}
		summary := strings.ToLower(d.Summary[:1]) + d.Summary[1:]
		p.report("", at, d.Detail, "%s", summary)
	}
}

func (p hclParser) rng(r hcl.Range) Origin {
	end := r.End.Column
	if r.End.Line != r.Start.Line {
		end = 1 << 20 // to the end of the line; the snippet clips it
	}
	return p.at(r.Start.Line, r.Start.Column, end)
}

func (p hclParser) body(body *hclsyntax.Body, tree map[string]any, path string) {
	for name, attr := range body.Attributes {
		if _, ok := p.blocks[join(path, name)]; ok {
			continue // hcl has reported it
		}
		if v := p.value(attr.Expr, join(path, name), p.rng(attr.NameRange)); v != nil {
			tree[name] = v
		}
	}
	for _, b := range body.Blocks {
		p.block(b, tree, path)
	}
}

func (p hclParser) block(b *hclsyntax.Block, tree map[string]any, path string) {
	at := p.rng(b.TypeRange)
	sub, isNew := p.subtree(tree, path, b.Type, at)
	path = join(path, b.Type)
	for i, label := range b.Labels {
		at = p.rng(b.LabelRanges[i])
		if sub == nil {
			return
		}
		sub, isNew = p.subtree(sub, path, label, at)
		path = join(path, label)
		p.labels[path] = true
	}
	if sub == nil {
		return
	}
	if !isNew {
		p.report(path, at, "Write its keys into one block.", "%s is there twice; the first is in line %d", path, p.blocks[path].Line)
		return
	}
	p.body(b.Body, sub, path)
}

// subtree returns the subtree called name, made where it is missing; nil where something else has that name.
func (p hclParser) subtree(tree map[string]any, path, name string, at Origin) (sub map[string]any, isNew bool) {
	path = join(path, name)
	switch old := tree[name].(type) {
	case nil:
		sub = map[string]any{}
		tree[name] = sub
		p.blocks[path] = at
		return sub, true
	case map[string]any:
		return old, false
	default:
		p.report(path, at, "Keep one of them.", "%s is both a value and a block", path)
		return nil, false
	}
}

// value turns an expression into a leaf or, for an object, a subtree; nil after a mistake.
func (p hclParser) value(e hclsyntax.Expression, path string, name Origin) any {
	if obj, ok := e.(*hclsyntax.ObjectConsExpr); ok {
		return p.object(obj, path, name)
	}
	v, ok := p.plain(e, path)
	if !ok {
		return nil
	}
	return leaf{Value: v, Origin: p.rng(e.Range()), Name: name}
}

func (p hclParser) object(obj *hclsyntax.ObjectConsExpr, path string, name Origin) any {
	tree := map[string]any{}
	p.blocks[path] = name
	for _, item := range obj.Items {
		k, diags := item.KeyExpr.Value(nil)
		at := p.rng(item.KeyExpr.Range())
		if diags.HasErrors() || k.IsNull() || !k.IsKnown() || k.Type() != cty.String {
			p.report(path, at, "Write a name, in quotes where it is more than letters, digits and _.", "the key of a map must be a name")
			continue
		}
		key := k.AsString()
		if _, twice := tree[key]; twice {
			p.report(join(path, key), at, "Keep one of them.", "%q is there twice", key)
			continue
		}
		if v := p.value(item.ValueExpr, join(path, key), at); v != nil {
			tree[key] = v
		}
	}
	return tree
}

// plain evaluates an expression without names and functions to string, bool, int64, float64, []any or map[string]any.
func (p hclParser) plain(e hclsyntax.Expression, path string) (any, bool) {
	if bad, help := notPlain(e); bad != nil {
		p.report(path, p.rng(bad.Range()), help, "only plain values can stand here")
		return nil, false
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		p.syntax(diags)
		p.bad[path] = true
		return nil, false
	}
	out, err := fromCty(v)
	if err != nil {
		p.report(path, p.rng(e.Range()), "", "%s: %v", path, err)
		return nil, false
	}
	return out, true
}

// notPlain finds the first part of e that is more than a value.
func notPlain(e hclsyntax.Expression) (bad hclsyntax.Expression, help string) {
	var parts []hclsyntax.Expression
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
	case *hclsyntax.TemplateExpr:
		parts = e.Parts
	case *hclsyntax.TemplateWrapExpr:
		parts = append(parts, e.Wrapped)
	case *hclsyntax.TupleConsExpr:
		parts = e.Exprs
	case *hclsyntax.ParenthesesExpr:
		parts = append(parts, e.Expression)
	case *hclsyntax.UnaryOpExpr:
		parts = append(parts, e.Val)
	case *hclsyntax.BinaryOpExpr:
		parts = append(parts, e.LHS, e.RHS)
	case *hclsyntax.ObjectConsExpr:
		for _, item := range e.Items {
			parts = append(parts, item.KeyExpr, item.ValueExpr)
		}
	case *hclsyntax.ObjectConsKeyExpr:
		if hcl.ExprAsKeyword(e.Wrapped) == "" {
			parts = append(parts, e.Wrapped)
		}
	case *hclsyntax.ScopeTraversalExpr:
		if word := hcl.ExprAsKeyword(e); word != "" {
			return e, fmt.Sprintf("If you mean the text, write it in quotes: %q", word)
		}
		return e, "There are no variables; write the value itself."
	default:
		return e, "There are no variables, functions or conditions; write the value itself."
	}
	for _, part := range parts {
		if bad, help = notPlain(part); bad != nil {
			return bad, help
		}
	}
	return nil, ""
}

func fromCty(v cty.Value) (any, error) {
	if v.IsNull() {
		return nil, errors.New("null is no value; leave the key out to get its default")
	}
	if !v.IsWhollyKnown() {
		return nil, errors.New("the value is not known")
	}
	t := v.Type()
	switch {
	case t == cty.String:
		return v.AsString(), nil
	case t == cty.Bool:
		return v.True(), nil
	case t == cty.Number:
		return fromNumber(v.AsBigFloat()), nil
	case t.IsTupleType() || t.IsListType():
		out := []any{}
		for _, e := range v.AsValueSlice() {
			item, err := fromCty(e)
			if err != nil {
				return nil, err
			}
			out = append(out, item)
		}
		return out, nil
	case t.IsObjectType() || t.IsMapType():
		out := map[string]any{}
		for k, e := range v.AsValueMap() {
			item, err := fromCty(e)
			if err != nil {
				return nil, err
			}
			out[k] = item
		}
		return out, nil
	}
	return nil, fmt.Errorf("a value of type %s cannot stand here", t.FriendlyName())
}

func fromNumber(f *big.Float) any {
	if n, acc := f.Int64(); acc == big.Exact {
		return n
	}
	n, _ := f.Float64()
	return n
}
