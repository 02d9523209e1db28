package transport_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/essa-project/essad/sdk/transport"
	"github.com/essa-project/essad/sdk/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBus(t *testing.T) {
	transporttest.Run(t, func(testing.TB) transporttest.Harness {
		bus := transport.NewBus()
		return transporttest.Harness{
			NewSession: func(testing.TB) transport.Session { return bus.Open() },
			Sever:      transport.Sever,
		}
	})
}
