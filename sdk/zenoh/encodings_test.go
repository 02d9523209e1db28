package zenoh

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// The names that stand beside the encodings are theirs.
func TestEncodings(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "encodings.go", nil, parser.ParseComments)
	must(t, err)
	n := 0
	ast.Inspect(f, func(x ast.Node) bool {
		v, ok := x.(*ast.ValueSpec)
		if !ok {
			return true
		}
		lit := v.Values[0].(*ast.CompositeLit).Elts[0].(*ast.KeyValueExpr).Value.(*ast.BasicLit)
		id, err := strconv.Atoi(lit.Value)
		must(t, err)
		name := strings.TrimSpace(v.Comment.Text())
		if e, err := ParseEncoding(name); err != nil || int(e.ID) != id || e.Schema != "" || e.String() != name {
			t.Errorf("%s: %q is %v, %v", v.Names[0].Name, name, e, err)
		}
		n++
		return true
	})
	if n != 53 {
		t.Errorf("%d encodings", n)
	}
}
