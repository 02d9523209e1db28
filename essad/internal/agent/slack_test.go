package agent

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const slackOfChild = "ESSAD_TEST_SLACK_OF_CHILD"

// TestSlackChild is the program of the processes below; by itself it does nothing.
func TestSlackChild(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv(slackOfChild))
	if err != nil {
		t.SkipNow() // nobody's child
	}
	if err := SetTimerSlack(d); err != nil {
		t.Fatal(err)
	}
	if _, ok := os.LookupEnv(slackEnv); ok {
		t.Error("plugins would get the mark")
	}
	var wg sync.WaitGroup
	for range 8 { // each on a thread of its own
		wg.Add(1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
			if err != nil {
				t.Error(err)
			}
			wg.Done()
			wg.Wait()
			fmt.Println("slack", time.Duration(n), "in", os.Getpid())
		}()
	}
	wg.Wait()
	time.Sleep(20 * time.Millisecond)
}

// All threads have the slack, those that the runtime had started before included: the program was started anew, in its process
// and with its arguments. Where it is as wanted, or left alone, it was not.
func TestTimerSlack(t *testing.T) {
	own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Skip(err)
	}
	for _, d := range []time.Duration{3 * time.Millisecond, 0, time.Duration(own)} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSlackChild$", "-test.v")
		cmd.Env = append(os.Environ(), slackOfChild+"="+d.String())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", d, err, out)
		}
		want := d
		if d == 0 {
			want = time.Duration(own)
		}
		line := fmt.Sprintf("slack %v in %d\n", want, cmd.Process.Pid)
		if n := strings.Count(string(out), line); n != 8 {
			t.Errorf("%v: %d of 8 threads say %q:\n%s", d, n, line, out)
		}
		begun := strings.Count(string(out), "=== RUN   TestSlackChild")
		if anew := begun == 2; anew != (d == 3*time.Millisecond) {
			t.Errorf("%v: begun %d times", d, begun)
		}
	}
}
