package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// problem is a mistake in how values go together.
type problem struct {
	path    string
	with    []string // other keys it depends on
	summary string
	help    string
}

// Validate checks a Config that was made or changed by hand: every value, and how they go together. The error is
// Diagnostics. What Load returns is valid already.
func (c *Config) Validate() error {
	var out Diagnostics
	c.visit(func(path string, k *key, v any) {
		if m := k.satisfies(v); m != nil {
			out = append(out, Diagnostic{Path: path, Summary: path + ": " + m.text, Help: m.help})
		}
	})
	for _, labels := range [][]string{sortedNames(c.Engines), sortedNames(c.Stores)} {
		for _, label := range labels {
			if !nameRule.MatchString(label) {
				out = append(out, Diagnostic{Path: label, Summary: fmt.Sprintf("%q is not a name", label), Help: nameHelp})
			}
		}
	}
	for _, p := range c.problems() {
		out = append(out, Diagnostic{Path: p.path, Summary: p.summary, Help: p.help})
	}
	return out.err()
}

// derive fills in the defaults that depend on other keys, and notes what they were derived from. It reports what only the
// user can decide.
func (c *Config) derive(origins Origins) []problem {
	set := func(path, from string) { origins[path] = Origin{Kind: FromDerived, Source: from} }
	if c.Node.Name == "" {
		c.Node.Name = hostName()
		set("node.name", "the host's name")
	}
	if c.Node.Socket == "" && c.Node.RuntimeDir != "" {
		c.Node.Socket = filepath.Join(c.Node.RuntimeDir, "essad.sock")
		set("node.socket", "node.runtime_dir")
	}
	if c.Executor != nil && len(c.Executor.Engines) == 0 {
		c.Executor.Engines = enginesInOrder(c.Engines)
		set("executor.engines", "the engine blocks")
	}
	if c.KVS == nil {
		return nil
	}
	return c.KVS.derive(sortedNames(c.Stores), origins, set)
}

// enginesInOrder puts the engine that is always there first: a deployment that names none is not to move to another one
// because somebody adds a block.
func enginesInOrder(engines map[string]Engine) []string {
	names := sortedNames(engines)
	if i := slices.Index(names, usualEngine); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, usualEngine)
	}
	return names
}

const usualEngine = "wazero"

func (k *KVS) derive(stores []string, origins Origins, set func(path, from string)) (unclear []problem) {
	if _, given := origins["kvs.store"]; !given {
		switch set("kvs.store", "the store blocks"); len(stores) {
		case 0:
		case 1:
			k.Store = stores[0]
		default:
			// Choosing one would be a guess, and memory only would lose what the user meant to keep.
			unclear = append(unclear, problem{
				"kvs.store", nil, "kvs.store is not given and there are several store blocks",
				"Name one of " + strings.Join(stores, ", ") + ", or write store = \"\" for memory only.",
			})
		}
	}
	if k.Durability == "" {
		k.Durability = DurabilityMemory
		if k.Store != "" {
			k.Durability = DurabilitySync
		}
		set("kvs.durability", "kvs.store")
	}
	return unclear
}

// hostName returns the host's name in the form a node's name has.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	if name = strings.Trim(name[:min(len(name), 63)], ".-_"); name == "" {
		return "localhost"
	}
	return name
}

// Roles lists the roles that are on, in the order in which they start.
func (c *Config) Roles() []string {
	var out []string
	for _, r := range []struct {
		name string
		on   bool
	}{{"routing", c.Routing != nil}, {"kvs", c.KVS != nil}, {"scheduler", c.Scheduler != nil}, {"executor", c.Executor != nil}} {
		if r.on {
			out = append(out, r.name)
		}
	}
	return out
}

