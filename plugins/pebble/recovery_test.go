package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/storage"
)

var recoveryMemtable = flag.Int64("recovery-memtable", 0, "memtable of TestRecoveryTime, instead of the default")

var recoveryKeys = flag.Int("recovery-keys", 0, "keys of 1 KiB in TestRecoveryTime; 1000000 is what the budget is for")

const loadEnv = "ESSAD_TEST_PEBBLE_LOAD"

// TestRecoveryTime loads a store, kills it and measures how long the next one takes until its first read.
//
//	go test -run RecoveryTime -recovery-keys 1000000 -v
func TestRecoveryTime(t *testing.T) {
	if dir := os.Getenv(loadEnv); dir != "" {
		loadForever(t, dir)
	}
	if *recoveryKeys == 0 {
		t.Skip("measures for a while; see -recovery-keys")
	}
	dir := t.TempDir()
	load := exec.Command(os.Args[0], "-test.run=^TestRecoveryTime$", "-recovery-keys", fmt.Sprint(*recoveryKeys), "-recovery-memtable", fmt.Sprint(*recoveryMemtable))
	load.Env = append(os.Environ(), loadEnv+"="+dir)
	start := time.Now()
	out, err := load.CombinedOutput()
	if load.ProcessState == nil || load.ProcessState.ExitCode() != -1 {
		t.Fatalf("the loader was not killed: %v: %s", err, out)
	}
	t.Logf("loaded %d keys in %v", *recoveryKeys, time.Since(start).Round(time.Millisecond))
	for _, state := range []string{"kill -9", "close"} {
		start = time.Now()
		s := mustOpen(t, recoveryOptions(dir))
		opened := time.Since(start)
		items, err := s.Get(context.Background(), [][]byte{testKey(uint64(*recoveryKeys / 2))})
		if err != nil || !items[0].Found {
			t.Fatalf("first read: %v", err)
		}
		t.Logf("after %s: open %v, with the first read %v", state, opened.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
		missing := 0
		for n := 0; n < *recoveryKeys; n += 97 {
			if items, err := s.Get(context.Background(), [][]byte{testKey(uint64(n))}); err != nil || !items[0].Found {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%d of every 97th key are missing", missing)
		}
		start = time.Now()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("closed in %v", time.Since(start).Round(time.Millisecond))
	}
}

func recoveryOptions(dir string) Options {
	o := DefaultOptions(dir)
	if *recoveryMemtable > 0 {
		o.Memtable = *recoveryMemtable
	}
	return o
}

// loadForever writes all keys in random order, durably, and then kills its process.
func loadForever(t *testing.T, dir string) {
	s := mustOpen(t, recoveryOptions(dir))
	b := storage.Batch{Sync: true}
	for _, n := range rand.New(rand.NewPCG(3, 4)).Perm(*recoveryKeys) {
		at := n * 7919 & (1<<19 - 1)
		b.Ops = append(b.Ops, storage.Op{Key: testKey(uint64(n)), Value: randomBytes[at : at+1024]})
		if len(b.Ops) == 500 {
			if err := s.Apply(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			b.Ops = b.Ops[:0]
		}
	}
	if err := s.Apply(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	self, _ := os.FindProcess(os.Getpid())
	_ = self.Kill()
	select {}
}
