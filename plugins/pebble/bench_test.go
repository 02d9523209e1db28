package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"

	"github.com/essa-project/essad/sdk/storage"
)

// rawLog is the floor under durable puts: records appended to a preallocated file and a map, one fdatasync for all that
// wait (the leader commits for the others). It has no recovery, no order between keys, no bound: only the cost that no
// store can avoid.
type rawLog struct {
	mu        sync.Mutex
	cond      sync.Cond
	f         *os.File
	off, pre  int64
	m         map[string][]byte
	buf       []byte
	gen, done uint64
	busy      bool
}

const rawLogPrealloc = 64 << 20

func newRawLog(b *testing.B, dir string) *rawLog {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	l := &rawLog{f: f, m: map[string][]byte{}}
	l.cond.L = &l.mu
	b.Cleanup(func() { _ = f.Close() })
	return l
}

func (l *rawLog) Apply(_ context.Context, batch storage.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range batch.Ops {
		l.buf = binary.LittleEndian.AppendUint32(l.buf, uint32(len(op.Key)))
		l.buf = binary.LittleEndian.AppendUint32(l.buf, uint32(len(op.Value)))
		l.buf = append(append(l.buf, op.Key...), op.Value...)
		l.m[string(op.Key)] = append([]byte(nil), op.Value...)
	}
	l.gen++
	for mine := l.gen; l.done < mine; {
		if l.busy {
			l.cond.Wait()
			continue
		}
		if err := l.lead(); err != nil {
			return err
		}
	}
	return nil
}

// lead writes and syncs what is in the buffer; l.mu is free meanwhile.
func (l *rawLog) lead() error {
	l.busy = true
	buf, gen, off := l.buf, l.gen, l.off
	l.buf = nil
	l.off += int64(len(buf))
	if l.off > l.pre {
		if err := unix.Fallocate(int(l.f.Fd()), 0, l.pre, rawLogPrealloc); err != nil {
			return err
		}
		l.pre += rawLogPrealloc
	}
	l.mu.Unlock()
	_, err := l.f.WriteAt(buf, off)
	if err == nil {
		err = unix.Fdatasync(int(l.f.Fd()))
	}
	l.mu.Lock()
	l.busy, l.done = false, gen
	l.cond.Broadcast()
	return err
}

type applier interface {
	Apply(context.Context, storage.Batch) error
}

// BenchmarkDurablePut runs the raw log, Pebble by itself (each writer commits for itself), the store and the store in a
// process of its own in turns of a fraction of a second, because the disk of a shared machine drifts: only the ratios mean
// something.
func BenchmarkDurablePut(b *testing.B) {
	for _, c := range []putCase{{1, 1, 1024}, {8, 1, 1024}, {64, 1, 1024}, {64, 16, 1024}, {64, 1, 64}, {1, 1024, 64}} {
		b.Run(fmt.Sprintf("writers=%d/ops=%d/bytes=%d", c.writers, c.ops, c.bytes), func(b *testing.B) {
			s := mustOpen(b, DefaultOptions(b.TempDir()))
			defer func() { _ = s.Close() }()
			bare := mustOpen(b, DefaultOptions(b.TempDir()))
			defer func() { _ = bare.Close() }()
			p, err := startProcess(b, map[string]string{"path": b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			stores := []applier{newRawLog(b, b.TempDir()), barePebble{bare.db}, s, p}
			var took, records [4]float64
			for turn := 0; b.Loop(); turn++ {
				for i, st := range stores {
					n, d := c.turn(b, st, uint64(turn)<<44, putTurn)
					took[i] += d.Seconds()
					records[i] += float64(n)
				}
			}
			raw := records[0] / took[0]
			b.ReportMetric(raw, "rawlog/s")
			b.ReportMetric(records[1]/took[1]/raw, "bare/rawlog")
			b.ReportMetric(records[2]/took[2], "store/s")
			b.ReportMetric(records[2]/took[2]/raw, "store/rawlog")
			b.ReportMetric(records[3]/took[3]/raw, "process/rawlog")
			b.ReportMetric(0, "ns/op")
		})
	}
}

const putTurn = 150 * time.Millisecond

type putCase struct{ writers, ops, bytes int }

// turn lets all writers put for a while; it returns the records and the time that they took.
func (c putCase) turn(b *testing.B, s applier, first uint64, long time.Duration) (int64, time.Duration) {
	var stop atomic.Bool
	var records atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for w := range c.writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			batch := storage.Batch{Shard: uint32(w), Ops: make([]storage.Op, c.ops), Sync: true}
			for n := first + uint64(w)<<32; !stop.Load(); {
				for i := range batch.Ops {
					n++
					at := int(n*7919) & (1<<19 - 1)
					batch.Ops[i] = storage.Op{Key: testKey(n), Value: randomBytes[at : at+c.bytes]}
				}
				if err := s.Apply(context.Background(), batch); err != nil {
					b.Error(err)
					return
				}
				records.Add(int64(c.ops))
			}
		}()
	}
	time.Sleep(long)
	stop.Store(true)
	wg.Wait()
	return records.Load(), time.Since(start)
}

