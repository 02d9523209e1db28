package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/essa-project/essad/sdk/bincode"
	"github.com/essa-project/essad/sdk/client"
)

const wrapper = "__essa_wrapper__"

// layout names the processes between which a call travels: client, daemon (scheduler and executor in it), engine.
const layout = "client|daemon|engine, isolated"

func (b *bench) guests() map[string]string {
	return map[string]string{
		"C":  filepath.Join("examples", "splitter", "splitter.wasm"),
		"Go": filepath.Join(b.bin, "guests", "bench-go.wasm"),
	}
}

// idle: what a daemon costs that nobody uses.
func (b *bench) idle(ctx context.Context) error {
	d, err := b.daemon(ctx, "")
	if err != nil {
		return err
	}
	d.stop()
	var best time.Duration
	for range 5 { // again, now that the folder is there and the programs are in memory
		if d, err = b.daemon(ctx, d.dir); err != nil {
			return err
		}
		if best == 0 || d.ready < best {
			best = d.ready
		}
		d.stop()
	}
	if d, err = b.daemon(ctx, d.dir); err != nil {
		return err
	}
	defer d.stop()
	b.add("idle: ready after start", float64(best.Milliseconds()), "ms", "lower", 0, 150)
	time.Sleep(2 * time.Second)
	b.add("idle: memory, daemon and plugins (PSS)", d.pss(), "MiB", "lower", 0, 100)
	const watch = 5 * time.Second
	before := d.cpu()
	time.Sleep(watch)
	b.add("idle: processor", 100*(d.cpu()-before).Seconds()/watch.Seconds(), "% of a core", "lower", 0, 1)
	return nil
}

