package interop

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// atOnce is how many tests run at the same time: they mostly wait for each other's processes, so it is more than there are
// processors.
const atOnce = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if !fuzzing() { // there it is the number of processes
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	close(launcher.work)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// fuzzing tells that inputs are made up, by this process or the one that started it.
func fuzzing() bool {
	return flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.fuzzworker").Value.String() == "true"
}
