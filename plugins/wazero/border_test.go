package main

import (
	"testing"

	"github.com/essa-project/essad/sdk/engine/enginetest"
	"github.com/essa-project/essad/sdk/plugin/plugintest"
)

// TestPlugin runs the suite through the process border.
func TestPlugin(t *testing.T) { enginetest.Run(t, plugintest.Engine("wazero")) }
