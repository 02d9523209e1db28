package main

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/essa-project/essad/sdk/status"
)

// Options of a store. DefaultOptions gives the values of the settings that are not named.
type Options struct {
	Path         string // folder of the store; made with mode 0700
	Memtable     int64  // bytes of writes kept in memory before they become a table; bounds the time of recovery
	Cache        int64  // bytes of table blocks kept in memory
	WriteQueue   int64  // bytes of batches that wait for the log; callers wait when it is full
	MinFree      int64  // writes are refused while the disk has less room than this
	MaxOpenFiles int
	SpareLogs    int    // log files of a memtable's size made in advance
	Compression  string // of tables: none, fast or good
}

// setting describes one key of the store's settings block; the table below is its only list.
type setting struct {
	name string
	kind string // "string", "bytes", "integer" or the allowed words, separated by |
	def  string
	doc  string
	set  func(*Options, any)
	min  int64
	max  int64
}

var settings = []setting{
	{
		name: "path", kind: "string", doc: "Folder of the store. Where none is given: the folder the daemon assigns.",
		set: func(o *Options, v any) { o.Path = v.(string) },
	},
	{
		name: "memtable", kind: "bytes", def: "32MiB", min: 1 << 20, max: 1 << 30,
		doc: "Writes kept in memory before they become a table. Larger means fewer compactions and a slower start after a crash.",
		set: func(o *Options, v any) { o.Memtable = v.(int64) },
	},
	{
		name: "cache", kind: "bytes", def: "64MiB", min: 0, max: 1 << 40,
		doc: "Table blocks kept in memory; taken as they are read, not at start.",
		set: func(o *Options, v any) { o.Cache = v.(int64) },
	},
	{
		name: "write_queue", kind: "bytes", def: "64MiB", min: 1 << 20, max: 4 << 30,
		doc: "Batches that wait for the log; writers wait when it is full.",
		set: func(o *Options, v any) { o.WriteQueue = v.(int64) },
	},
	{
		name: "min_free", kind: "bytes", def: "128MiB", min: 0, max: 1 << 40,
		doc: "Writes are refused as overloaded while the disk has less room than this, so that what is there can still be flushed and compacted. 0 turns this off.",
		set: func(o *Options, v any) { o.MinFree = v.(int64) },
	},
	{
		name: "max_open_files", kind: "integer", def: "1000", min: 16, max: 1 << 20,
		doc: "Files the store keeps open.",
		set: func(o *Options, v any) { o.MaxOpenFiles = int(v.(int64)) },
	},
	{
		name: "spare_logs", kind: "integer", def: "1", min: 0, max: 4,
		doc: "Log files made in advance, each as large as the memtable: the fsync of a write to one takes half the time of one to a file that grows. None is made before something is written. 0 turns this off.",
		set: func(o *Options, v any) { o.SpareLogs = int(v.(int64)) },
	},
	{
		name: "compression", kind: "none|fast|good", def: "fast",
		doc: "Compression of tables; the log is never compressed.",
		set: func(o *Options, v any) { o.Compression = v.(string) },
	},
}

// DefaultOptions returns the options of a store in the folder path with all settings at their defaults.
func DefaultOptions(path string) Options {
	o := Options{}
	for _, s := range settings {
		if s.def == "" {
			continue
		}
		v, err := s.parse(s.def)
		if err != nil {
			panic(err) // the table above is wrong
		}
		s.set(&o, v)
	}
	o.Path = path
	return o
}

// ParseSettings makes options of a settings block. All mistakes are reported at once.
func ParseSettings(block map[string]string) (Options, error) {
	o := DefaultOptions("")
	var mistakes []string
	for _, name := range slices.Sorted(maps.Keys(block)) {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
		if i < 0 {
			mistakes = append(mistakes, fmt.Sprintf("unknown setting %q; there are %s", name, settingNames()))
			continue
		}
		v, err := settings[i].parse(block[name])
		if err != nil {
			mistakes = append(mistakes, err.Error())
			continue
		}
		settings[i].set(&o, v)
	}
	if o.Path == "" {
		mistakes = append(mistakes, "setting \"path\" is missing: name the folder of the store")
	} else if !filepath.IsAbs(o.Path) {
		mistakes = append(mistakes, fmt.Sprintf("setting \"path\" must be an absolute path, not %q", o.Path))
	}
	if len(mistakes) > 0 {
		return o, status.Errorf(status.Invalid, "store \"pebble\": %s", strings.Join(mistakes, "; "))
	}
	return o, nil
}

func settingNames() string {
	var names []string
	for _, s := range settings {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

// parse turns the text of a value into what set expects: a string or an int64.
func (s setting) parse(text string) (any, error) {
	switch s.kind {
	case "string":
		return text, nil
	case "bytes", "integer":
		n, ok := number(text, s.kind == "bytes")
		if !ok {
			example := "1000"
			if s.kind == "bytes" {
				example = "64MiB"
			}
			return nil, fmt.Errorf("setting %q must be a number such as %s, not %q", s.name, example, text)
		}
		if n < s.min || n > s.max {
			return nil, fmt.Errorf("setting %q must be from %d to %d, not %d", s.name, s.min, s.max, n)
		}
		return n, nil
	}
	words := strings.Split(s.kind, "|")
	if slices.Contains(words, text) {
		return text, nil
	}
	return nil, fmt.Errorf("setting %q must be one of %s, not %q", s.name, strings.Join(words, ", "), text)
}

var units = map[string]int64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

// number reads a number; one of bytes may have a unit, also after a space.
func number(text string, bytes bool) (int64, bool) {
	digits := strings.TrimRight(text, "BKMGTi")
	unit, known := units[text[len(digits):]]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || !known || (digits != text && !bytes) || n < 0 || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}
