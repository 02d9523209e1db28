package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
)

func echoStore(t testing.TB, s *Supervisor, settings map[string]string) *Store {
	t.Helper()
	st, err := s.Store(context.Background(), StoreSpec{Name: "echo", Env: []string{"ECHO_KIND=store"}, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	return st.(*Store)
}

func put(shard int, key, value string) storage.Batch {
	return storage.Batch{Shard: uint32(shard), Sync: true, Ops: []storage.Op{{Key: []byte(key), Value: []byte(value)}}}
}

// TestStoreOutlivesItsProcess: the plugin kills itself at every 40th batch, before or after having written it. Four shards
// write rising numbers; nobody sees an error, and each shard's last number stays.
func TestStoreOutlivesItsProcess(t *testing.T) {
	s := newSupervisor(t, Options{MaxBackoff: 20 * time.Millisecond})
	st := echoStore(t, s, map[string]string{"path": t.TempDir(), "die_at": "40"})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	const shards, batches = 4, 60
	var wg sync.WaitGroup
	for shard := range shards {
		wg.Go(func() {
			key := fmt.Sprint("shard ", shard)
			for i := range batches {
				if err := st.Apply(ctx, put(shard, key, strconv.Itoa(i))); err != nil {
					t.Errorf("shard %d batch %d: %v", shard, i, err)
					return
				}
				items, err := st.Get(ctx, [][]byte{[]byte(key)})
				if err != nil || string(items[0].Value) != strconv.Itoa(i) {
					t.Errorf("shard %d after batch %d: %v, %v", shard, i, items, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := s.Status()[0].Restarts; n < 4 {
		t.Errorf("%d restarts; the test proves little", n)
	}
	page, err := st.Scan(ctx, storage.Range{})
	if err != nil || len(page.Items) != shards {
		t.Fatalf("scan: %+v, %v", page, err)
	}
	for _, it := range page.Items {
		if string(it.Value) != strconv.Itoa(batches-1) {
			t.Errorf("%s has %s", it.Key, it.Value)
		}
	}
	if len(st.lanes) > 0 {
		t.Errorf("%d lanes are left", len(st.lanes))
	}
}

// TestBatchesOfAShardKeepTheirOrder: batches that wait together while the process is replaced go out as they came.
func TestBatchesOfAShardKeepTheirOrder(t *testing.T) {
	s := newSupervisor(t, Options{})
	dir := t.TempDir()
	st := echoStore(t, s, map[string]string{"path": dir})
	_ = syscall.Kill(s.Status()[0].PID, syscall.SIGKILL)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := st.Apply(context.Background(), put(1, "k", strconv.Itoa(i))); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "the batch waits for its turn or is through", func() bool {
			st.mu.Lock()
			defer st.mu.Unlock()
			return st.lanes[1] == nil || st.lanes[1].users > 0
		})
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
	b, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(string(b), `"Shard":1`)
	items, err := st.Get(context.Background(), [][]byte{[]byte("k")})
	if err != nil || string(items[0].Value) != "19" || lines != 20 {
		t.Errorf("last value %q of %d batches, %v", items[0].Value, lines, err)
	}
}

func TestSnapshotsEndWithTheirProcess(t *testing.T) {
	s := newSupervisor(t, Options{})
	st := echoStore(t, s, map[string]string{"path": t.TempDir()})
	ctx := context.Background()
	if err := st.Apply(ctx, put(0, "a", "1")); err != nil {
		t.Fatal(err)
	}
	old, err := st.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Apply(ctx, put(0, "a", "2")); err != nil {
		t.Fatal(err)
	}
	if p, err := st.Scan(ctx, storage.Range{Snapshot: old}); err != nil || len(p.Items) != 1 || string(p.Items[0].Value) != "1" {
		t.Errorf("scan of a snapshot: %+v, %v", p, err)
	}
	_ = syscall.Kill(s.Status()[0].PID, syscall.SIGKILL)
	var fresh uint64
	eventually(t, "a snapshot of the next process", func() bool {
		fresh, err = st.Snapshot(ctx)
		return err == nil && s.Status()[0].Restarts == 1
	})
	if fresh == old {
		t.Error("a number was given out twice")
	}
	if _, err := st.Scan(ctx, storage.Range{Snapshot: old}); status.Of(err) != status.NotFound {
		t.Errorf("scan of the lost snapshot: %v", err)
	}
	if err := st.Release(ctx, fresh); err != nil {
		t.Error(err)
	}
	if err := st.Release(ctx, fresh); status.Of(err) != status.NotFound {
		t.Errorf("second release: %v", err)
	}
}

func TestCorruptIsFinal(t *testing.T) {
	s := newSupervisor(t, Options{})
	dir := t.TempDir()
	st := echoStore(t, s, map[string]string{"path": dir, "corrupt": "maybe"})
	if err := os.WriteFile(filepath.Join(dir, "corrupt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(s.Status()[0].PID, syscall.SIGKILL)
	err := st.Apply(context.Background(), put(0, "a", "1"))
	for status.Of(err) == status.OK { // before the process was gone
		err = st.Apply(context.Background(), put(0, "a", "1"))
	}
	if status.Of(err) != status.Corrupt || !strings.Contains(err.Error(), "block 7") {
		t.Errorf("apply: %v (%s)", err, status.Code(err))
	}
	if x := s.Status()[0]; x.State != Failed || !strings.Contains(x.LastError, "block 7") {
		t.Errorf("status %+v", x)
	}
	if _, err := st.Get(context.Background(), [][]byte{[]byte("a")}); status.Of(err) != status.Corrupt {
		t.Errorf("get: %v", err)
	}
}

func TestStoreGivesUpInTime(t *testing.T) {
	s := newSupervisor(t, Options{StartTimeout: time.Second, StopTimeout: 200 * time.Millisecond})
	program := filepath.Join(t.TempDir(), "essad-plugin-echo")
	b, err := os.ReadFile(echoProgram)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, b, 0o700); err != nil {
		t.Fatal(err)
	}
	st, err := s.Store(context.Background(), StoreSpec{Name: "echo", Path: program, Env: []string{"ECHO_KIND=store"}, MaxWait: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(program, program+".away"); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(s.Status()[0].PID, syscall.SIGKILL)
	eventually(t, "the process is missed", func() bool { return s.Status()[0].State != Ready })
	start := time.Now()
	err = st.Apply(context.Background(), put(0, "a", "1"))
	if d := time.Since(start); status.Of(err) != status.Unavailable || d < 200*time.Millisecond || d > 2*time.Second {
		t.Errorf("apply after %v: %v", d, err)
	}
	if !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("the error does not say why: %v", err)
	}
	if err := os.Rename(program+".away", program); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store is back", func() bool { return st.Apply(context.Background(), put(0, "a", "1")) == nil })
}

// A batch that was started and whose process ends is not sent again by itself: what was started behind it could be ahead of
// it then. Apply waits for the next process.
func TestStartedBatchIsLostWithItsProcess(t *testing.T) {
	s := newSupervisor(t, Options{MaxBackoff: 20 * time.Millisecond})
	st := echoStore(t, s, map[string]string{"path": t.TempDir()})
	ctx := context.Background()
	var waits []func() error
	for i := range 20 {
		waits = append(waits, st.Start(ctx, put(1, "k", strconv.Itoa(i))))
	}
	for i := range waits {
		if err := waits[len(waits)-1-i](); err != nil {
			t.Fatal(err)
		}
	}
	items, err := st.Get(ctx, [][]byte{[]byte("k")})
	if err != nil || string(items[0].Value) != "19" {
		t.Fatalf("last value %q, %v", items[0].Value, err)
	}
	_ = syscall.Kill(s.Status()[0].PID, syscall.SIGKILL)
	eventually(t, "a batch is lost", func() bool {
		err := st.Start(ctx, put(1, "k", "lost"))()
		if err != nil && status.Of(err) != status.Unavailable {
			t.Fatalf("start: %v", err)
		}
		return err != nil
	})
	if err := st.Apply(ctx, put(1, "k", "next")); err != nil {
		t.Fatal(err)
	}
	if len(st.lanes) > 0 {
		t.Errorf("%d lanes are left", len(st.lanes))
	}
}
