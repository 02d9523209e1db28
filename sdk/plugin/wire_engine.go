package plugin

import (
	"time"

	"github.com/essa-project/essad/sdk/engine"
)

func appendEngineInfo(b []byte, i engine.Info) []byte {
	b = putString(putString(b, 1, i.Name), 2, i.Version)
	for _, c := range i.Capabilities {
		b = putEachString(b, 3, c)
	}
	return b
}

func parseEngineInfo(b []byte) (i engine.Info, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			i.Name = f.text()
		case 2:
			i.Version = f.text()
		case 3:
			i.Capabilities = append(i.Capabilities, f.text())
		}
	}
	return i, damaged("engine information", f.err)
}

type prepare struct {
	module  engine.Module
	source  uint64
	timeout time.Time
}

func parsePrepare(b []byte) (p prepare, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			p.module.SHA256 = f.text()
		case 2:
			p.module.Size = f.int()
		case 3:
			p.source = f.n
		case 4:
			p.timeout = f.time()
		case 5:
			p.module.WarmUp = f.text()
		}
	}
	return p, damaged("prepare request", f.err)
}

func appendModuleInfo(b []byte, i engine.ModuleInfo) []byte {
	b = putUint(b, 1, uint64(i.Kind))
	for _, name := range i.Functions {
		b = putEachString(b, 2, name)
	}
	return putString(putBool(putUint(b, 3, i.Memory), 4, i.CacheHit), 5, i.Fresh)
}

func parseModuleInfo(b []byte) (i engine.ModuleInfo, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			i.Kind = engine.Kind(f.n)
		case 2:
			i.Functions = append(i.Functions, f.text())
		case 3:
			i.Memory = f.n
		case 4:
			i.CacheHit = f.bool()
		case 5:
			i.Fresh = f.text()
		}
	}
	return i, damaged("module information", f.err)
}

type moduleRead struct {
	source uint64
	offset int64
	max    int
}

func parseModuleRead(b []byte) (r moduleRead, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			r.source = f.n
		case 2:
			r.offset = f.int()
		case 3:
			r.max = int(f.n)
		}
	}
	return r, damaged("module read", f.err)
}

// parseData reads a message of bytes and a bool, such as ModuleData and InputData.
func parseData(b []byte) (data []byte, end bool, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			data = f.p
		case 2:
			end = f.bool()
		}
	}
	return data, end, damaged("data", f.err)
}

// appendInvoke writes all of an Invoke but the bytes of its arguments, which follow.
func appendInvoke(b []byte, c *engine.Call, timeout time.Time) []byte {
	b = putID(putID(b, 1, c.ID), 2, c.Root)
	b = putString(putString(b, 3, c.Module), 4, c.Scope)
	b = putString(putBool(b, 5, c.Run), 6, c.Function)
	for _, s := range c.Argv {
		b = putEachString(b, 7, s)
	}
	for _, s := range c.Env {
		b = putEachString(b, 8, s)
	}
	b = putInt(putTime(putBool(b, 9, c.Stdin), 10, c.Deadline), 11, int64(c.Depth))
	if c.Limits != (engine.Limits{}) {
		var start int
		b, start = openMessage(b, 12)
		b = closeMessage(appendLimits(b, &c.Limits), start, 0)
	}
	b = appendKeyVersions(b, 13, c.Fresh)
	b = putString(putUint(putTime(b, 14, timeout), 16, uint64(c.Isolation)), 17, c.WarmUp)
	return putTail(b, 15, len(c.Args))
}

