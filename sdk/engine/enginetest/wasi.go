package enginetest

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
)

// Errnos of WASI.
const (
	eBadF    = int32(8)
	eFault   = int32(21)
	eInval   = int32(28)
	eNoSys   = int32(52)
	eNotDir  = int32(54)
	eNotSock = int32(57)
	eNotSup  = int32(58)
	eSPipe   = int32(70)
)

func testWASI(t *testing.T, open Open) {
	for _, module := range []string{"guest.wasm", "unstable.wasm"} {
		t.Run(strings.TrimSuffix(module, ".wasm"), func(t *testing.T) {
			x := startWith(t, open, Options{}, &Border{}, module)
			t.Run("refused", func(t *testing.T) { testRefused(t, x) })
			t.Run("process", func(t *testing.T) { testProcess(t, x) })
			t.Run("streams", func(t *testing.T) { testStreams(t, x, module == "unstable.wasm") })
			t.Run("clocks", func(t *testing.T) { testClocks(t, x, module == "unstable.wasm") })
		})
	}
	x := start(t, open, Options{})
	t.Run("lines", func(t *testing.T) { testLines(t, open) })
	t.Run("order of output", func(t *testing.T) { testOutputOrder(t, open) })
	t.Run("output fails", func(t *testing.T) { testOutputFails(t, open) })
	t.Run("timestamps", func(t *testing.T) { testTimestamps(t, x) })
}

// testRefused: what is not granted says so, and does not trap.
func testRefused(t *testing.T, x *fixture) {
	s := &script{}
	buf := s.space(64)
	want := map[int]int32{}
	try := func(code int32, name string, params ...any) { want[s.call(name, params...)] = code }
	try(eNoSys, "proc_raise", 9)
	try(eSPipe, "fd_advise", 1, 0, 0, 0)
	try(eBadF, "fd_advise", 3, 0, 0, 0)
	try(eNotSup, "fd_allocate", 1, 0, 0)
	try(0, "fd_sync", 1)
	try(0, "fd_datasync", 2)
	try(eBadF, "fd_sync", 0xffffffff)
	try(eNotSup, "fd_fdstat_set_rights", 1, 0, 0)
	try(0, "fd_fdstat_set_flags", 1, 1)
	try(eNotSup, "fd_fdstat_set_flags", 1, 4)
	try(eInval, "fd_filestat_set_size", 1, 0)
	try(eNotSup, "fd_filestat_set_times", 1, 0, 0, 0)
	try(eSPipe, "fd_pread", 0, 0, 0, 0, buf)
	try(eSPipe, "fd_pwrite", 1, 0, 0, 0, buf)
	try(eBadF, "fd_prestat_get", 3, buf)
	try(eBadF, "fd_prestat_get", 1, buf)
	try(eBadF, "fd_prestat_dir_name", 3, buf, 64)
	try(eBadF, "fd_read", 1, buf, 0, buf)
	try(eBadF, "fd_read", 4, buf, 0, buf)
	try(eBadF, "fd_write", 0, buf, 0, buf)
	try(eNotDir, "fd_readdir", 1, buf, 64, 0, buf)
	try(0, "fd_renumber", 1, 1)
	try(eNotSup, "fd_renumber", 1, 2)
	try(eBadF, "fd_renumber", 1, 7)
	try(eSPipe, "fd_seek", 1, 0, 0, buf)
	try(eSPipe, "fd_tell", 1, buf)
	try(eNotDir, "path_create_directory", 1, buf, 1)
	try(eBadF, "path_create_directory", 3, buf, 1)
	try(eBadF, "path_filestat_get", 3, 0, buf, 1, buf)
	try(eBadF, "path_filestat_set_times", 3, 0, buf, 1, 0, 0)
	try(eBadF, "path_link", 3, 0, buf, 1, 3, buf)
	try(eBadF, "path_open", 3, 0, buf, 1, 0, 0)
	try(eBadF, "path_readlink", 3, buf, 1, buf, 1, buf)
	try(eBadF, "path_remove_directory", 3, buf, 1)
	try(eBadF, "path_rename", 3, buf, 1, 3, buf, 1)
	try(eBadF, "path_symlink", buf, 1, 3, buf, 1)
	try(eBadF, "path_unlink_file", 3, buf, 1)
	try(eNotSock, "sock_recv", 1, buf, 0, 0, buf, buf)
	try(eBadF, "sock_send", 3, buf, 0, 0, buf)
	try(eNotSock, "sock_shutdown", 1, 0)
	try(eFault, "random_get", far, 64)
	try(eFault, "clock_time_get", 0, 0, far+12)
	try(eInval, "clock_time_get", 9, 0, buf)
	try(eFault, "fd_write", 1, far, 2, buf)
	try(eInval, "fd_write", 1, 0, 100_000, buf)
	try(eFault, "args_get", far, far)
	try(eFault, "args_sizes_get", far, far+14)
	try(0, "fd_close", 2)
	try(eBadF, "fd_close", 2)
	try(eBadF, "fd_write", 2, buf, 0, buf)
	o := x.run(t, s, func(c *engine.Call) { c.Argv = []string{"a"} })
	for i, code := range want {
		o.want(t, i, code)
	}
}

