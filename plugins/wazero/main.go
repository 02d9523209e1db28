// Command wazero is the executor engine over wazero, in pure Go. It is started by essad's supervisor.
package main

import "runtime/debug"

func main() {}

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