// parseInvoke reads what appendInvoke wrote. The arguments point into b; the names are taken from known where it is given.
func parseInvoke(b []byte, known *names) (c *engine.Call, timeout time.Time, err error) {
	c = &engine.Call{}
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			f.id(&c.ID)
		case 2:
			f.id(&c.Root)
		case 3:
			c.Module = known.get(f.p)
		case 4:
			c.Scope = known.get(f.p)
		case 5:
			c.Run = f.bool()
		case 6:
			c.Function = known.get(f.p)
		case 7:
			c.Argv = append(c.Argv, f.text())
		case 8:
			c.Env = append(c.Env, f.text())
		case 9:
			c.Stdin = f.bool()
		case 10:
			c.Deadline = f.time()
		case 11:
			c.Depth = int(f.int())
		case 12:
			f.err = parseLimits(f.p, &c.Limits)
		case 13:
			c.Fresh, f.err = parseKeyVersion(f.p, c.Fresh)
		case 14:
			timeout = f.time()
		case 15:
			c.Args = f.p
		case 16:
			c.Isolation = engine.Isolation(f.n)
		case 17:
			c.WarmUp = known.get(f.p)
		}
	}
	return c, timeout, damaged("invocation", f.err)
}

func appendLimits(b []byte, l *engine.Limits) []byte {
	for i, v := range [...]int64{
		l.Memory, int64(l.WallTime), int64(l.CallDepth), l.HostCalls, l.Args, l.Result, l.Log, l.LogLine,
		int64(l.Handles), l.Stack, l.Fuel,
	} {
		b = putInt(b, uint64(i+1), v)
	}
	return b
}

func parseLimits(b []byte, l *engine.Limits) error {
	f := fields{b: b}
	for f.next() {
		switch v := f.int(); f.field {
		case 1:
			l.Memory = v
		case 2:
			l.WallTime = time.Duration(v)
		case 3:
			l.CallDepth = int(v)
		case 4:
			l.HostCalls = v
		case 5:
			l.Args = v
		case 6:
			l.Result = v
		case 7:
			l.Log = v
		case 8:
			l.LogLine = v
		case 9:
			l.Handles = int(v)
		case 10:
			l.Stack = v
		case 11:
			l.Fuel = v
		}
	}
	return f.err
}

func appendKeyVersions(b []byte, field uint64, kv []engine.KeyVersion) []byte {
	for i := range kv {
		var start int
		b, start = openMessage(b, field)
		b = putUint(putString(b, 1, kv[i].Key), 2, kv[i].Version)
		b = closeMessage(b, start, 0)
	}
	return b
}

func parseKeyVersion(b []byte, to []engine.KeyVersion) ([]engine.KeyVersion, error) {
	var kv engine.KeyVersion
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			kv.Key = f.text()
		case 2:
			kv.Version = f.n
		}
	}
	return append(to, kv), f.err
}

// appendResult writes all of a Result but the bytes of its value, which follow.
func appendResult(b []byte, r *engine.Result) []byte {
	b = putUint(putBool(b, 1, r.HasValue), 2, uint64(r.ExitCode))
	b = putUint(appendKeyVersions(b, 3, r.Writes), 4, r.Frontier)
	if s := &r.Stats; *s != (engine.Stats{}) {
		var start int
		b, start = openMessage(b, 5)
		b = putInt(putInt(putInt(b, 1, int64(s.Queued)), 2, int64(s.Guest)), 3, s.HostCalls)
		b = putUint(putInt(putUint(b, 4, s.Memory), 5, int64(s.Nested)), 6, uint64(s.Instance))
		b = putInt(b, 7, s.Fuel)
		b = closeMessage(b, start, 0)
	}
	return putTail(b, 15, len(r.Value))
}

func parseResult(b []byte) (*engine.Result, error) {
	r := &engine.Result{}
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			r.HasValue = f.bool()
		case 2:
			r.ExitCode = uint32(f.n)
		case 3:
			r.Writes, f.err = parseKeyVersion(f.p, r.Writes)
		case 4:
			r.Frontier = f.n
		case 5:
			f.err = parseStats(f.p, &r.Stats)
		case 15:
			r.Value = f.p
		}
	}
	return r, damaged("result", f.err)
}

