package runtime

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// What modules and instances take of the process's memory. What all of them share comes with the first, so one more is looked
// at, and more than one, for the process's own memory comes and goes by more than a small module takes.

// Modules like the measured one: at least so many, and more while compiling them takes no longer than that.
const (
	fewestOthers = 3
	mostOthers   = 24
	othersTime   = 4 * time.Second
)

// compileOthers makes modules that are the same but for a custom section that numbers them, and compiles each.
func (m *measuring) compileOthers(rt *Runtime) error {
	begun := time.Now()
	for n := range mostOthers {
		if n >= fewestOthers && time.Since(begun) > othersTime {
			break
		}
		name := fmt.Sprintf("other %02d", n)
		section := append([]byte{0, byte(len(name) + 1), byte(len(name))}, name...)
		o := &measuring{wasm: append(append([]byte(nil), m.wasm...), section...), call: m.call}
		o.name()
		if err := o.callOnce(rt); err != nil {
			return err
		}
		m.others = append(m.others, o)
	}
	return nil
}

// resident measures memory, with the modules as another process has left them on disk.
func (m *measuring) resident(rt *Runtime) error {
	if err := m.callOnce(rt); err != nil {
		return err
	}
	rt.idle.rest(0)
	before := residentBytes()
	for _, o := range m.others {
		if err := o.callOnce(rt); err != nil {
			return err
		}
	}
	rt.idle.rest(0)
	m.out.Deployment = (residentBytes() - before) / int64(len(m.others))
	return m.instances(rt)
}

// instances looks at what the process takes for instances that have been entered, and for the same ones when they are parked.
// The first is not looked at: with it comes what all of them share.
func (m *measuring) instances(rt *Runtime) error {
	const most = 48
	idle, awake := residentBytes(), int64(0)
	n := int64(most)
	var all []*Guest
	for int64(len(all)) <= n {
		g, err := m.guest(rt)
		if err != nil {
			return err
		}
		all = append(all, g)
		// No more than are kept when they are parked.
		n = min(n, max(rt.set.ParkedBytes/(2*g.need), 2))
		if err := g.enterLast(); err != nil {
			return err
		}
		if len(all) == 1 {
			awake = residentBytes()
		}
	}
	m.out.Running = (residentBytes() - awake) / n
	for _, g := range all {
		g.leave()
	}
	m.out.Waiting = (residentBytes() - awake) / n
	rt.idle.rest(0)
	if m.out.Parked = m.out.Waiting; all[0].mod.heavy() {
		m.out.Parked = max(residentBytes()-idle, 0) / (n + 1)
	}
	return nil
}

// residentBytes is the process's share of the memory it has in use, without what Go keeps for later.
func residentBytes() int64 {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what the first one has found to be closed
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
