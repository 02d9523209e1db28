//go:build wasmedge

package main

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/plugin"
)

// TestMain lets this program be the plugin, and the compiler.
func TestMain(m *testing.M) {
	if os.Getenv(plugin.Handshake.MagicCookieKey) != "" {
		main()
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == compileCommand {
		os.Exit(runtime.CompileModule(newCompiler))
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
