package runtime

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

// Setting describes one key of an engine's settings as people write them.
type Setting struct {
	Name, Type, Default, Doc string
	set                      func(*Settings, int64)
	min, max                 int64
}

// SettingsTable lists what ParseSettings understands. Types are "integer", "bytes" and "duration".
func SettingsTable() []Setting { return slices.Clone(settingsTable) }

var settingsTable = []Setting{
	{
		"workers", "integer", "0", "Calls that execute at the same moment; 0 means one per core.",
		func(s *Settings, n int64) { s.Workers = int(n) }, 0, 4096,
	},
	{
		"queue", "integer", "4096", "Calls that wait for a worker; beyond it they are refused as overloaded.",
		func(s *Settings, n int64) { s.Queue = int(n) }, 1, 1 << 20,
	},
	{
		"memory", "bytes", "1GiB", "Memory of all instances together; calls wait for room, nested calls look for it elsewhere.",
		func(s *Settings, n int64) { s.Memory = n }, 1 << 20, 1 << 42,
	},
	{
		"modules", "integer", "256", "Compiled modules kept in memory.",
		func(s *Settings, n int64) { s.Modules = int(n) }, 1, 1 << 20,
	},
	{
		"parked", "integer", "1024", "Instances that wait, as clean as new ones, for the next calls; 0 makes one for each call.",
		func(s *Settings, n int64) { s.Parked = int(n - btoi(n == 0)) }, 0, 1 << 20,
	},
	{
		"parked_memory", "bytes", "256MiB", "What they may take of memory; they give way to calls that need it.",
		func(s *Settings, n int64) { s.ParkedBytes = n - btoi(n == 0) }, 0, 1 << 42,
	},
	{
		"parked_pages", "bytes", "4MiB", "Written pages that one of them keeps, which save the next call as many page faults.",
		func(s *Settings, n int64) { s.ParkedPages = int(n - btoi(n == 0)) }, 0, 1 << 32,
	},
	{
		"parked_time", "duration", "10s", "How long an instance that takes more than 200 KiB beside its memory waits for the next call.",
		func(s *Settings, n int64) { s.ParkedTime = time.Duration(n) }, int64(10 * time.Millisecond), int64(24 * time.Hour),
	},
	{
		"snapshots", "integer", "16", "Snapshots of one module: one for each environment, and each scope that reuses instances.",
		func(s *Settings, n int64) { s.Snapshots = int(n) }, 1, 1 << 16,
	},
	{
		"verify_restores", "integer", "0", "Every so many-th instance that was set back is compared with its snapshot; 0 means none.",
		func(s *Settings, n int64) { s.VerifyRestores = int(n) }, 0, 1 << 30,
	},
	{
		"module_cache", "bytes", "1GiB", "Modules and native code kept on disk, where the plugin has a folder for them.",
		func(s *Settings, n int64) { s.DiskBytes = n }, 1 << 20, 1 << 42,
	},
	{
		"compile_time", "duration", "60s", "Time one module may take to be compiled.",
		func(s *Settings, n int64) { s.CompileTime = time.Duration(n) }, int64(time.Second), int64(time.Hour),
	},
	{
		"compile_memory", "bytes", "1GiB", "Memory that compiling one module may take.",
		func(s *Settings, n int64) { s.CompileMemory = n }, 64 << 20, 1 << 40,
	},
	{
		"cache_bytes", "bytes", "64MiB", "Values that functions read, kept beside them; 0 turns it off.",
		func(s *Settings, n int64) { s.CacheBytes = n - btoi(n == 0) }, 0, 1 << 40,
	},
	{
		"cache_keys", "integer", "65536", "Keys of those.",
		func(s *Settings, n int64) { s.CacheKeys = int(n) }, 1, 1 << 24,
	},
}

// btoi is 1 for true. A CacheBytes of 0 means its default, and a negative one none.
func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// ParseSettings reads an engine's settings. Keys that are in also are the engine's own and left to it. All mistakes are
// told at once.
func ParseSettings(text map[string]string, also ...string) (Settings, error) {
	var s Settings
	for _, row := range settingsTable {
		n, err := row.parse(row.Default)
		if err != nil {
			return s, status.Wrap(status.Internal, err)
		}
		row.set(&s, n)
	}
	var mistakes []string
	for _, name := range slices.Sorted(maps.Keys(text)) {
		i := slices.IndexFunc(settingsTable, func(r Setting) bool { return r.Name == name })
		switch {
		case i >= 0:
			n, err := settingsTable[i].parse(text[name])
			if err != nil {
				mistakes = append(mistakes, err.Error())
				continue
			}
			settingsTable[i].set(&s, n)
		case !slices.Contains(also, name):
			mistakes = append(mistakes, fmt.Sprintf("there is no setting %q, but %s", name, settingNames(also)))
		}
	}
	if len(mistakes) > 0 {
		return s, status.Errorf(status.Invalid, "engine settings: %s", strings.Join(mistakes, "; "))
	}
	return s, nil
}

func settingNames(also []string) string {
	names := slices.Clone(also)
	for _, r := range settingsTable {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

var sizes = []struct {
	unit string
	n    float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

// parse reads a value and checks its bounds.
func (r Setting) parse(text string) (int64, error) {
	wrong := func(want string) error { return fmt.Errorf("setting %q must be %s, not %q", r.Name, want, text) }
	var n int64
	switch r.Type {
	case "duration":
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, wrong("a duration such as 30s")
		}
		n = int64(d)
		if n < r.min || n > r.max {
			return 0, wrong(fmt.Sprintf("from %v to %v", time.Duration(r.min), time.Duration(r.max)))
		}
		return n, nil
	case "bytes":
		digits, factor := text, 1.0
		for _, s := range sizes {
			if rest, ok := strings.CutSuffix(text, s.unit); ok {
				digits, factor = strings.TrimSpace(rest), s.n
				break
			}
		}
		f, err := strconv.ParseFloat(digits, 64)
		if f *= factor; err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, wrong("a size such as 64MiB")
		}
		n = int64(f)
	default:
		var err error
		if n, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, wrong("a whole number")
		}
	}
	if n < r.min || n > r.max {
		return 0, wrong(fmt.Sprintf("from %d to %d", r.min, r.max))
	}
	return n, nil
}
