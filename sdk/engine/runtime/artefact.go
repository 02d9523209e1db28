package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/snapshot"
)

// artefact is an admitted module, as it is on disk.
type artefact struct {
	Facts  admit.Facts
	Wasm   []byte
	Native []native
	Base   bool   // its data are an image
	Inside string // or else why they are still in it

	layout *snapshot.Source // that image, where it is not on disk yet
	seals  *seals           // of its files; nil where there are none
}

// native is a file of native code.
type native struct {
	Name string // its path below nativeDir
	Sum  uint32 // of its contents
}

func (a *artefact) admitted() *admit.Admitted { return &admit.Admitted{Wasm: a.Wasm, Facts: a.Facts} }

// The form of a file: artefactMagic, the CRC-32C of what follows, and what coder writes. Nobody reads it but the program that
// wrote it, whose hash is in the file's name.
var artefactMagic = []byte("essadm3\n")

const artefactHead = 8 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("it is not what was written")

func (a *artefact) encode() []byte {
	c := &coder{writes: true, b: append(bytes.Clone(artefactMagic), 0, 0, 0, 0)}
	c.artefact(a)
	binary.LittleEndian.PutUint32(c.b[len(artefactMagic):], crc32.Checksum(c.b[artefactHead:], castagnoli))
	return c.b
}

// decodeArtefact reads what encode wrote. The module's bytes are a part of b.
func decodeArtefact(b []byte) (*artefact, error) {
	if len(b) < artefactHead || !bytes.HasPrefix(b, artefactMagic) {
		return nil, errDamaged
	}
	c := &coder{b: b[artefactHead:]}
	if crc32.Checksum(c.b, castagnoli) != binary.LittleEndian.Uint32(b[len(artefactMagic):]) {
		return nil, errDamaged
	}
	a := &artefact{}
	if c.artefact(a); c.bad || len(c.b) > 0 {
		return nil, errDamaged
	}
	return a, nil
}

// sumOf returns the checksum of a file.
func sumOf(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	_, err = io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	return sum.Sum32(), err
}

// coder writes values behind each other, or reads them again: one description of a form serves both ways. What was found
// missing is bad, and zero.
type coder struct {
	writes bool
	b      []byte
	bad    bool
}

func (c *coder) artefact(a *artefact) {
	c.natives(&a.Native)
	c.facts(&a.Facts)
	c.bool(&a.Base)
	c.text(&a.Inside)
	c.bytes(&a.Wasm)
}

// natives come first, for sweep reads no more of a file.
func (c *coder) natives(list *[]native) {
	each(c, list, func(n *native) {
		c.text(&n.Name)
		number(c, &n.Sum)
	})
}

func (c *coder) facts(f *admit.Facts) {
	for _, b := range []*bool{
		&f.Start, &f.HasStart, &f.HasInitialize, &f.MemoryExported, &f.WritesTables, &f.UsesSegments, &f.DropsSegments,
		&f.GrowsMemory, &f.ImportsState, &f.PassiveData, &f.Memory.HasMax, &f.Memory.Imported, &f.Memory.Injected,
	} {
		c.bool(b)
	}
	number(c, &f.Memory.Min)
	number(c, &f.Memory.Max)
	number(c, &f.Types)
	number(c, &f.FunctionCount)
	number(c, &f.DataSegments)
	number(c, &f.DataBytes)
	each(c, &f.Imports, func(i *admit.Import) {
		c.text(&i.Module)
		c.text(&i.Name)
		number(c, &i.Kind)
		c.funcType(&i.Func)
		number(c, &i.Type)
		c.bool(&i.Mutable)
	})
	c.functions(f)
	each(c, &f.Callable, c.text)
	each(c, &f.Tables, func(t *admit.Table) {
		number(c, &t.Type)
		number(c, &t.Min)
		number(c, &t.Max)
		c.bool(&t.Imported)
	})
	each(c, &f.MutableGlobal, func(g *admit.GlobalExport) {
		number(c, &g.Index)
		c.text(&g.Name)
		number(c, &g.Type)
	})
}

func (c *coder) functions(f *admit.Facts) {
	type function struct {
		name string
		t    admit.FuncType
	}
	var list []function
	for _, name := range slices.Sorted(maps.Keys(f.Functions)) {
		list = append(list, function{name, f.Functions[name]})
	}
	each(c, &list, func(f *function) {
		c.text(&f.name)
		c.funcType(&f.t)
	})
	if !c.writes {
		f.Functions = make(map[string]admit.FuncType, len(list))
		for _, one := range list {
			f.Functions[one.name] = one.t
		}
	}
}

func (c *coder) funcType(t *admit.FuncType) {
	each(c, &t.Params, func(v *admit.ValueType) { number(c, v) })
	each(c, &t.Results, func(v *admit.ValueType) { number(c, v) })
}

// number codes an integer that is not negative.
func number[N ~int | ~int64 | ~uint64 | ~uint32 | ~byte](c *coder, n *N) {
	if c.writes {
		c.b = binary.AppendUvarint(c.b, uint64(*n))
		return
	}
	v, size := binary.Uvarint(c.b)
	if size <= 0 {
		c.bad, c.b = true, nil
		return
	}
	*n, c.b = N(v), c.b[size:]
}

func (c *coder) bool(b *bool) {
	n := byte(0)
	if *b {
		n = 1
	}
	number(c, &n)
	*b = n != 0
}

// bytes codes bytes; those read are a part of what is read from.
func (c *coder) bytes(p *[]byte) {
	n := len(*p)
	number(c, &n)
	switch {
	case c.writes:
		c.b = append(c.b, *p...)
	case n < 0 || n > len(c.b):
		c.bad, c.b = true, nil
	case n > 0:
		*p, c.b = c.b[:n:n], c.b[n:]
	}
}

func (c *coder) text(s *string) {
	p := []byte(*s)
	c.bytes(&p)
	if !c.writes {
		*s = string(p)
	}
}

// each codes a list.
func each[T any](c *coder, list *[]T, code func(*T)) {
	n := len(*list)
	number(c, &n)
	if !c.writes {
		if n < 0 || n > len(c.b) { // every element takes a byte at least
			c.bad, c.b = true, nil
			return
		}
		if n > 0 {
			*list = make([]T, n)
		}
	}
	for i := range *list {
		code(&(*list)[i])
	}
}
