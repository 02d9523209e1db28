package scheduler

import (
	"strings"

	"github.com/essa-project/essad/sdk/engine"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// Bounds of what a client may put into a run or a deployment. They are what a guest can be expected to take, and far below
// what a message can carry.
const (
	maxEnvEntries  = 1024
	maxEnvBytes    = 256 << 10
	maxArgvEntries = 4096
	maxArgvBytes   = 1 << 20
	maxExportName  = 1024
)

func checkEnv(env []string) error {
	for _, kv := range env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" || strings.IndexByte(kv, 0) >= 0 {
			return status.Errorf(status.Invalid, "environment entry %.64q: want K=V without zero bytes", kv)
		}
	}
	return checkTexts("environment", env, maxEnvEntries, maxEnvBytes)
}

func checkArgv(argv []string) error {
	for _, a := range argv {
		if strings.IndexByte(a, 0) >= 0 {
			return status.Errorf(status.Invalid, "argument %.64q has a zero byte, which no program can be given", a)
		}
	}
	return checkTexts("arguments", argv, maxArgvEntries, maxArgvBytes)
}

func checkTexts(what string, texts []string, entries, bytes int) error {
	n := 0
	for _, t := range texts {
		n += len(t) + 1
	}
	if len(texts) > entries || n > bytes {
		return status.Errorf(status.Invalid, "%s of %d entries and %d bytes: at most %d entries and %d bytes are allowed",
			what, len(texts), n, entries, bytes)
	}
	return nil
}

// checkIsolation brings what a manifest says of isolation into its one form: the default is not written, so that saying it
// makes no other version.
func checkIsolation(m *essav1.Manifest) error {
	i, err := engine.ParseIsolation(m.Isolation)
	switch {
	case err != nil:
		return err
	case i == engine.Restored:
		m.Isolation = ""
	}
	switch {
	case len(m.WarmUp) > maxExportName:
		return status.Errorf(status.Invalid, "the name of the export for warming up has %d bytes, at most %d are allowed", len(m.WarmUp), maxExportName)
	case m.WarmUp != "" && i == engine.Fresh:
		return status.Errorf(status.Invalid, "isolation fresh keeps nothing, so there is nothing to warm up: leave out %q, or choose snapshot or instance", m.WarmUp)
	}
	return nil
}

func checkSHA(module string) error {
	if !isSHA(module) {
		return status.Errorf(status.Invalid, "module name %.80q is not a SHA-256 in hexadecimal", module)
	}
	return nil
}
