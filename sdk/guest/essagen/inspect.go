package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// module is what essagen found in a package, ready to be emitted.
type module struct {
	src       *source
	functions []*function
	hasMain   bool // func Main, in package main
	mainFails bool // Main returns an error
	emitMain  bool // package main has no func main of its own
	codecs    *codecs
}

// function is one function to be made remote.
type function struct {
	name    string // of the Go function
	stub    string
	export  string // without the prefix
	params  []param
	results []param // without a final error
	fails   bool    // the last result is an error
	tuple   string  // the type of several results, which a future holds as one
}

type param struct {
	name string // empty where the source gives none
	typ  types.Type
}

const (
	directivePrefix = "//essa:"
	functionMark    = "//essa:function"
	exportPrefix    = "__essa_wrapper__"
	mainExport      = "essa_main"
)

// mistakes gathers what is wrong, so that all of it is reported at once.
type mistakes struct {
	fset *token.FileSet
	list []mistake
}

type mistake struct {
	pos  token.Position
	text string
}

func (m *mistakes) add(pos token.Pos, format string, args ...any) {
	m.list = append(m.list, mistake{m.position(pos), fmt.Sprintf(format, args...)})
}

// position names a file as the go command does: from where we are, unless that is further away.
func (m *mistakes) position(pos token.Pos) token.Position {
	p := m.fset.Position(pos)
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, p.Filename); err == nil && len(rel) < len(p.Filename) {
			p.Filename = rel
		}
	}
	return p
}

func (m *mistakes) Error() string {
	slices.SortStableFunc(m.list, func(a, b mistake) int {
		if c := strings.Compare(a.pos.Filename, b.pos.Filename); c != 0 {
			return c
		}
		return a.pos.Offset - b.pos.Offset
	})
	var b strings.Builder
	if len(m.list) > 1 {
		fmt.Fprintf(&b, "%d mistakes:", len(m.list))
	}
	for i, e := range m.list {
		if i > 0 || len(m.list) > 1 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s: %s", e.pos, e.text)
	}
	return b.String()
}

// inspect finds the functions of a package and checks that they can be called remotely.
func inspect(src *source) (*module, error) {
	a := &inspection{
		mistakes: mistakes{fset: src.fset},
		module:   &module{src: src, codecs: newCodecs(src)},
		exports:  map[string]token.Pos{},
		stubs:    map[string]token.Pos{},
	}
	for _, f := range src.files {
		a.file(f)
	}
	a.main()
	if len(a.list) > 0 {
		return nil, &a.mistakes
	}
	if len(a.module.functions) == 0 && !a.module.hasMain {
		return nil, fmt.Errorf("nothing to do in %s: no function is marked %s (see essagen -h)", src.dir, functionMark)
	}
	return a.module, nil
}

type inspection struct {
	mistakes
	module  *module
	exports map[string]token.Pos
	stubs   map[string]token.Pos
}

func (a *inspection) file(f *ast.File) {
	attached := map[*ast.Comment]bool{}
	for _, decl := range f.Decls {
		fd, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if c := a.directive(fd.Doc); c != nil {
			attached[c] = true
			a.function(fd, c)
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			a.comment(c, attached[c])
		}
	}
}

// comment catches directives that would have no effect, and exports made by hand.
func (a *inspection) comment(c *ast.Comment, attached bool) {
	switch {
	case attached:
	case isDirective(c.Text, functionMark):
		a.add(c.Pos(), "%s has no effect here: put it directly above a function", functionMark)
	case strings.HasPrefix(c.Text, directivePrefix):
		a.add(c.Pos(), "unknown directive %s: there is only %s", strings.Fields(c.Text)[0], functionMark)
	case isDirective(c.Text, "//go:wasmexport"):
		if fields := strings.Fields(c.Text); len(fields) == 2 {
			a.claimExport(c.Pos(), fields[1])
		}
	}
}

func isDirective(text, mark string) bool {
	return text == mark || strings.HasPrefix(text, mark+" ") || strings.HasPrefix(text, mark+"\t")
}

func (a *inspection) directive(doc *ast.CommentGroup) *ast.Comment {
	if doc == nil {
		return nil
	}
	for _, c := range doc.List {
		if isDirective(c.Text, functionMark) {
			return c
		}
	}
	return nil
}

