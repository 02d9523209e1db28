//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// knownBinding is the version whose headers, and whose record of an instance, this plugin's C code was written for.
const knownBinding = "v44.0.0"

// TestBinding: a new version of the library is not taken without somebody looking at what capi.h and shim.c say of it.
func TestBinding(t *testing.T) {
	if v := version; v != knownBinding {
		t.Errorf("the binding's version is %s, and what is known of its library is of %s", v, knownBinding)
	}
}

// TestHeaders compiles the C code against the library's own headers: every declaration and every size must agree.
func TestHeaders(t *testing.T) {
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", bindingPath)
	dir, err := list.Output()
	if err != nil {
		t.Skipf("the binding's folder is not to be found: %v", err)
	}
	cc, err := exec.Command("go", "env", "CC").Output()
	if err != nil {
		t.Skipf("which C compiler: %v", err)
	}
	include := filepath.Join(strings.TrimSpace(string(dir)), "build", "include")
	out, err := exec.Command(strings.TrimSpace(string(cc)), "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-DESSAD_REAL_HEADERS", "-I",
		include, "shim.c").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
