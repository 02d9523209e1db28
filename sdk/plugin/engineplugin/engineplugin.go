// Package engineplugin is the main function of an engine's plugin whose engine is a Backend of sdk/engine/runtime: it serves
// the engine to the daemon, is the process that compiles one module, or measures one, as it is asked to.
//
// It imports sdk/plugin and sdk/engine/runtime; main packages of engine plugins import it.
package engineplugin

import (
	"os"
	goruntime "runtime"
	"runtime/debug"
	"strconv"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/runtime"
	"github.com/essa-project/essad/sdk/plugin"
)

// Engine is an engine, and how its plugin is made.
type Engine struct {
	Name    string // of the engine
	Version string // of the library that it is
	Cache   string // what setting cache_dir is the folder of

	// Backend makes the engine's own part, for an engine with these settings.
	Backend func(s *runtime.Settings) (runtime.Backend, error)
	// Compiler makes the one of a process that compiles one module and keeps its native code in a folder.
	Compiler func(dir string) (runtime.Backend, error)
	// Settings, where set, gives settings that are zero the engine's own defaults.
	Settings func(s *runtime.Settings)
}

// compileCommand is the argument with which the plugin starts itself to compile one module.
const compileCommand = "compile-module"

// Compiler is the program that compiles modules. It is this one, and not by name: the file may have been replaced by a newer
// one meanwhile.
func Compiler() []string { return []string{"/proc/self/exe", compileCommand} }

// Main does what the program was started for.
func (e *Engine) Main() {
	if code, ok := e.Command(os.Args[1:]); ok {
		os.Exit(code)
	}
	plugin.ServeEngine(e.open, plugin.About{Name: e.Name, Version: e.Version, Settings: e.settings()})
}

// Command compiles or measures a module, where the program's arguments say so, and returns the exit code.
func (e *Engine) Command(args []string) (code int, ok bool) {
	switch {
	case len(args) == 1 && args[0] == compileCommand:
		return runtime.CompileModule(e.Compiler), true
	case len(args) > 0 && args[0] == runtime.MeasureCommand:
		ballast := make([]byte, 32<<20) // as plugin.ServeEngine has it
		defer goruntime.KeepAlive(ballast)
		return runtime.MeasureModule(args[1:], os.Stdout, e.New, e.Compiler, Compiler()), true
	}
	return 0, false
}

func (e *Engine) settings() []plugin.Setting {
	list := []plugin.Setting{{Name: "cache_dir", Type: "string", Doc: "Folder for " + e.Cache + "; the daemon names one."}}
	var own runtime.Settings
	if e.Settings != nil {
		e.Settings(&own)
	}
	for _, s := range runtime.SettingsTable() {
		if s.Name == "modules" && own.Modules != 0 {
			s.Default = strconv.Itoa(own.Modules)
		}
		list = append(list, plugin.Setting{Name: s.Name, Type: s.Type, Default: s.Default, Doc: s.Doc})
	}
	return list
}

// open makes the engine of a configuration.
func (e *Engine) open(c plugin.EngineConfig) (engine.Engine, error) {
	s, err := runtime.ParseSettings(c.Settings, "cache_dir")
	if err != nil {
		return nil, err
	}
	if s.CacheDir = c.CacheDir; s.CacheDir != "" {
		s.Compiler = Compiler()
	}
	s.Log, s.Share = c.Logger.Warn, runtime.ShareProcessors()
	return e.New(s, c.Border)
}

// New makes the engine in this process.
func (e *Engine) New(s runtime.Settings, border engine.Border) (engine.Engine, error) {
	if e.Settings != nil {
		e.Settings(&s)
	}
	b, err := e.Backend(&s)
	if err != nil {
		return nil, err
	}
	made, err := runtime.New(b, border, s)
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return made, nil
}

// VersionOf returns the version of a module that the program is built with.
func VersionOf(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Version
			}
		}
	}
	return "unknown"
}