func parseStats(b []byte, s *engine.Stats) error {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			s.Queued = time.Duration(f.int())
		case 2:
			s.Guest = time.Duration(f.int())
		case 3:
			s.HostCalls = f.int()
		case 4:
			s.Memory = f.n
		case 5:
			s.Nested = int(f.int())
		case 6:
			s.Instance = engine.Start(f.n)
		case 7:
			s.Fuel = f.int()
		}
	}
	return f.err
}

func appendUpdate(b []byte, u *engine.CacheUpdate) []byte {
	b, start := openMessage(b, 1)
	b = putString(b, 1, u.Scope)
	if u.Key != nil {
		b = putEachBytes(b, 2, u.Key)
	}
	if u.Value.Version != 0 || u.Value.Lease != 0 || len(u.Value.Data) > 0 {
		var v int
		b, v = openMessage(b, 3)
		b = append(appendValue(b, u.Value), u.Value.Data...)
		b = closeMessage(b, v, 0)
	}
	return closeMessage(putBool(b, 4, u.Drop), start, 0)
}

func parseUpdates(b []byte) (u []engine.CacheUpdate, err error) {
	f := fields{b: b}
	for f.next() {
		if f.field == 1 {
			var one engine.CacheUpdate
			one, f.err = parseUpdate(f.p)
			u = append(u, one)
		}
	}
	return u, damaged("cache update", f.err)
}

func parseUpdate(b []byte) (u engine.CacheUpdate, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			u.Scope = f.text()
		case 2:
			u.Key = f.bytes()
		case 3:
			u.Value, f.err = parseValue(f.p)
		case 4:
			u.Drop = f.bool()
		}
	}
	return u, f.err
}

// appendValue writes all of a Value but its bytes, which follow.
func appendValue(b []byte, v engine.Value) []byte {
	return putTail(putInt(putUint(b, 1, v.Version), 2, int64(v.Lease)), 15, len(v.Data))
}

func parseValue(b []byte) (v engine.Value, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			v.Version = f.n
		case 2:
			v.Lease = time.Duration(f.int())
		case 15:
			v.Data = f.p
		}
	}
	return v, damaged("value", f.err)
}

func appendOrigin(b []byte, field uint64, o *engine.Origin) []byte {
	b, start := openMessage(b, field)
	if o != nil {
		b = putID(putID(b, 1, o.Call), 2, o.Root)
		b = putString(putString(b, 3, o.Module), 4, o.Scope)
		b = putInt(putTime(b, 5, o.Deadline), 6, int64(o.Depth))
	}
	return closeMessage(b, start, 0)
}

func parseOrigin(b []byte, o *engine.Origin) error {
	f := fields{b: b}
	for f.next() {
		switch f.field {
		case 1:
			f.id(&o.Call)
		case 2:
			f.id(&o.Root)
		case 3:
			o.Module = f.text()
		case 4:
			o.Scope = f.text()
		case 5:
			o.Deadline = f.time()
		case 6:
			o.Depth = int(f.int())
		}
	}
	return f.err
}

// ask is any request of an engine to its border. The messages give the same numbers to what they share.
type ask struct {
	origin  engine.Origin
	key     []byte // Load, Merge
	data    []byte // Merge, Output; Invoke of NestedCall
	n       uint64 // wait of Load, stream of Output, max of Input
	timeout time.Time
}

// parseAsk reads the message of a frame of type typ.
func parseAsk(typ uint8, b []byte) (a *ask, err error) {
	a = &ask{}
	f := fields{b: b}
	for f.next() {
		switch {
		case f.field == 1:
			f.err = parseOrigin(f.p, &a.origin)
		case f.field == 15:
			a.data = f.p
		case f.field == 2 && (typ == typeLoad || typ == typeMerge):
			a.key = f.bytes()
		case f.field == 2, f.field == 3 && typ == typeLoad:
			a.n = f.n
		case f.field == 3, f.field == 4 && typ == typeLoad:
			a.timeout = f.time()
		}
	}
	return a, damaged("request of an engine", f.err)
}
