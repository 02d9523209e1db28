package main

import (
	"errors"
	"fmt"
	"go/types"
	"reflect"
	"slices"
	"strings"
)

const (
	bincodePath = "github.com/essa-project/essad/sdk/bincode"
	guestPath   = "github.com/essa-project/essad/sdk/guest"
	latticePath = "github.com/essa-project/essad/sdk/lattice"
)

// codecs knows how each type is encoded, and collects the helper functions that the encoding of composite types needs.
type codecs struct {
	src     *source
	imports *imports
	helpers []*helper
	byType  map[string]*helper
	names   map[string]bool
}

// helper is a pair of generated functions: one that appends a value of a type, one that takes it.
type helper struct {
	suffix    string
	goType    string
	put, take string // bodies
}

func newCodecs(src *source) *codecs {
	return &codecs{src: src, imports: newImports(src), byType: map[string]*helper{}, names: map[string]bool{}}
}

// basics are the types with functions of their own in sdk/bincode, by kind: the functions' name and the type they take.
var basics = map[types.BasicKind]struct {
	name, as string
	size     int
}{
	types.Bool:    {"Bool", "bool", 1},
	types.Int8:    {"Int8", "int8", 1},
	types.Int16:   {"Int16", "int16", 2},
	types.Int32:   {"Int32", "int32", 4},
	types.Int64:   {"Int64", "int64", 8},
	types.Int:     {"Int64", "int64", 8},
	types.Uint8:   {"Uint8", "uint8", 1},
	types.Uint16:  {"Uint16", "uint16", 2},
	types.Uint32:  {"Uint32", "uint32", 4},
	types.Uint64:  {"Uint64", "uint64", 8},
	types.Uint:    {"Uint64", "uint64", 8},
	types.Float32: {"Float32", "float32", 4},
	types.Float64: {"Float64", "float64", 8},
	types.String:  {"String", "string", 8},
}

// latticeTypes are opaque to us and encoded by functions of sdk/guest; the sizes are the least they take.
var latticeTypes = map[string]int{"Timestamp": 8, "Set": 8, "OrderedSet": 8, "VectorClock": 8}

// check says why a type cannot be encoded.
func (c *codecs) check(t types.Type) error { return c.checkIn(t, nil) }

func (c *codecs) checkIn(t types.Type, within []types.Type) error {
	t = types.Unalias(t)
	if c.custom(t) || latticeType(t) != "" {
		return c.reachable(t)
	}
	if named, ok := t.(*types.Named); ok {
		if slices.ContainsFunc(within, func(w types.Type) bool { return types.Identical(w, t) }) {
			return errors.New("it contains itself")
		}
		if err := c.reachable(t); err != nil {
			return err
		}
		within = append(slices.Clone(within), named)
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		if _, ok := basics[u.Kind()]; ok {
			return nil
		}
		return fmt.Errorf("%s has no encoding", u)
	case *types.Slice:
		return c.checkElement(u.Elem(), within)
	case *types.Array:
		return c.checkIn(u.Elem(), within)
	case *types.Pointer:
		return c.checkIn(u.Elem(), within)
	case *types.Map:
		if b, ok := types.Unalias(u.Key()).Underlying().(*types.Basic); !ok || b.Info()&(types.IsInteger|types.IsString) == 0 || basics[b.Kind()].name == "" {
			return fmt.Errorf("the keys of a map must be strings or integers, not %s", c.spell(u.Key()))
		}
		if err := c.reachable(types.Unalias(u.Key())); err != nil {
			return err
		}
		return c.checkIn(u.Elem(), within)
	case *types.Struct:
		return c.checkStruct(t, u, within)
	case *types.Interface:
		if isError(t) {
			return errors.New("an error can only be the last result")
		}
		return errors.New("an interface has no encoding: name the type, or encode it into a []byte")
	case *types.Signature:
		return errors.New("a function cannot leave its instance")
	case *types.Chan:
		return errors.New("a channel cannot leave its instance")
	}
	return fmt.Errorf("%s has no encoding", c.spell(t.Underlying()))
}

// checkElement refuses slices whose elements take no bytes: nothing in the input would bound their number.
func (c *codecs) checkElement(t types.Type, within []types.Type) error {
	if err := c.checkIn(t, within); err != nil {
		return err
	}
	if c.size(t) == 0 {
		return errors.New("its elements take no bytes: send their number instead")
	}
	return nil
}

