package runtime

import (
	"crypto/rand"
	goruntime "runtime"
	"time"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/engine/admit"
	"github.com/essa-project/essad/sdk/engine/snapshot"
)

// Settings bound a Runtime. The zero value of each field means its default.
type Settings struct {
	Workers     int           // guests that execute at a time; default: GOMAXPROCS
	Queue       int           // calls from outside that wait for a worker; default 1024
	Memory      int64         // bytes of all instances together; default 2 GiB
	Modules     int           // compiled modules kept; default 256
	Compiling   int           // modules compiled at a time; default 1
	CacheDir    string        // of admitted modules and native code; empty: none
	DiskBytes   int64         // of CacheDir, which removes what was used least recently; default 1 GiB
	CacheBytes  int64         // of the near cache; default 64 MiB, negative: nothing is cached
	CacheKeys   int           // of the near cache; default 65536
	Limits      engine.Limits // of an invocation that says nothing else
	CompileTime time.Duration // one module may take; default 60 s

	// Instances that calls have left, set back for the next: how many, what they may take of Memory, and how many bytes of
	// one stay written pages, which cost the next call nothing. Defaults: 1024, a quarter of Memory, 4 MiB. Negative: none.
	Parked      int
	ParkedBytes int64
	ParkedPages int
	// How long one waits that takes more than 200 KiB beside its memory: its engine's instances are heavy. Default: 10 s; negative:
	// as the others, until there is no room.
	ParkedTime time.Duration
	Snapshots  int    // of one module, for different environments and scopes; default 16
	DirtyPages string // how written pages are found: "scan", "pagemap" or "all"; default: the best that there is

	// VerifyRestores has every so many-th instance that was set back compared with its snapshot, byte for byte; one that
	// differs is told and closed. Default: none, as it takes longer than most calls.
	VerifyRestores int

	restore snapshot.Method

	// Compiler, where set, is the program that compiles modules in a process of its own: with the arguments given, it
	// calls CompileModule and nothing else. Without it, and without CacheDir, modules are compiled in this process.
	Compiler      []string
	CompileMemory int64 // bytes that process may take; default 1 GiB

	Admit admit.Options

	// Modules are admitted by admit.Uncounted, in this process, and nothing of them is kept on disk. Only this package's
	// measurements can have that: no setting and no caller can.
	uncounted bool

	// Log is told what people should know: a message and pairs of key and value. Default: nobody.
	Log func(msg string, pairs ...any)
	// Clock and Random are the world's; tests and replays have others.
	Clock  func() time.Time
	Random func(p []byte)
	// Share is told how many processors Go should have more than at other times: as many as guests more than Workers may execute
	// at the moment, because those that do compute for long, and one where such guests hold all slots. The operating system
	// shares the time among them then: Go alone would let each guest have ten milliseconds at a time, and meanwhile see neither
	// a call that comes nor a deadline. It is for an engine that has its process for itself.
	Share func(more int)
}

// DefaultLimits are what an invocation may use where neither it nor Settings say something else.
var DefaultLimits = engine.Limits{
	Memory:    256 << 20,
	WallTime:  10 * time.Minute, // functions; runs have none
	CallDepth: 256,
	HostCalls: 100_000_000,
	Args:      16 << 20,
	Result:    64 << 20,
	Log:       64 << 20,
	LogLine:   16 << 10,
	Handles:   16_384,
	Stack:     admit.StackUnits,
}

// Bounds that no setting and no call can lift.
const (
	maxMemory    = 4<<30 - 64<<10 // so that a memory's size is a u32
	maxLogLine   = 1 << 20
	maxCallDepth = 4096
	maxStack     = admit.MaxStackUnits // beyond it the engine's own stack may end first
	maxInline    = 64                  // nested calls on one goroutine
	maxWrites    = 1024                // versions listed in a result
)

func (s Settings) withDefaults() Settings {
	def(&s.Workers, goruntime.GOMAXPROCS(0))
	def(&s.Queue, 1024)
	def(&s.Memory, 2<<30)
	def(&s.Modules, 256)
	def(&s.Compiling, 1)
	def(&s.DiskBytes, 1<<30)
	def(&s.CompileMemory, 1<<30)
	def(&s.CacheBytes, 64<<20)
	def(&s.CacheKeys, 1<<16)
	def(&s.CompileTime, time.Minute)
	def(&s.Parked, 1024)
	def(&s.ParkedBytes, s.Memory/4)
	def(&s.ParkedPages, 4<<20)
	def(&s.ParkedTime, 10*time.Second)
	def(&s.Snapshots, 16)
	s.Parked, s.ParkedBytes, s.ParkedPages = max(s.Parked, 0), max(s.ParkedBytes, 0), max(s.ParkedPages, 0)
	s.restore = restoreMethod(s.DirtyPages)
	s.Admit.ExportGlobals = true
	fill(&s.Limits, &DefaultLimits)
	if s.Log == nil {
		s.Log = func(string, ...any) {}
	}
	if s.Clock == nil {
		s.Clock = time.Now
	}
	if s.Random == nil {
		s.Random = func(p []byte) { _, _ = rand.Read(p) } // never fails (crypto/rand)
	}
	return s
}

// restoreMethod reads Settings.DirtyPages; what this machine does not have is replaced by what it has.
func restoreMethod(name string) snapshot.Method {
	best := snapshot.Best()
	switch name {
	case "pagemap":
		return max(best, snapshot.Pagemap)
	case "all":
		return snapshot.All
	}
	return best
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// fill replaces what l leaves open by d.
func fill(l, d *engine.Limits) {
	def(&l.Memory, d.Memory)
	def(&l.WallTime, d.WallTime)
	def(&l.CallDepth, d.CallDepth)
	def(&l.HostCalls, d.HostCalls)
	def(&l.Args, d.Args)
	def(&l.Result, d.Result)
	def(&l.Log, d.Log)
	def(&l.LogLine, d.LogLine)
	def(&l.Handles, d.Handles)
	def(&l.Stack, d.Stack)
	def(&l.Fuel, d.Fuel)
}

// limitsOf resolves a call's limits into l: every one is positive, or 0 where there is none.
func (rt *Runtime) limitsOf(c *engine.Call, l *engine.Limits) {
	*l = c.Limits
	if c.Run && l.WallTime == 0 {
		l.WallTime = -1
	}
	fill(l, &rt.set.Limits)
	bound := func(v *int, most int) {
		if *v < 0 || *v > most {
			*v = most
		}
	}
	bound(&l.CallDepth, maxCallDepth)
	if l.LogLine < 0 || l.LogLine > maxLogLine {
		l.LogLine = maxLogLine
	}
	if l.Memory < 0 || l.Memory > maxMemory {
		l.Memory = maxMemory
	}
	if l.Stack < 0 || l.Stack > maxStack {
		l.Stack = maxStack
	}
	l.WallTime, l.HostCalls, l.Fuel = max(l.WallTime, 0), max(l.HostCalls, 0), max(l.Fuel, 0)
	l.Args, l.Result, l.Log = max(l.Args, 0), max(l.Result, 0), max(l.Log, 0)
	l.Handles = max(l.Handles, 0)
}
