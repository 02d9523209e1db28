package guests

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/engine/abi"
)

// TestDeclarations holds what the SDKs of other languages declare to what the host offers: all of it, in the right module,
// with as many parameters.
func TestDeclarations(t *testing.T) {
	for file, declaration := range map[string]*regexp.Regexp{
		"../../../sdk/c/essa.h":           regexp.MustCompile(`ESSA_IMPORT(_NEW)?\("(\w+)"\) int32_t (\w+)\(([^)]*)\);`),
		"../../../sdk/ts/assembly/abi.ts": regexp.MustCompile(`@external\("(host|essa)", "(\w+)"\)\nexport declare function (\w+)\(([^)]*)\): i32;`),
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		declared := map[string]int{}
		for _, m := range declaration.FindAllStringSubmatch(string(text), -1) {
			module := abi.HostModule
			if m[1] == "essa" || m[1] == "_NEW" {
				module = abi.EssaModule
			}
			if m[2] != m[3] {
				t.Errorf("%s declares %s as %s", file, m[2], m[3])
			}
			declared[module+" "+m[2]] = strings.Count(m[4], ",") + 1
		}
		for _, f := range abi.Funcs() {
			name := f.Module + " " + f.Name
			if n, ok := declared[name]; !ok || n != f.Params {
				t.Errorf("%s declares %q with %d parameters, and the host has it with %d", file, name, n, f.Params)
			}
			delete(declared, name)
		}
		for name := range declared {
			t.Errorf("%s declares %q, which the host does not have", file, name)
		}
	}
}
