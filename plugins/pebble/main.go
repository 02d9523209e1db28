// Command essad-plugin-pebble is the storage plugin that keeps values on the local disk, in a Pebble database.
//
// It promises what sdk/storage asks of a persistent store: what was applied with Sync survives kill -9 and power loss,
// batches are whole or absent, and bytes that fail their check are reported as corrupt and never served; that includes the
// end of the log and the manifest, which Pebble by itself takes for unfinished (watch.go). One process at a time may open
// a folder. On a full disk writes are refused and reads go on; nothing has to be restarted when there is room again.
//
// Nobody imports it. It imports sdk/{plugin,storage,status}, Pebble and hclog.
package main

import (
	"runtime"

	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/storage"
)

func main() {
	// One thread waits for the disk most of the time, and takes its processor along until the runtime's monitor looks, which
	// a timer slack makes rare.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	plugin.ServeStore(open, plugin.About{Name: "pebble", Version: Version, Settings: describe()})
}

func open(cfg plugin.StoreConfig) (storage.Store, error) {
	opts, err := ParseSettings(cfg.Settings)
	if err != nil {
		return nil, err
	}
	s, err := Open(opts, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func describe() (out []plugin.Setting) {
	for _, s := range settings {
		out = append(out, plugin.Setting{Name: s.name, Type: s.kind, Default: s.def, Doc: s.doc})
	}
	return out
}