type barePebble struct{ db *pebble.DB }

func (p barePebble) Apply(_ context.Context, batch storage.Batch) error {
	w := p.db.NewBatch()
	for i := range batch.Ops {
		if err := w.Set(batch.Ops[i].Key, batch.Ops[i].Value, nil); err != nil {
			return err
		}
	}
	if err := w.Commit(pebble.Sync); err != nil {
		return err
	}
	return w.Close()
}

var randomBytes = func() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}()

// testKey makes keys in random order.
func testKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n*0x9e3779b97f4a7c15), n)
}

const benchKeys = 200_000

// loaded returns a store with benchKeys keys of 1 KiB, all in tables and small enough for the cache.
func loaded(b *testing.B) *Store {
	o := DefaultOptions(b.TempDir())
	o.Cache = 512 << 20
	s := mustOpen(b, o)
	b.Cleanup(func() { _ = s.Close() })
	batch := storage.Batch{}
	for _, n := range rand.New(rand.NewPCG(3, 4)).Perm(benchKeys) {
		at := n * 7919 & (1<<19 - 1)
		batch.Ops = append(batch.Ops, storage.Op{Key: testKey(uint64(n)), Value: randomBytes[at : at+1024]})
		if len(batch.Ops) == 1000 {
			if err := s.Apply(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
			batch.Ops = batch.Ops[:0]
		}
	}
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkGet(b *testing.B) {
	s := loaded(b)
	for _, c := range []struct {
		name  string
		keys  int
		first uint64
		found bool
	}{{"1", 1, 0, true}, {"4", 4, 0, true}, {"64", 64, 0, true}, {"absent/1", 1, 1 << 40, false}, {"absent/64", 64, 1 << 40, false}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				keys := make([][]byte, c.keys)
				for r := rand.New(rand.NewPCG(1, 2)); pb.Next(); {
					for i := range keys {
						keys[i] = testKey(c.first + uint64(r.IntN(benchKeys)))
					}
					items, err := s.Get(context.Background(), keys)
					if err != nil || items[0].Found != c.found {
						b.Errorf("get: found %v, %v", items[0].Found, err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N*c.keys)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}

func BenchmarkScan(b *testing.B) {
	s := loaded(b)
	for _, keysOnly := range []bool{false, true} {
		b.Run(fmt.Sprintf("keysonly=%v", keysOnly), func(b *testing.B) {
			b.ReportAllocs()
			items := 0
			for after := []byte(nil); b.Loop(); {
				page, err := s.Scan(context.Background(), storage.Range{After: after, KeysOnly: keysOnly})
				if err != nil {
					b.Fatal(err)
				}
				items += len(page.Items)
				after = nil
				if page.More {
					after = page.Items[len(page.Items)-1].Key
				}
			}
			b.ReportMetric(float64(items)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}