func testProcess(t *testing.T, x *fixture) {
	s := &script{}
	n, size, ptrs, text := s.space(4), s.space(4), s.space(8), s.space(16)
	sizes := s.call("args_sizes_get", n, size)
	dn, dsize := s.dump(n, 4), s.dump(size, 4)
	get := s.call("args_get", ptrs, text)
	dp, dt := s.dump(ptrs, 8), s.dump(text, 8)
	esizes := s.call("environ_sizes_get", n, size)
	den, desize := s.dump(n, 4), s.dump(size, 4)
	eget := s.call("environ_get", ptrs, text)
	det := s.dump(text, 4)
	random := s.space(32)
	rget := s.call("random_get", random, 32)
	dr := s.dump(random, 32)
	yield := s.call("sched_yield")
	granted := func(c *engine.Call) { c.Argv, c.Env = []string{"prog", "ab"}, []string{"K=V"} }
	o := x.run(t, s, granted)
	for _, i := range []int{sizes, get, esizes, eget, rget, yield} {
		o.want(t, i, 0)
	}
	if o.u32(dn) != 2 || o.u32(dsize) != 8 || o.u32(den) != 1 || o.u32(desize) != 4 {
		t.Errorf("%d arguments of %d bytes, %d variables of %d", o.u32(dn), o.u32(dsize), o.u32(den), o.u32(desize))
	}
	o.wantDump(t, dt, "prog\x00ab\x00")
	o.wantDump(t, det, "K=V\x00")
	first, second := binary.LittleEndian.Uint32(o.dumps[dp]), binary.LittleEndian.Uint32(o.dumps[dp][4:])
	if second != first+5 {
		t.Errorf("pointers %d, %d", first, second)
	}
	if again := x.run(t, s, granted); bytes.Equal(again.dumps[dr], o.dumps[dr]) {
		t.Error("the same random bytes twice")
	}
}

func testStreams(t *testing.T, x *fixture, old bool) {
	s := &script{}
	stat := s.space(64)
	f := s.call("fd_filestat_get", 1, stat)
	df := s.dump(stat, 64)
	fs := s.space(32)
	g := s.call("fd_fdstat_get", 1, fs)
	dg := s.dump(fs, 32)
	o := x.run(t, s, nil)
	o.want(t, f, 0)
	o.want(t, g, 0)
	b := o.dumps[df]
	if b[16] != 2 {
		t.Errorf("file type %d", b[16])
	}
	if old {
		if b[20] != 1 || b[55] != 0 || b[56] != 0xaa {
			t.Errorf("the old layout: % x", b)
		}
	} else if b[24] != 1 || b[63] != 0 {
		t.Errorf("the layout: % x", b)
	}
	if d := o.dumps[dg]; d[0] != 2 || d[8]&(1<<6) == 0 || d[24] != 0xaa {
		t.Errorf("fdstat % x", d)
	}
}

// subscription writes a subscription to a clock.
func subscription(old bool, user uint64, clock uint32, timeout uint64, flags byte) string {
	size, id, at, fl := 48, 16, 24, 40
	if old {
		size, id, at, fl = 56, 24, 32, 48
	}
	b := make([]byte, size)
	binary.LittleEndian.PutUint64(b, user)
	binary.LittleEndian.PutUint32(b[id:], clock)
	binary.LittleEndian.PutUint64(b[at:], timeout)
	b[fl] = flags
	return string(b)
}