func (c *codecs) checkStruct(t types.Type, u *types.Struct, within []types.Type) error {
	for i := range u.NumFields() {
		f := u.Field(i)
		if skipped(u.Tag(i)) {
			continue
		}
		if f.Name() == "_" {
			return errors.New("it has a blank field: tag it `essa:\"-\"`")
		}
		if !f.Exported() && f.Pkg() != c.src.types {
			return fmt.Errorf("field %s of %s cannot be reached from here: %s", f.Name(), c.spell(t), instead(t))
		}
		if err := c.checkIn(f.Type(), within); err != nil {
			return fmt.Errorf("field %s: %w", f.Name(), err)
		}
	}
	return nil
}

// instead says what to do about a type of another package that hides its fields.
func instead(t types.Type) string {
	if types.TypeString(t, nil) == "time.Time" {
		return "take a lattice.Timestamp"
	}
	return "wrap it in a type of your own with methods AppendBincode and DecodeBincode"
}

// reachable says why generated code in the package cannot name a type.
func (c *codecs) reachable(t types.Type) error {
	named, ok := t.(*types.Named)
	if !ok {
		return nil
	}
	obj := named.Obj()
	if obj.Parent() != nil && obj.Pkg() != nil && obj.Parent() != obj.Pkg().Scope() {
		return errors.New("it is declared inside a function")
	}
	if obj.Pkg() == c.src.types && isReserved(obj.Name()) {
		return fmt.Errorf("%s is a name that generated code uses", obj.Name())
	}
	if obj.Pkg() != nil && obj.Pkg() != c.src.types && !obj.Exported() {
		return fmt.Errorf("%s is not exported", c.spell(t))
	}
	for i := range named.TypeArgs().Len() {
		if err := c.reachable(types.Unalias(named.TypeArgs().At(i))); err != nil {
			return err
		}
	}
	return nil
}

// skipped reports whether a field is not sent.
func skipped(tag string) bool { return reflect.StructTag(tag).Get("essa") == "-" }

// custom reports whether a type encodes itself.
func (c *codecs) custom(t types.Type) bool {
	named, ok := t.(*types.Named)
	if !ok {
		return false
	}
	put := method(named, "AppendBincode")
	take := method(types.NewPointer(named), "DecodeBincode")
	return put != nil && signatureIs(put, "[]byte", "[]byte") &&
		take != nil && signatureIs(take, "*"+bincodePath+".Decoder", "")
}

// method finds a method by name in a type's method set.
func method(t types.Type, name string) *types.Signature {
	for sel := range types.NewMethodSet(t).Methods() {
		if fn, ok := sel.Obj().(*types.Func); ok && fn.Name() == name && fn.Exported() {
			return fn.Signature()
		}
	}
	return nil
}

func signatureIs(sig *types.Signature, param, result string) bool {
	if sig.Params().Len() != 1 || types.TypeString(sig.Params().At(0).Type(), nil) != param {
		return false
	}
	if result == "" {
		return sig.Results().Len() == 0
	}
	return sig.Results().Len() == 1 && types.TypeString(sig.Results().At(0).Type(), nil) == result
}

// latticeType names a type of sdk/lattice that sdk/guest encodes.
func latticeType(t types.Type) string {
	named, ok := t.(*types.Named)
	if !ok || named.Obj().Pkg() == nil || named.Obj().Pkg().Path() != latticePath {
		return ""
	}
	if _, ok := latticeTypes[named.Obj().Name()]; !ok {
		return ""
	}
	return named.Obj().Name()
}

// size is the least number of bytes a value takes; a decoder refuses counts that the rest of the input cannot hold.
func (c *codecs) size(t types.Type) int {
	t = types.Unalias(t)
	if c.custom(t) {
		return 1
	}
	if name := latticeType(t); name != "" {
		return latticeTypes[name]
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return basics[u.Kind()].size
	case *types.Slice, *types.Map:
		return 8
	case *types.Pointer:
		return 1
	case *types.Array:
		return int(min(u.Len(), 1<<20)) * c.size(u.Elem())
	case *types.Struct:
		n := 0
		for i := range u.NumFields() {
			if !skipped(u.Tag(i)) {
				n += c.size(u.Field(i).Type())
			}
		}
		return n
	}
	return 0
}