func (a *inspection) function(fd *ast.FuncDecl, mark *ast.Comment) {
	f := &function{name: fd.Name.Name, stub: fd.Name.Name + "Remote", export: snakeCase(fd.Name.Name)}
	a.options(f, mark)
	switch {
	case fd.Recv != nil:
		a.add(fd.Name.Pos(), "%s is a method: only functions can be called remotely", f.name)
		return
	case fd.Type.TypeParams.NumFields() > 0:
		a.add(fd.Name.Pos(), "%s has type parameters: give each remote function its own types", f.name)
		return
	case f.name == "_" || f.name == "init" || f.name == "main":
		a.add(fd.Name.Pos(), "func %s cannot be called", f.name)
		return
	case isReserved(f.name):
		a.add(fd.Name.Pos(), "%s is a name that generated code uses", f.name)
		return
	}
	if !exportName.MatchString(f.export) {
		a.add(fd.Name.Pos(), "%s is no name for an export: choose one with export=", f.export)
	}
	a.claimStub(fd.Name.Pos(), f)
	a.claimExport(fd.Name.Pos(), exportPrefix+f.export)
	before := len(a.list)
	a.params(f, fd)
	a.results(f, fd)
	if len(a.list) == before {
		a.module.functions = append(a.module.functions, f)
	}
}

var exportName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// options reads what follows the directive.
func (a *inspection) options(f *function, mark *ast.Comment) {
	seen := map[string]bool{}
	for _, field := range strings.Fields(mark.Text)[1:] {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case !ok || key != "name" && key != "export":
			a.add(mark.Pos(), "%s takes name=STUB and export=NAME, not %q", functionMark, field)
		case seen[key]:
			a.add(mark.Pos(), "%s= is given twice", key)
		case key == "name" && !token.IsIdentifier(value):
			a.add(mark.Pos(), "name=%s is no Go identifier", value)
		case key == "export" && !exportName.MatchString(value):
			a.add(mark.Pos(), "export=%s: want letters, digits and _, as in a Rust function's name", value)
		case key == "name":
			f.stub = value
		default:
			f.export = value
		}
		seen[key] = true
	}
}

func (a *inspection) claimExport(pos token.Pos, name string) {
	if at, ok := a.exports[name]; ok {
		a.add(pos, "the export %s is already made at %s: choose another with export=", name, a.position(at))
		return
	}
	a.exports[name] = pos
}

func (a *inspection) claimStub(pos token.Pos, f *function) {
	scope := a.module.src.types.Scope()
	switch at, ok := a.stubs[f.stub]; {
	case ok:
		a.add(pos, "the stub %s is already made at %s: choose another with name=", f.stub, a.position(at))
	case scope.Lookup(f.stub) != nil:
		a.add(pos, "the stub %s would collide with what is declared at %s: choose another with name=", f.stub,
			a.position(scope.Lookup(f.stub).Pos()))
	default:
		a.stubs[f.stub] = pos
	}
}

func (a *inspection) signature(fd *ast.FuncDecl) *types.Signature {
	if obj, ok := a.module.src.info.Defs[fd.Name].(*types.Func); ok {
		return obj.Signature()
	}
	return nil
}

func (a *inspection) params(f *function, fd *ast.FuncDecl) {
	sig := a.signature(fd)
	if sig == nil {
		a.add(fd.Name.Pos(), "%s has no signature", f.name) // the type checker gave up before it
		return
	}
	if sig.Variadic() {
		last := fd.Type.Params.List[len(fd.Type.Params.List)-1]
		a.add(last.Type.Pos(), "%s is variadic: take a slice", f.name)
		return
	}
	fields := fieldTypes(fd.Type.Params)
	for i := range sig.Params().Len() {
		p := sig.Params().At(i)
		a.accept(fields[i], p.Type(), "parameter", true)
		f.params = append(f.params, param{p.Name(), p.Type()})
	}
}

