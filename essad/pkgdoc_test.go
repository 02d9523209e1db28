package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestPackageComments wants every package to say what it is, in one place, in the form the go command shows.
func TestPackageComments(t *testing.T) {
	for _, p := range goList(t, nil, "./...") {
		var docs []string
		generated := 0
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Errorf("%s: %v", p.path(), err)
				continue
			}
			if ast.IsGenerated(file) {
				generated++
				continue
			}
			if file.Doc != nil {
				docs = append(docs, name)
				checkDoc(t, p, name, file.Doc.Text())
			}
		}
		switch {
		case generated == len(p.GoFiles): // its source has the words
		case len(docs) == 0:
			t.Errorf("%s has no package comment: say what it is, what it promises, and who may import it", p.path())
		case len(docs) > 1:
			t.Errorf("%s has package comments in %s; keep one", p.path(), strings.Join(docs, " and "))
		}
	}
}

func checkDoc(t *testing.T, p goPackage, file, doc string) {
	t.Helper()
	if p.Name != "main" && !strings.HasPrefix(doc, "Package "+p.Name+" ") {
		t.Errorf("%s: the package comment in %s does not begin with \"Package %s\"", p.path(), file, p.Name)
	}
	if strings.Contains(doc, "Licensed under") || strings.Contains(doc, "SPDX-License") {
		t.Errorf("%s: the package comment in %s is a licence header", p.path(), file)
	}
}