// problems is the one place where values are validated against each other.
func (c *Config) problems() []problem {
	var out []problem
	add := func(path string, with []string, help, format string, args ...any) {
		out = append(out, problem{path, with, fmt.Sprintf(format, args...), help})
	}
	if len(c.Roles()) == 0 {
		add("", nil, "Add one or more of the blocks routing {}, kvs {}, scheduler {} and executor {}.", "no role is on")
	}
	c.nodeProblems(add)
	c.fabricProblems(add)
	for _, name := range sortedNames(c.Engines) {
		pluginProblems(add, "engine."+name, c.Engines[name].Plugin, c.Engines[name].Path)
	}
	for _, name := range sortedNames(c.Stores) {
		pluginProblems(add, "store."+name, c.Stores[name].Plugin, c.Stores[name].Path)
	}
	if c.KVS != nil {
		c.kvsProblems(add)
	}
	if s := c.Scheduler; s != nil && s.Completed.For < s.Call.Timeout {
		add("scheduler.completed.for", []string{"scheduler.call.timeout"}, "Make it longer, several times best.",
			"scheduler.completed.for (%s) is shorter than scheduler.call.timeout (%s)", s.Completed.For, s.Call.Timeout)
	}
	if c.Executor != nil {
		c.executorProblems(add)
	}
	return out
}

type adder func(path string, with []string, help, format string, args ...any)

// maxSocketPath is what every system allows for the path of a unix socket.
const maxSocketPath = 103

func (c *Config) nodeProblems(add adder) {
	n := c.Node
	if n.DataDir == "" {
		add("node.data_dir", nil, "Name a folder, as \"/var/lib/essad\".", "node.data_dir is empty")
	}
	if n.RuntimeDir == "" {
		add("node.runtime_dir", nil, "Name a folder, as \"/run/essad\".", "node.runtime_dir is empty")
	}
	if n.DataDir != "" && n.RuntimeDir != "" && within(n.DataDir, n.RuntimeDir) {
		add("node.data_dir", []string{"node.runtime_dir"}, "Use another folder: the runtime folder is swept at every start.",
			"node.data_dir is inside node.runtime_dir (%s)", n.RuntimeDir)
	}
	if len(n.Socket) > maxSocketPath {
		add("node.socket", []string{"node.runtime_dir"}, "Use a shorter path.",
			"node.socket is %d bytes long, and %d are allowed", len(n.Socket), maxSocketPath)
	}
}

func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func (c *Config) kvsProblems(add adder) {
	k := c.KVS
	if _, ok := c.Stores[k.Store]; k.Store != "" && !ok {
		add("kvs.store", []string{"store." + k.Store}, missing("store", k.Store, sortedNames(c.Stores)),
			"kvs.store: there is no block store %q", k.Store)
	}
	if k.Store == "" && k.Durability != DurabilityMemory {
		add("kvs.durability", []string{"kvs.store", "store"}, "Add a block store \"pebble\" {}, or set durability = \"memory\".",
			"kvs.durability is %q and there is no store to keep the values", k.Durability)
	}
	if k.MaxValue > k.Memory {
		add("kvs.max_value", []string{"kvs.memory"}, "Raise kvs.memory, or lower kvs.max_value.",
			"kvs.max_value (%s) is larger than kvs.memory (%s)", k.MaxValue, k.Memory)
	}
	if k.MaxValue > k.WriteBuffer {
		add("kvs.write_buffer", []string{"kvs.max_value"}, "Raise kvs.write_buffer, or lower kvs.max_value.",
			"kvs.write_buffer (%s) has no room for one value of kvs.max_value (%s)", k.WriteBuffer, k.MaxValue)
	}
}

// missing says what to do about the name of a block that is not there.
func missing(kind, name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return "Did you mean \"" + n + "\"?"
	}
	help := fmt.Sprintf("Add a block %s %q {}", kind, name)
	if len(known) > 0 {
		help += ", or name one of " + strings.Join(known, ", ")
	}
	return help + "."
}