func (c *codecs) spell(t types.Type) string { return types.TypeString(t, c.imports.qualify) }

// put returns an expression: the buffer b with v appended.
func (c *codecs) put(t types.Type, v string) string {
	t = types.Unalias(t)
	if c.custom(t) {
		return strings.TrimPrefix(v, "*") + ".AppendBincode(b)"
	}
	if name := latticeType(t); name != "" {
		return fmt.Sprintf("%s.Append%s(b, %s)", c.imports.guest(), name, v)
	}
	bincode := c.imports.bincode()
	switch u := t.Underlying().(type) {
	case *types.Basic:
		k := basics[u.Kind()]
		return fmt.Sprintf("%s.Append%s(b, %s)", bincode, k.name, convert(k.as, c.spell(t), v))
	case *types.Slice:
		if isByte(u.Elem()) {
			return fmt.Sprintf("%s.AppendBytes(b, %s)", bincode, v)
		}
	case *types.Struct:
		if c.size(t) == 0 && u.NumFields() == 0 {
			return "b"
		}
	}
	return fmt.Sprintf("essaPut%s(b, %s)", c.helper(t).suffix, v)
}

// take returns an expression: the next value taken off the decoder d.
func (c *codecs) take(t types.Type) string {
	t = types.Unalias(t)
	if name := latticeType(t); name != "" {
		return fmt.Sprintf("%s.Take%s(d)", c.imports.guest(), name)
	}
	if !c.custom(t) {
		switch u := t.Underlying().(type) {
		case *types.Basic:
			k := basics[u.Kind()]
			return convert(c.spell(t), k.as, "d."+k.name+"()")
		case *types.Slice:
			if isByte(u.Elem()) {
				return convert(c.spell(t), "[]byte", "d.Bytes()")
			}
		case *types.Struct:
			if u.NumFields() == 0 {
				return c.spell(t) + "{}"
			}
		}
	}
	return fmt.Sprintf("essaTake%s(d)", c.helper(t).suffix)
}

// convert spells a conversion where there is one. []byte and []uint8 are one type.
func convert(to, from, v string) string {
	norm := func(s string) string { return strings.NewReplacer("byte", "uint8", "rune", "int32").Replace(s) }
	if norm(to) == norm(from) {
		return v
	}
	return to + "(" + v + ")"
}

// isByte reports whether a slice of t is a []byte to the language, or converts to one.
func isByte(t types.Type) bool {
	b, ok := types.Unalias(t).(*types.Basic)
	return ok && b.Kind() == types.Uint8
}

// helper returns the functions for a composite type, making them the first time.
func (c *codecs) helper(t types.Type) *helper {
	key := types.TypeString(t, nil)
	if h, ok := c.byType[key]; ok {
		return h
	}
	h := &helper{suffix: c.name(t), goType: c.spell(t)}
	c.byType[key] = h
	c.helpers = append(c.helpers, h)
	if c.custom(t) {
		h.take = fmt.Sprintf("var v %s\nv.DecodeBincode(d)\nreturn v\n", h.goType)
		return h
	}
	switch u := t.Underlying().(type) {
	case *types.Slice:
		c.slice(h, u)
	case *types.Array:
		if p := c.put(u.Elem(), "v[i]"); p != "b" {
			h.put = fmt.Sprintf("for i := range v {\nb = %s\n}\n", p)
		}
		h.put += "return b\n"
		h.take = fmt.Sprintf("var v %s\n", h.goType)
		if c.size(u.Elem()) > 0 {
			h.take += fmt.Sprintf("for i := range v {\nv[i] = %s\n}\n", c.take(u.Elem()))
		}
		h.take += "return v\n"
	case *types.Pointer:
		c.pointer(h, u)
	case *types.Map:
		c.mapping(h, u)
	case *types.Struct:
		c.structure(h, u)
	}
	return h
}

func (c *codecs) slice(h *helper, u *types.Slice) {
	bincode := c.imports.bincode()
	h.put = fmt.Sprintf("b = %s.AppendUint64(b, uint64(len(v)))\nfor i := range v {\nb = %s\n}\nreturn b\n",
		bincode, c.put(u.Elem(), "v[i]"))
	h.take = fmt.Sprintf("n := d.Count(%d)\nv := make(%s, 0, %s)\nfor range n {\nv = append(v, %s)\n}\nreturn v\n",
		c.size(u.Elem()), h.goType, capacity(u.Elem()), c.take(u.Elem()))
}

