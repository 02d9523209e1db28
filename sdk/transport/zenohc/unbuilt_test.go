//go:build !zenohc

package zenohc

import (
	"context"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/zenoh"
)

func TestUnbuilt(t *testing.T) {
	_, err := Open(context.Background(), zenoh.Config{})
	_, errNode := OpenNode(context.Background(), zenoh.Config{})
	for _, err := range []error{err, errNode} {
		if status.Of(err) != status.Unavailable || !strings.Contains(err.Error(), "-tags zenohc") {
			t.Errorf("Open without the library: %v", err)
		}
	}
}