func testClocks(t *testing.T, x *fixture, old bool) {
	s := &script{}
	res, wall, mono, mono2 := s.space(8), s.space(8), s.space(8), s.space(8)
	r := s.call("clock_res_get", 1, res)
	w := s.call("clock_time_get", 0, 1, wall)
	m := s.call("clock_time_get", 1, 1, mono)
	subs, _ := s.data(subscription(old, 7, 1, 3600e9, 0) + subscription(old, 8, 1, 30e6, 0))
	events, n := s.space(64), s.space(4)
	before := time.Now()
	poll := s.call("poll_oneoff", subs, events, 2, n)
	m2 := s.call("clock_time_get", 1, 1, mono2)
	dw, dm, dm2, de, dn := s.dump(wall, 8), s.dump(mono, 8), s.dump(mono2, 8), s.dump(events, 32), s.dump(n, 4)
	past, _ := s.data(subscription(old, 9, 0, 1, 1))
	poll2 := s.call("poll_oneoff", past, events, 1, n)
	de2 := s.dump(events, 8)
	none := s.call("poll_oneoff", subs, events, 0, n)
	o := x.run(t, s, nil)
	for _, i := range []int{r, w, m, poll, m2, poll2} {
		o.want(t, i, 0)
	}
	o.want(t, none, eInval)
	u64 := func(d int) int64 { return int64(binary.LittleEndian.Uint64(o.dumps[d])) }
	if ago := time.Since(time.Unix(0, u64(dw))); ago < -time.Second || ago > 10*time.Second {
		t.Errorf("the guest's clock is %v behind", ago)
	}
	if slept := time.Duration(u64(dm2) - u64(dm)); slept < 30*time.Millisecond || slept > 5*time.Second {
		t.Errorf("slept %v", slept)
	}
	if time.Since(before) > 10*time.Second {
		t.Error("it slept an hour, or nearly")
	}
	if o.u32(dn) != 1 || o.dumps[de][0] != 8 || o.dumps[de][8] != 0 || o.dumps[de2][0] != 9 {
		t.Errorf("%d events, % x, % x", o.u32(dn), o.dumps[de], o.dumps[de2])
	}
}

// testTimestamps: a guest's clock never reads earlier than a timestamp that it has read.
func testTimestamps(t *testing.T, x *fixture) {
	ahead := time.Now().Add(30 * time.Second).Unix()
	if _, err := x.border.Put(testScope, "ahead", []byte(lww(ahead, "x"))); err != nil {
		t.Fatal(err)
	}
	s := &script{}
	length, wall := s.space(4), s.space(8)
	get := s.key("essa_get_lattice_len", "ahead", length)
	s.call("clock_time_get", 0, 1, wall)
	d := s.dump(wall, 8)
	o := x.run(t, s, nil)
	o.want(t, get, ok)
	if now := binary.LittleEndian.Uint64(o.dumps[d]); now < uint64(ahead)*1e9 {
		t.Errorf("the clock reads %v before what was read", time.Duration(uint64(ahead)*1e9-now))
	}
}

// testLines: output is passed on line by line, and in pieces where lines are too long.
func testLines(t *testing.T, open Open) {
	x := start(t, open, Options{})
	write := func(fd int, parts ...string) (s *script) {
		s = &script{}
		for _, p := range parts {
			at, n := s.data(p)
			for len(s.buffer)%4 != 0 {
				s.buffer = append(s.buffer, 0)
			}
			vec := ptr(len(s.buffer))
			s.buffer = append(s.buffer, make([]byte, 12)...)
			// The vector's pointer is only known in the guest: have it computed there.
			s.call("vector", vec, at, n)
			s.call("fd_write", fd, vec, 1, vec+8)
		}
		return s
	}
	x.run(t, write(1, "one\ntwo\nthr", "ee\n", "four"), nil)
	x.run(t, write(2, "error"), nil)
	if got := x.border.Written(engine.Stdout); got != "one\ntwo\nthree\nfour" {
		t.Errorf("standard output is %q", got)
	}
	if got := x.border.Written(engine.Stderr); got != "error" {
		t.Errorf("standard error is %q", got)
	}
	// Pieces are whole lines, several or one, but for what was only begun at the end.
	got := x.border.Pieces()
	for i, p := range got {
		if ended := i >= len(got)-2; !ended && !strings.HasSuffix(p, "\n") {
			t.Errorf("pieces %q", got)
		}
	}
	if n := len(got); n < 2 || !strings.HasSuffix(got[n-2], "four") || got[n-1] != "error" {
		t.Errorf("pieces %q", got)
	}

	y := start(t, open, Options{})
	long := strings.Repeat("0123456789", 10)
	y.run(t, write(1, "short\n"+long+"\n", "rest\n"), func(c *engine.Call) { c.Limits.LogLine = 64 })
	if got := y.border.Written(engine.Stdout); got != "short\n"+long+"\nrest\n" {
		t.Errorf("long lines: %q", got)
	}
	for _, p := range y.border.Pieces() {
		for _, l := range strings.SplitAfter(p, "\n") {
			if len(l) > 64 {
				t.Errorf("a line of %d bytes was passed on whole", len(l))
			}
		}
	}
}
