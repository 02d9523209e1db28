package main

import (
	"context"
	"reflect"
	"sync"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// called is a function that an instance was called by.
type called struct {
	name string
	api.Function
	stack *int // bytes of its stack; nil where that cannot be found out
}

// grown tells whether its stack is too large to wait with an instance.
func (c called) grown() bool { return c.stack == nil || *c.stack > maxStack }

// What a waiting instance keeps of functions: so many, each with a stack that was not grown much.
const (
	maxCalled = 8
	maxStack  = 64 << 10
)

// function returns an export.
func (i *instance) function(name string) api.Function {
	for n := range i.called {
		if i.called[n].name == name {
			return i.called[n].Function
		}
	}
	f := i.mod.ExportedFunction(name)
	if f == nil {
		return nil
	}
	if len(i.called) >= maxCalled {
		i.called = i.called[:0]
	}
	i.called = append(i.called, called{name, f, stackOf(f)})
	return f
}

// stackOf returns where the length is of the stack that wazero keeps with a function. It grows with the deepest call, to
// 50 MB, and wazero does not tell; a waiting instance must not hold so much that nobody counts.
func stackOf(f api.Function) *int {
	v := reflect.ValueOf(f)
	at := stackField()
	if at.of == nil || v.Type() != at.of {
		return nil
	}
	return (*int)(unsafe.Add(v.UnsafePointer(), at.length))
}

// field is a field of the type that functions have.
type field struct {
	of     reflect.Type
	length uintptr // offset of the slice's length
}

// stackField finds the field by looking at a function: one of no instructions, exported as "f".
var stackField = sync.OnceValue(func() field {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer rt.Close(ctx)
	m, err := rt.Instantiate(ctx, []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00"+
		"\x07\x05\x01\x01f\x00\x00\x0a\x04\x01\x02\x00\x0b"))
	if err != nil {
		return field{}
	}
	t := reflect.TypeOf(m.ExportedFunction("f"))
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return field{}
	}
	s, ok := t.Elem().FieldByName("stack")
	if !ok || len(s.Index) != 1 || s.Type != reflect.TypeFor[[]byte]() {
		return field{}
	}
	return field{t, s.Offset + unsafe.Sizeof(uintptr(0))}
})