func (c *codecs) pointer(h *helper, u *types.Pointer) {
	h.put = fmt.Sprintf("b = %s.AppendOption(b, v != nil)\n", c.imports.bincode())
	if p := c.put(u.Elem(), "*v"); p != "b" {
		h.put += fmt.Sprintf("if v != nil {\nb = %s\n}\n", p)
	}
	h.put += "return b\n"
	h.take = fmt.Sprintf("if !d.Option() {\nreturn nil\n}\nv := %s\nreturn &v\n", c.take(u.Elem()))
}

// mapping writes entries in ascending order of their keys, so that equal maps have equal bytes.
func (c *codecs) mapping(h *helper, u *types.Map) {
	h.put = fmt.Sprintf("b = %s.AppendUint64(b, uint64(len(v)))\nfor _, k := range %s.Sorted(%s.Keys(v)) {\nb = %s\n",
		c.imports.bincode(), c.imports.use("slices", "slices"), c.imports.use("maps", "maps"), c.put(u.Key(), "k"))
	if p := c.put(u.Elem(), "v[k]"); p != "b" {
		h.put += "b = " + p + "\n"
	}
	h.put += "}\nreturn b\n"
	h.take = fmt.Sprintf("n := d.Count(%d)\nv := make(%s, %s)\nfor range n {\nk := %s\nv[k] = %s\n}\nreturn v\n",
		c.size(u.Key())+c.size(u.Elem()), h.goType, capacity(u.Elem()), c.take(u.Key()), c.take(u.Elem()))
}

// capacity is how many of n elements a decoder makes room for before it has seen them. Elements other than numbers can
// take far more memory than bytes, so that what an input claims is not believed beyond a bound.
func capacity(t types.Type) string {
	if b, ok := types.Unalias(t).Underlying().(*types.Basic); ok && b.Kind() != types.String {
		return "n"
	}
	return "min(n, 1024)"
}

// room is an expression: how many bytes v takes, as far as that is easily known.
func (c *codecs) room(t types.Type, v string) (fixed int, more string) {
	t = types.Unalias(t)
	if c.custom(t) || latticeType(t) != "" {
		return c.size(t), ""
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		if u.Kind() == types.String {
			return 8, "len(" + v + ")"
		}
	case *types.Slice:
		if isByte(u.Elem()) {
			return 8, "len(" + v + ")"
		}
	}
	return c.size(t), ""
}

func (c *codecs) structure(h *helper, u *types.Struct) {
	h.take = fmt.Sprintf("var v %s\n", h.goType)
	for i := range u.NumFields() {
		if skipped(u.Tag(i)) {
			continue
		}
		f := u.Field(i)
		if p := c.put(f.Type(), "v."+f.Name()); p != "b" {
			h.put += fmt.Sprintf("b = %s\n", p)
			h.take += fmt.Sprintf("v.%s = %s\n", f.Name(), c.take(f.Type()))
		}
	}
	h.put += "return b\n"
	h.take += "return v\n"
}

// name makes a readable identifier of a type, unique in the package.
func (c *codecs) name(t types.Type) string {
	var b strings.Builder
	up := true
	for _, r := range strings.NewReplacer("[]", "SliceOf ", "*", "OptionOf ", "map[", "MapOf ", "struct{}", "Unit").
		Replace(types.TypeString(t, func(p *types.Package) string {
			if p == c.src.types {
				return ""
			}
			return p.Name()
		})) {
		switch {
		case r >= '0' && r <= '9' || r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r > 127:
			if up {
				b.WriteString(strings.ToUpper(string(r)))
			} else {
				b.WriteRune(r)
			}
			up = false
		default:
			up = true
		}
	}
	base := b.String()
	if len(base) > 48 {
		base = base[:48]
	}
	name := base
	scope := c.src.types.Scope()
	for i := 2; c.names[name] || scope.Lookup("essaPut"+name) != nil || scope.Lookup("essaTake"+name) != nil; i++ {
		name = fmt.Sprintf("%s%d", base, i)
	}
	c.names[name] = true
	return name
}
