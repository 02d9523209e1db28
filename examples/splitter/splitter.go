// Package splitter is a guest in C with its module: small functions, the recursive splitter of the upstream demo and what
// the benches call (src/splitter.c lists them).
//
// The module is committed, so that whoever wants a small guest needs no C compiler; the tests hold it and, where there is
// clang, one built from the source to the same behaviour. Tests and benches import this package.
package splitter

import _ "embed"

// Wasm is the module.
//
//go:embed splitter.wasm
var Wasm []byte
