package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is a package as essagen sees it: parsed, and type-checked without function bodies, because those call stubs
// that are not written yet.
type source struct {
	dir    string
	fset   *token.FileSet
	files  []*ast.File
	types  *types.Package
	info   *types.Info
	errors []types.Error // outside function bodies; they matter only where a signature depends on them
}

// listed is the part of go list's answer that load needs.
type listed struct {
	Dir, ImportPath, Name, Export string
	GoFiles, Imports              []string
	Error                         *struct{ Err string }
}

// load reads the package in dir as it is built for wasip1, without the generated files.
func load(dir string, generated ...string) (*source, error) {
	root, err := list(dir, "-e", "-json=Dir,ImportPath,Name,GoFiles,Imports,Error", ".")
	if err != nil {
		return nil, err
	}
	if len(root) != 1 || root[0].Name == "" || len(root[0].GoFiles) == 0 {
		if len(root) == 1 && root[0].Error != nil {
			return nil, errors.New(strings.TrimSpace(root[0].Error.Err))
		}
		return nil, fmt.Errorf("no Go package in %s", dir)
	}
	s := &source{dir: root[0].Dir, fset: token.NewFileSet()}
	if err := s.parse(root[0].GoFiles, generated); err != nil {
		return nil, err
	}
	exports, err := s.exports(dir)
	if err != nil {
		return nil, err
	}
	s.check(root[0].ImportPath, exports)
	return s, nil
}

func (s *source) parse(names, generated []string) error {
	for _, name := range names {
		skip := false
		for _, g := range generated {
			skip = skip || name == g
		}
		if skip {
			continue
		}
		path := filepath.Join(s.dir, name)
		f, err := parser.ParseFile(s.fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		s.files = append(s.files, f)
	}
	if len(s.files) == 0 {
		return fmt.Errorf("no Go package in %s but generated files", s.dir)
	}
	return nil
}

// exports finds the compiled types of everything the package imports, in files that the go command makes and caches.
func (s *source) exports(dir string) (map[string]string, error) {
	seen := map[string]bool{"unsafe": true}
	args := []string{"-export", "-deps", "-json=ImportPath,Export"}
	fixed := len(args)
	for _, f := range s.files {
		for _, spec := range f.Imports {
			path := strings.Trim(spec.Path.Value, "`\"")
			if !seen[path] {
				seen[path] = true
				args = append(args, path)
			}
		}
	}
	found := map[string]string{}
	if len(args) == fixed {
		return found, nil
	}
	pkgs, err := list(dir, args...)
	if err != nil {
		return nil, err
	}
	for _, p := range pkgs {
		found[p.ImportPath] = p.Export
	}
	return found, nil
}

func (s *source) check(path string, exports map[string]string) {
	open := func(path string) (io.ReadCloser, error) {
		file, ok := exports[path]
		if !ok || file == "" {
			return nil, fmt.Errorf("package %s was not compiled", path)
		}
		return os.Open(file)
	}
	conf := types.Config{
		Importer:                 importer.ForCompiler(s.fset, "gc", open),
		IgnoreFuncBodies:         true,
		DisableUnusedImportCheck: true,
		Sizes:                    types.SizesFor("gc", "wasm"),
		Error: func(err error) {
			var te types.Error
			if errors.As(err, &te) {
				s.errors = append(s.errors, te)
			}
		},
	}
	s.info = &types.Info{Defs: map[*ast.Ident]types.Object{}}
	s.types, _ = conf.Check(path, s.fset, s.files, s.info) // the errors are collected above
}

// list asks the go command.
func list(dir string, args ...string) ([]listed, error) {
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return nil, fmt.Errorf("go list in %s: %s", dir, text)
		}
		return nil, fmt.Errorf("go list in %s: %w", dir, err)
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return pkgs, nil
		case err != nil:
			return nil, fmt.Errorf("go list in %s: %w", dir, err)
		}
		pkgs = append(pkgs, p)
	}
}