func (a *inspection) results(f *function, fd *ast.FuncDecl) {
	sig := a.signature(fd)
	if sig == nil || sig.Variadic() {
		return
	}
	fields := fieldTypes(fd.Type.Results)
	n := sig.Results().Len()
	if n > 0 && isError(sig.Results().At(n-1).Type()) {
		f.fails = true
		n--
	}
	for i := range n {
		r := sig.Results().At(i)
		a.accept(fields[i], r.Type(), "result", false)
		f.results = append(f.results, param{r.Name(), r.Type()})
	}
	if n > 1 {
		f.tuple = f.stub + "Result"
		if obj := a.module.src.types.Scope().Lookup(f.tuple); obj != nil || a.stubs[f.tuple] != token.NoPos {
			a.add(fd.Name.Pos(), "the type %s for the results of %s would collide: choose another stub with name=", f.tuple, f.name)
		}
		a.stubs[f.tuple] = fd.Name.Pos()
	}
}

// fieldTypes gives each parameter of a list the expression of its type.
func fieldTypes(list *ast.FieldList) []ast.Expr {
	if list == nil {
		return nil
	}
	var out []ast.Expr
	for _, f := range list.List {
		for range max(1, len(f.Names)) {
			out = append(out, f.Type)
		}
	}
	return out
}

// accept reports a type that has no encoding.
func (a *inspection) accept(at ast.Expr, t types.Type, what string, argument bool) {
	err := a.module.codecs.check(t)
	if err == nil {
		return
	}
	// A type that did not resolve has its reason among the type checker's errors.
	if hasInvalid(t, map[types.Type]bool{}) {
		for _, e := range a.module.src.errors {
			if at.Pos() <= e.Pos && e.Pos <= at.End() {
				a.add(e.Pos, "%s", e.Msg)
				return
			}
		}
		if len(a.module.src.errors) > 0 {
			e := a.module.src.errors[0]
			a.add(e.Pos, "%s", e.Msg)
			return
		}
	}
	text := types.TypeString(t, types.RelativeTo(a.module.src.types))
	if isError(t) && !argument {
		a.add(at.Pos(), "an error must be the last result")
		return
	}
	a.add(at.Pos(), "a %s cannot be of type %s: %v", what, text, err)
}

func isError(t types.Type) bool {
	return types.Identical(t, types.Universe.Lookup("error").Type())
}

// hasInvalid looks for a type that did not resolve, in what t is made of.
func hasInvalid(t types.Type, seen map[types.Type]bool) bool {
	t = types.Unalias(t)
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t := t.(type) {
	case *types.Basic:
		return t.Kind() == types.Invalid
	case *types.Named:
		return hasInvalid(t.Underlying(), seen)
	case *types.Struct:
		for i := range t.NumFields() {
			if hasInvalid(t.Field(i).Type(), seen) {
				return true
			}
		}
	case *types.Map:
		return hasInvalid(t.Key(), seen) || hasInvalid(t.Elem(), seen)
	case interface{ Elem() types.Type }:
		return hasInvalid(t.Elem(), seen)
	}
	return false
}

// main finds what essad run is to run.
func (a *inspection) main() {
	if a.module.src.types.Name() != "main" {
		return
	}
	scope := a.module.src.types.Scope()
	if fn, ok := scope.Lookup("Main").(*types.Func); ok {
		sig := fn.Signature()
		fails := sig.Results().Len() == 1 && isError(sig.Results().At(0).Type())
		if sig.Params().Len() > 0 || sig.TypeParams().Len() > 0 || sig.Results().Len() > 0 && !fails {
			a.add(fn.Pos(), "func Main is what essad run runs: it must be Main() or Main() error")
			return
		}
		a.module.hasMain, a.module.mainFails = true, fails
		a.claimExport(fn.Pos(), mainExport)
	}
	a.module.emitMain = scope.Lookup("main") == nil
}

// snakeCase names a function as Rust would: ToUppercase is to_uppercase, HTTPGet is http_get.
func snakeCase(name string) string {
	var b strings.Builder
	in := []rune(name)
	for i, r := range in {
		if unicode.IsUpper(r) && i > 0 && in[i-1] != '_' {
			after := i+1 < len(in) && unicode.IsLower(in[i+1])
			if !unicode.IsUpper(in[i-1]) || after {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