func (c *Config) executorProblems(add adder) {
	e := c.Executor
	if len(c.Engines) == 0 {
		add("executor", []string{"engine"}, "Add a block engine \"wazero\" {}.", "executor has no engine")
	}
	seen := map[string]bool{}
	for _, name := range e.Engines {
		if _, ok := c.Engines[name]; !ok && len(c.Engines) > 0 {
			add("executor.engines", []string{"engine." + name}, missing("engine", name, sortedNames(c.Engines)),
				"executor.engines: there is no block engine %q", name)
		}
		if seen[name] {
			add("executor.engines", nil, "Name it once.", "executor.engines: %q is named twice", name)
		}
		seen[name] = true
	}
	if e.Drain >= c.Node.ShutdownTimeout {
		add("executor.drain", []string{"node.shutdown_timeout"}, "Leave time to stop the rest of the daemon.",
			"executor.drain (%s) is not less than node.shutdown_timeout (%s)", e.Drain, c.Node.ShutdownTimeout)
	}
	if e.Limits.Memory > e.Memory {
		add("executor.limits.memory", []string{"executor.memory"}, "Raise executor.memory, or lower the limit.",
			"executor.limits.memory (%s) is larger than executor.memory (%s)", e.Limits.Memory, e.Memory)
	}
	c.shardProblems(add)
	e.capProblems(add)
}

// capProblems looks whether what calls get without asking is more than they may ask for. 0 is no limit, and no cap.
func (e *Executor) capProblems(add adder) {
	l, m := e.Limits, e.MaxLimits
	for _, k := range []struct {
		name      string
		over      bool
		own, most any
	}{
		{"memory", m.Memory > 0 && l.Memory > m.Memory, l.Memory, m.Memory},
		{"wall_time", m.WallTime > 0 && l.WallTime > m.WallTime, l.WallTime, m.WallTime},
		{"call_depth", m.CallDepth > 0 && l.CallDepth > m.CallDepth, l.CallDepth, m.CallDepth},
		{"host_calls", m.HostCalls > 0 && l.HostCalls > m.HostCalls, l.HostCalls, m.HostCalls},
		{"args", m.Args > 0 && l.Args > m.Args, l.Args, m.Args},
		{"result", m.Result > 0 && l.Result > m.Result, l.Result, m.Result},
		{"log", m.Log > 0 && l.Log > m.Log, l.Log, m.Log},
		{"log_line", m.LogLine > 0 && l.LogLine > m.LogLine, l.LogLine, m.LogLine},
		{"handles", m.Handles > 0 && l.Handles > m.Handles, l.Handles, m.Handles},
		{"fuel", m.Fuel > 0 && l.Fuel > m.Fuel, l.Fuel, m.Fuel},
		{"stack", m.Stack > 0 && l.Stack > m.Stack, l.Stack, m.Stack},
	} {
		if k.over {
			add("executor.max_limits."+k.name, []string{"executor.limits." + k.name}, "Raise it, or lower what calls get that name nothing.",
				"executor.max_limits.%s (%v) is less than executor.limits.%s (%v)", k.name, k.most, k.name, k.own)
		}
	}
}

// shardProblems looks whether a call that takes what it may fits into a shard's part of the memory.
func (c *Config) shardProblems(add adder) {
	e := c.Executor
	for i, name := range e.Engines {
		n := ByteSize(c.Engines[name].Shards)
		if n < 2 || slices.Index(e.Engines, name) != i || e.Limits.Memory > e.Memory || e.Memory/n >= e.Limits.Memory {
			continue
		}
		add("engine."+name+".shards", []string{"executor.memory", "executor.limits.memory"},
			"Raise executor.memory, or lower the limit or the number of shards.",
			"engine.%s.shards: %d shards of executor.memory (%s) have %s each, less than executor.limits.memory (%s)",
			name, n, e.Memory, e.Memory/n, e.Limits.Memory)
	}
}

func pluginProblems(add adder, at, name, path string) {
	if name != "" && path != "" {
		add(at+".plugin", []string{at + ".path"}, "Leave out one of them: path names the program, plugin where it is looked for.",
			"%s has both a plugin (%q) and a path", at, name)
	}
}

func sortedNames[B any](m map[string]B) []string { return slices.Sorted(maps.Keys(m)) }
