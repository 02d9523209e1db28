package main

import (
	"fmt"
	"go/types"
	"regexp"
	"slices"
	"strings"
)

// imports names the packages that the generated code uses, so that no name hides one of the package's own.
type imports struct {
	src  *source
	name map[string]string // by path
	std  map[string]string // what the package calls itself
}

func newImports(src *source) *imports {
	return &imports{src: src, name: map[string]string{}, std: map[string]string{}}
}

// use returns the name by which generated code knows a package.
func (m *imports) use(path, base string) string {
	if n, ok := m.name[path]; ok {
		return n
	}
	taken := func(n string) bool {
		if m.src.types.Scope().Lookup(n) != nil || isReserved(n) {
			return true
		}
		for _, other := range m.name {
			if other == n {
				return true
			}
		}
		return false
	}
	n := base
	for i := 2; taken(n); i++ {
		n = fmt.Sprintf("%s%d", base, i)
	}
	m.name[path], m.std[path] = n, base
	return n
}

// isReserved reports whether generated functions have a local of that name.
func isReserved(name string) bool { return reserved[name] || numbered.MatchString(name) }

var numbered = regexp.MustCompile(`^[ar][0-9]+$`)

var reserved = map[string]bool{"b": true, "d": true, "v": true, "k": true, "n": true, "i": true, "in": true, "err": true}

func (m *imports) bincode() string { return m.use(bincodePath, "bincode") }
func (m *imports) guest() string   { return m.use(guestPath, "guest") }

// qualify spells the package of a type.
func (m *imports) qualify(p *types.Package) string {
	if p == m.src.types {
		return ""
	}
	return m.use(p.Path(), p.Name())
}

// block spells the import declaration: the standard library first.
func (m *imports) block() string {
	var std, other []string
	for path, name := range m.name {
		line := fmt.Sprintf("%q", path)
		if name != m.std[path] || !strings.HasSuffix("/"+path, "/"+name) {
			line = name + " " + line
		}
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
			other = append(other, line)
		} else {
			std = append(std, line)
		}
	}
	byPath := func(a, b string) int {
		return strings.Compare(a[strings.Index(a, `"`):], b[strings.Index(b, `"`):])
	}
	slices.SortFunc(std, byPath)
	slices.SortFunc(other, byPath)
	if len(std) > 0 && len(other) > 0 {
		std = append(std, "")
	}
	return "import (\n" + strings.Join(append(std, other...), "\n") + "\n)\n"
}
