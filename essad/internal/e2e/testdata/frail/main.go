// Command frail is a store that the tests start as essad-plugin-frail. It keeps values in memory, until the file that its
// setting "fails" names is there: from then on it says that it has failed for good, as a store does whose disk did not
// take an fsync.
package main

import (
	"context"
	"os"

	"github.com/essa-project/essad/sdk/plugin"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
)

func main() {
	plugin.ServeStore(func(c plugin.StoreConfig) (storage.Store, error) {
		return &frail{memory.New(memory.Options{}), c.Settings["fails"]}, nil
	}, plugin.About{Name: "frail", Version: "0.1", Settings: []plugin.Setting{{Name: "fails", Type: "string"}}})
}

type frail struct {
	*memory.Store
	fails string
}

func (*frail) Info() storage.Info {
	return storage.Info{Name: "frail", Version: "0.1", Persistent: true}
}

func (f *frail) Apply(ctx context.Context, b storage.Batch) error {
	if _, err := os.Stat(f.fails); err == nil {
		final := status.Errorf(status.Unavailable, "the disk did not take an fsync")
		final.Detail = storage.DetailFinal
		return final
	}
	return f.Store.Apply(ctx, b)
}
