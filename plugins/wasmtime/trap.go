//go:build cgo && linux && (amd64 || arm64)

package main

/*
#include "shim.h"
*/
import "C"

import (
	"errors"
	"strconv"
	"strings"
)

// trapTexts are the names of traps by wasmtime's code, as other engines have them too.
var trapTexts = map[C.int]string{
	0: "stack overflow",
	1: "out of bounds memory access",
	3: "invalid table access",
	4: "invalid table access", // a call of an empty entry
	5: "indirect call type mismatch",
	6: "integer overflow",
	7: "integer divide by zero",
	8: "invalid conversion to integer",
	9: "unreachable",
}

// maxFrames bounds the stack that is told.
const maxFrames = 30

// failure makes an error of what ended the guest: what an import refused, or a trap; with the guest's stack.
func (i *instance) failure(refused error) error {
	var (
		code   C.int
		frames C.wasm_frame_vec_t
	)
	cause := refused
	err := failed(C.essad_failure(i.c, &code, &frames))
	defer C.wasm_frame_vec_delete(&frames)
	text, known := trapTexts[code]
	switch {
	case refused != nil:
		text = refused.Error()
	case !known && err != nil:
		text, _, _ = strings.Cut(err.Error(), "\n")
		fallthrough
	default:
		cause = errors.New(text)
	}
	types := i.code.signatures()
	var b strings.Builder
	b.WriteString(text)
	if frames.size > 0 {
		b.WriteString("\nstack:")
	}
	for n := range min(int(frames.size), maxFrames) {
		var (
			length C.size_t
			index  C.uint32_t
		)
		name := C.essad_frame(&frames, C.size_t(n), &length, &index)
		b.WriteString("\n\t")
		if length > 0 {
			b.WriteString(C.GoStringN(name, C.int(length)))
		} else {
			b.WriteString("$" + strconv.Itoa(int(index)))
		}
		b.WriteString(types.of(uint32(index)))
	}
	if int(frames.size) >= maxFrames {
		b.WriteString("\n\t... maybe followed by omitted frames")
	}
	return &trap{text: b.String(), cause: cause}
}

type trap struct {
	text  string
	cause error
}

func (t *trap) Error() string { return t.text }
func (t *trap) Unwrap() error { return t.cause }
