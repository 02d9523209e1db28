// Command wazero is the executor engine over wazero: WebAssembly compiled to native code, in pure Go. essad's supervisor
// starts it as essad-plugin-wazero.
package main

import (
	goruntime "runtime"

	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/plugin/engineplugin"
)

func main() { wazeroEngine.Main() }

// version is that of wazero which is built in.
var version = engineplugin.VersionOf("github.com/tetratelabs/wazero")

var wazeroEngine = &engineplugin.Engine{
	Name: "wazero", Version: version,
	Cache: "modules and native code", Backend: open, Compiler: newCompiler,
}

func open(s *runtime.Settings) (runtime.Backend, error) {
	native := ""
	if s.CacheDir != "" {
		native = runtime.NativeDir(s.CacheDir)
	}
	return newBackend(native)
}

// newCompiler makes the backend of a process that compiles and does nothing else.
func newCompiler(dir string) (runtime.Backend, error) {
	b, err := newBackend(dir)
	if err != nil {
		return nil, err
	}
	b.workers = goruntime.GOMAXPROCS(0)
	return b, nil
}
