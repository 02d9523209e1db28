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

// BenchmarkDurablePut compares rows of one run only: the disk of a shared machine drifts.
func BenchmarkDurablePut(b *testing.B) {
	for _, c := range []struct{ writers, ops, bytes int }{{1, 1, 1024}, {8, 1, 1024}, {64, 1, 1024}, {64, 16, 1024}, {64, 1, 64}, {1, 1024, 64}} {
		name := fmt.Sprintf("writers=%d/ops=%d/bytes=%d/", c.writers, c.ops, c.bytes)
		b.Run(name+"rawlog", func(b *testing.B) { benchPut(b, newRawLog(b, b.TempDir()), c.writers, c.ops, c.bytes) })
		b.Run(name+"pebble", func(b *testing.B) {
			o := DefaultOptions(b.TempDir())
			s := mustOpen(b, o)
			defer func() { _ = s.Close() }()
			benchPut(b, s, c.writers, c.ops, c.bytes)
		})
	}
}

func benchPut(b *testing.B, s applier, writers, ops, bytes int) {
	random := make([]byte, 1<<20)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	var left atomic.Int64
	var wg sync.WaitGroup
	left.Store(int64(b.N))
	b.ResetTimer()
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			batch := storage.Batch{Shard: uint32(w), Ops: make([]storage.Op, ops), Sync: true}
			for n := uint64(w) << 40; left.Add(-1) >= 0; {
				for i := range batch.Ops {
					n++
					at := int(n*7919) & (1<<19 - 1)
					batch.Ops[i] = storage.Op{Key: testKey(n), Value: random[at : at+bytes]}
				}
				if err := s.Apply(context.Background(), batch); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*ops)/b.Elapsed().Seconds(), "records/s")
}

// testKey makes keys in random order.
func testKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n*0x9e3779b97f4a7c15), n)
}
