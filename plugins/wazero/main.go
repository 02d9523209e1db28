// Command wazero is the executor engine over wazero: WebAssembly compiled to native code, in pure Go. essad's supervisor
// starts it as essad-plugin-wazero.
package main

import (
	"os"
	goruntime "runtime"
	"runtime/debug"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/plugin"
)

// ballast is never touched, and so takes addresses and no memory. It makes the garbage collector wait for as many bytes of
// garbage: with the small heap of an idle engine it would run every hundred calls.
var ballast = make([]byte, 32<<20)

// compileCommand is the argument with which the plugin starts itself to compile one module.
const compileCommand = "compile-module"

func main() {
	if len(os.Args) == 2 && os.Args[1] == compileCommand {
		os.Exit(runtime.CompileModule(newCompiler))
	}
	if len(os.Args) > 1 && os.Args[1] == runtime.MeasureCommand {
		os.Exit(runtime.MeasureModule(os.Args[2:], newEngine, []string{"/proc/self/exe", compileCommand}))
	}
	about := plugin.About{Name: "wazero", Version: wazeroVersion(), Settings: []plugin.Setting{
		{Name: "cache_dir", Type: "string", Doc: "Folder for modules and native code; the daemon names one."},
	}}
	defer goruntime.KeepAlive(ballast)
	for _, s := range runtime.SettingsTable() {
		about.Settings = append(about.Settings, plugin.Setting{Name: s.Name, Type: s.Type, Default: s.Default, Doc: s.Doc})
	}
	plugin.ServeEngine(open, about)
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

// open makes the engine of a configuration.
func open(c plugin.EngineConfig) (engine.Engine, error) {
	s, err := runtime.ParseSettings(c.Settings, "cache_dir")
	if err != nil {
		return nil, err
	}
	if s.CacheDir = c.CacheDir; s.CacheDir != "" {
		// Not by name: the file may have been replaced by a newer one meanwhile.
		s.Compiler = []string{"/proc/self/exe", compileCommand}
	}
	s.Log, s.Share = c.Logger.Warn, runtime.ShareProcessors()
	return newEngine(s, c.Border)
}

func newEngine(s runtime.Settings, border engine.Border) (engine.Engine, error) {
	native := ""
	if s.CacheDir != "" {
		native = runtime.NativeDir(s.CacheDir)
	}
	b, err := newBackend(native)
	if err != nil {
		return nil, err
	}
	e, err := runtime.New(b, border, s)
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return e, nil
}

// wazeroVersion returns the version of wazero that is built in.
func wazeroVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				return d.Version
			}
		}
	}
	return "unknown"
}