// calls: the whole way of a warm call, beside a bare chain with the same guest and the same instantiation.
func (b *bench) calls(ctx context.Context) error {
	d, err := b.daemon(ctx, "")
	if err != nil {
		return err
	}
	defer d.stop()
	for _, g := range []string{"C", "Go"} {
		if err := b.callsOf(ctx, d, g); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) callsOf(ctx context.Context, d *daemon, g string) error {
	file := b.guests()[g]
	name := "bench-" + map[string]string{"C": "c", "Go": "go"}[g]
	if err := d.deploy(ctx, name, file); err != nil {
		return err
	}
	chain, err := b.startFloor(file, wrapper+"noop")
	if err != nil {
		return err
	}
	defer chain.close()
	if answer := string(chain.mux.call(nil)); strings.HasPrefix(answer, bareFailed) {
		return errors.New(answer)
	}
	product := func(int) error {
		_, err := d.client.Call(ctx, name, "noop", nil, client.CallOptions{})
		return err
	}
	floor := func(int) error { chain.mux.call(nil); return nil }
	for _, clients := range []int{1, 8, 64} {
		p, f, err := alternate(ctx, clients, 3*b.duration, product, floor)
		if err != nil {
			return err
		}
		title := fmt.Sprintf("call: %s guest, %s, %d clients", g, layout, clients)
		t50, tRate := 0.0, 0.0
		switch {
		case clients == 1 && g == "C":
			t50 = 1.5
		case clients == 1:
			t50 = 1.25
		case clients == 64 && g == "C":
			tRate = 0.7
		case clients == 64:
			tRate = 0.8
		}
		b.add(title+", p50", p.p50, "us", "lower", f.p50, t50)
		b.add(title+", p99", p.p99, "us", "lower", f.p99, 0)
		b.add(title+", calls", p.perSecond, "1/s", "higher", f.perSecond, tRate)
	}
	return nil
}

// cold: a module's first call: not compiled yet, and after a restart, with its code and its snapshot on disk.
func (b *bench) cold(ctx context.Context) error {
	for _, g := range []string{"C", "Go"} {
		d, err := b.daemon(ctx, "")
		if err != nil {
			return err
		}
		file := b.guests()[g]
		begin := time.Now()
		if err := d.deploy(ctx, "cold", file); err != nil {
			d.stop()
			return err
		}
		b.add(fmt.Sprintf("cold: %s guest, deploy with compilation", g), ms(time.Since(begin)), "ms", "lower", 0, 0)
		_, err = d.client.Call(ctx, "cold", "noop", nil, client.CallOptions{}) // leaves a snapshot
		d.stop()
		if err != nil {
			return err
		}
		if d, err = b.daemon(ctx, d.dir); err != nil {
			return err
		}
		begin = time.Now()
		_, err = d.client.Call(ctx, "cold", "noop", nil, client.CallOptions{})
		took := time.Since(begin)
		d.stop()
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("cold: %s guest, first call after a restart, code and snapshot on disk", g), ms(took), "ms", "lower", 0, 0)
	}
	return nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// inGuest: what functions pay for calls and state from inside, per operation, beside bare host calls of the same guest.
func (b *bench) inGuest(ctx context.Context) error {
	d, err := b.daemon(ctx, "")
	if err != nil {
		return err
	}
	defer d.stop()
	for _, g := range []string{"C", "Go"} {
		if err := b.inGuestOf(ctx, d, g); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) inGuestOf(ctx context.Context, d *daemon, g string) error {
	name, file := "in-guest", b.guests()[g]
	if err := d.deploy(ctx, name, file); err != nil {
		return err
	}
	perOp := func(function string, n int, args []byte) (float64, error) {
		run := func(n int) (time.Duration, error) {
			a := bincode.AppendUint64(append([]byte(nil), args...), uint64(n))
			begin := time.Now()
			_, err := d.client.Call(ctx, name, function, a, client.CallOptions{})
			return time.Since(begin), err
		}
		return difference(n, run)
	}
	nested, err := perOp("nested_many", 2000, nil)
	if err != nil {
		return err
	}
	target := 0.0
	if g == "C" {
		target = 40
	}
	b.add(fmt.Sprintf("guest: nested call in the same engine, %s guest, isolated", g), nested, "us", "lower", 0, target)

	key := bincode.AppendString(nil, "k")
	put, err := perOp("write_lww", 500, bincode.AppendUint64(append([]byte(nil), key...), 64))
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("guest: put of 64 B, acknowledged as configured (sync), %s guest", g), put, "us", "lower", 0, 0)
	read, err := perOp("read_cached", 200_000, key)
	if err != nil {
		return err
	}
	if g != "C" { // a Go guest on stand-ins for its imports does not get as far as reading
		b.add(fmt.Sprintf("guest: cached read (len and data), %s guest", g), read, "us", "lower", 0, 0)
		return nil
	}
	bare, err := newBareEngine(file)
	if err != nil {
		return err
	}
	two, err := difference(200_000, func(n int) (time.Duration, error) {
		begin := time.Now()
		bare.call(wrapper+"read_cached", bincode.AppendUint64(append([]byte(nil), key...), uint64(n)))
		return time.Since(begin), nil
	})
	if err != nil {
		return err
	}
	b.add("guest: cached read (len and data), C guest; floor: two bare host calls", read, "us", "lower", two, 0)
	b.add("guest: cached read over two bare host calls, C guest", read-two, "us", "lower", 0, 1)
	return nil
}

// difference returns the microseconds of one operation: of n more of them in one call, so that what the call itself costs
// drops out. The least of five is taken: noise only ever adds.
func difference(n int, run func(n int) (time.Duration, error)) (float64, error) {
	least := func(n int) (time.Duration, error) {
		best := time.Duration(0)
		for range 5 {
			d, err := run(n)
			if err != nil {
				return 0, err
			}
			if best == 0 || d < best {
				best = d
			}
		}
		return best, nil
	}
	few, err := least(n / 10)
	if err != nil {
		return 0, err
	}
	many, err := least(n)
	if err != nil {
		return 0, err
	}
	return float64(many-few) / 1e3 / float64(n-n/10), nil
}

// recursion: a tree of nested calls with many leaves.
func (b *bench) recursion(ctx context.Context) error {
	d, err := b.daemon(ctx, "")
	if err != nil {
		return err
	}
	defer d.stop()
	leaves := uint64(4096)
	if b.short {
		leaves = 256
	}
	for _, g := range []string{"C", "Go"} {
		name := "split-" + map[string]string{"C": "c", "Go": "go"}[g]
		if err := d.deploy(ctx, name, b.guests()[g]); err != nil {
			return err
		}
		args := bincode.AppendUint64(bincode.AppendUint64(nil, 0), leaves)
		cctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
		begin := time.Now()
		res, err := d.client.Call(cctx, name, "split", args, client.CallOptions{})
		cancel()
		if err != nil {
			return fmt.Errorf("%s guest: %w", g, err)
		}
		if len(res.Value) < 12 || binary.LittleEndian.Uint64(res.Value[4:]) != leaves {
			return fmt.Errorf("%s guest: wrong result %x", g, res.Value)
		}
		target := 0.0
		if g == "C" && !b.short {
			target = 2
		}
		b.add(fmt.Sprintf("recursion: %d leaves, %s guest, one node", leaves, g), time.Since(begin).Seconds(), "s", "lower", 0, target)
		b.add(fmt.Sprintf("recursion: memory after it, %s guest (PSS)", g), d.pss(), "MiB", "lower", 0, 0)
	}
	return nil
}

// kvs: gets and puts by a client over the socket.
func (b *bench) kvs(ctx context.Context) error {
	d, err := b.daemon(ctx, "")
	if err != nil {
		return err
	}
	defer d.stop()
	echo := &floorChain{}
	defer echo.close()
	sock := filepath.Join(os.TempDir(), fmt.Sprintf("essad-bench-%d-echo", os.Getpid()))
	if err := echo.start("floor", "echo", sock); err != nil {
		return err
	}
	m, err := dialMux("unix", sock)
	if err != nil {
		return err
	}
	value := noise(1024)
	floor := func(int) error { m.call(value); return nil }
	const keys = 10_000
	for i := range keys {
		if _, err := d.kvs.Set(ctx, client.UserSpace, "", key(i), value, client.PutOptions{Durability: client.MemoryDurability}); err != nil {
			return err
		}
	}
	for _, op := range []struct {
		name string
		d    client.Durability
		put  bool
	}{
		{"get", 0, false},
		{"put, memory", client.MemoryDurability, true},
		{"put, batched", client.BatchedDurability, true},
		{"put, sync", client.SyncDurability, true},
	} {
		for _, clients := range []int{1, 64} {
			p, f, err := alternate(ctx, clients, 3*b.duration, func(int) error {
				k := key(rand.IntN(keys))
				if op.put {
					_, err := d.kvs.Set(ctx, client.UserSpace, "", k, value, client.PutOptions{Durability: op.d})
					return err
				}
				_, _, err := d.kvs.Data(ctx, client.UserSpace, "", k)
				return err
			}, floor)
			if err != nil {
				return err
			}
			title := fmt.Sprintf("kvs: %s, 1 KiB, client|daemon|store, %d clients; floor: bare socket echo", op.name, clients)
			b.add(title+", p50", p.p50, "us", "lower", f.p50, 0)
			b.add(title+", ops", p.perSecond, "1/s", "higher", f.perSecond, 0)
		}
	}
	return nil
}

// key is the i-th key. It is made by hand, for the floors make none.
func key(i int) []byte {
	b := []byte("bench/00000000")
	for at := len(b) - 1; i > 0 && b[at] != '/'; at-- {
		b[at] = '0' + byte(i%10)
		i /= 10
	}
	return b
}

// noise returns bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// durable: synced puts from 64 writers in this one process, to a store that has been written to before, beside two floors: a log with nothing but group commit in this
// process, which is what the target is about, and the same log in a process of its own behind a bare framed socket, which
// is the least that a store costs that is not a part of its user. The second is there to be compared with, and judges
// nothing.
func (b *bench) durable(ctx context.Context) error {
	d, err := b.daemon(ctx, "")
	if err != nil {
		return err
	}
	defer d.stop()
	log, err := newRawLog(b.dir)
	if err != nil {
		return err
	}
	defer log.close()
	remote, err := b.startRemoteLog()
	if err != nil {
		return err
	}
	defer remote.close()
	value := noise(1024)
	if err := b.fill(ctx, d, b.settled(), 1000, value); err != nil {
		return err
	}
	for range b.settled() / fillBatch { // the log is as old as the store
		if err := log.put(noise(fillBatch * len(value))); err != nil {
			return err
		}
	}
	floors := []func(int) error{
		func(int) error { return log.put(value) },
		func(int) error {
			if answer := remote.mux.call(value); len(answer) > 0 {
				return fmt.Errorf("the log behind a socket: %s", answer)
			}
			return nil
		},
	}
	put := func(key []byte) error {
		_, err := d.kvs.Set(ctx, client.UserSpace, "", key, value, client.PutOptions{Durability: client.SyncDurability})
		return err
	}
	var next atomic.Int64
	next.Store(1000)
	for _, keys := range []struct {
		name string
		put  func(int) error
	}{
		{"new keys", func(int) error { return put(key(int(next.Add(1)))) }},
		{"existing keys", func(int) error { return put(key(1 + rand.IntN(1000))) }},
	} {
		s, err := turns(ctx, 64, 6*b.duration, append([]func(int) error{keys.put}, floors...)...)
		if err != nil {
			return err
		}
		title := "durable: put of 1 KiB, 64 writers, " + keys.name
		b.add(title+"; floor: raw group-commit log", s[0].perSecond, "1/s", "higher", s[1].perSecond, 0.7)
		b.add(title+"; floor: the same log behind a bare socket", s[0].perSecond, "1/s", "higher", s[2].perSecond, 0)
	}
	return nil
}

// startRemoteLog starts a raw log in a process of its own.
func (b *bench) startRemoteLog() (*floorChain, error) {
	dir := filepath.Join(b.dir, "remote-log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sock := filepath.Join(os.TempDir(), fmt.Sprintf("essad-bench-%d-log", os.Getpid()))
	c := &floorChain{}
	err := c.start("floor", "rawlog", sock, dir)
	if err == nil {
		c.mux, err = dialMux("unix", sock)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// settled is how many puts of 1 KiB bring a new store to where it stays: it has logs to use again instead of making them, and
// memtables of their full size.
func (b *bench) settled() int {
	if b.short {
		return 1000
	}
	return 200_000
}

// fillBatch is how many puts share a request that fills a store.
const fillBatch = 500

// fill makes so many puts to so many keys of d, in large batches.
func (b *bench) fill(ctx context.Context, d *daemon, puts, keys int, value []byte) error {
	for from := 0; from < puts; from += fillBatch {
		ops := make([]client.Op, 0, fillBatch)
		for i := from; i < min(from+fillBatch, puts); i++ {
			ops = append(ops, client.Op{Kind: client.OpPut, Key: key(i % keys), Value: value, Stamp: true})
		}
		results, err := d.kvs.Do(ctx, client.UserSpace, "", client.SyncDurability, ops)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
	}
	return nil
}

// restart: from kill -9 with many keys to the first answered read.
func (b *bench) restart(ctx context.Context) error {
	d, err := b.daemon(ctx, "")
	if err != nil {
		return err
	}
	keys := 1_000_000
	if b.short {
		keys = 20_000
	}
	if err := b.fill(ctx, d, keys, keys, noise(1024)); err != nil {
		d.stop()
		return err
	}
	d.kill()
	begin := time.Now()
	if d, err = b.daemon(ctx, d.dir); err != nil {
		return err
	}
	defer d.stop()
	if _, _, err := d.kvs.Data(ctx, client.UserSpace, "", key(keys-1)); err != nil {
		return err
	}
	target := 1.5
	if b.short {
		target = 0
	}
	b.add(fmt.Sprintf("restart: kill -9 to first read, %d keys of 1 KiB", keys), time.Since(begin).Seconds(), "s", "lower", 0, target)
	return nil
}
