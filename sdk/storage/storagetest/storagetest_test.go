package storagetest_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/storage"
	"github.com/essa-project/essad/sdk/storage/memory"
	"github.com/essa-project/essad/sdk/storage/storagetest"
)

// broken is the in-memory store with one mistake.
type broken struct {
	storage.Store
	apply func(s storage.Store, ctx context.Context, b storage.Batch) error
	start func(s storage.Store, ctx context.Context, b storage.Batch) func() error
	get   func(items []storage.Item) []storage.Item
	scan  func(s storage.Store, ctx context.Context, r storage.Range) (storage.Page, error)
	close func(s storage.Store) error
	info  storage.Info
}

func (b *broken) Info() storage.Info {
	if b.info.Name != "" {
		return b.info
	}
	return b.Store.Info()
}

func (b *broken) Apply(ctx context.Context, batch storage.Batch) error {
	if b.apply != nil {
		return b.apply(b.Store, ctx, batch)
	}
	return b.Store.Apply(ctx, batch)
}

func (b *broken) Start(ctx context.Context, batch storage.Batch) func() error {
	if b.start != nil {
		return b.start(b.Store, ctx, batch)
	}
	err := b.Apply(ctx, batch)
	return func() error { return err }
}

func (b *broken) Get(ctx context.Context, keys [][]byte) ([]storage.Item, error) {
	items, err := b.Store.Get(ctx, keys)
	if err == nil && b.get != nil {
		items = b.get(items)
	}
	return items, err
}

func (b *broken) Scan(ctx context.Context, r storage.Range) (storage.Page, error) {
	if b.scan != nil {
		return b.scan(b.Store, ctx, r)
	}
	return b.Store.Scan(ctx, r)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close(b.Store)
	}
	return b.Store.Close()
}

// mistakes are what the suite must notice, each in the test of that name at the latest.
var mistakes = map[string]func() *broken{
	"a batch is not atomic": func() *broken {
		return &broken{apply: func(s storage.Store, ctx context.Context, b storage.Batch) error {
			if err := b.Check(); err != nil {
				return err
			}
			for _, op := range b.Ops {
				if err := s.Apply(ctx, storage.Batch{Shard: b.Shard, Ops: []storage.Op{op}}); err != nil {
					return err
				}
			}
			return nil
		}}
	},
	"started batches are applied when they are waited for": func() *broken {
		return &broken{start: func(s storage.Store, ctx context.Context, b storage.Batch) func() error {
			b.Ops = slices.Clone(b.Ops)
			for i := range b.Ops {
				b.Ops[i].Value = slices.Clone(b.Ops[i].Value)
			}
			return func() error { return s.Apply(ctx, b) }
		}}
	},
	"ops are applied backwards": func() *broken {
		return &broken{apply: func(s storage.Store, ctx context.Context, b storage.Batch) error {
			b.Ops = slices.Clone(b.Ops)
			slices.Reverse(b.Ops)
			return s.Apply(ctx, b)
		}}
	},
	"deletes do nothing": func() *broken {
		return &broken{apply: func(s storage.Store, ctx context.Context, b storage.Batch) error {
			b.Ops = slices.DeleteFunc(slices.Clone(b.Ops), func(op storage.Op) bool { return op.Delete })
			return s.Apply(ctx, b)
		}}
	},
	"deletes put an empty value": func() *broken {
		return &broken{apply: func(s storage.Store, ctx context.Context, b storage.Batch) error {
			b.Ops = slices.Clone(b.Ops)
			for i := range b.Ops {
				if b.Ops[i].Delete && len(b.Ops[i].Key) > 0 {
					b.Ops[i] = storage.Op{Key: b.Ops[i].Key}
				}
			}
			return s.Apply(ctx, b)
		}}
	},
	"every seventh batch is lost": func() *broken {
		var n atomic.Int64
		return &broken{apply: func(s storage.Store, ctx context.Context, b storage.Batch) error {
			if n.Add(1)%7 == 0 && b.Check() == nil {
				return nil
			}
			return s.Apply(ctx, b)
		}}
	},
	"contexts are ignored": func() *broken {
		return &broken{apply: func(s storage.Store, _ context.Context, b storage.Batch) error {
			return s.Apply(context.Background(), b)
		}}
	},
	"an empty value counts as absent": func() *broken {
		return &broken{get: func(items []storage.Item) []storage.Item {
			for i := range items {
				items[i].Found = len(items[i].Value) > 0
			}
			return items
		}}
	},
	"items come in the order of their keys": func() *broken {
		return &broken{get: func(items []storage.Item) []storage.Item {
			slices.SortFunc(items, func(a, b storage.Item) int { return slices.Compare(a.Key, b.Key) })
			return items
		}}
	},
	"a scan ignores its prefix": func() *broken {
		return &broken{scan: func(s storage.Store, ctx context.Context, r storage.Range) (storage.Page, error) {
			r.Prefix = nil
			return s.Scan(ctx, r)
		}}
	},
	"a scan begins with the key it resumes after": func() *broken {
		return &broken{scan: func(s storage.Store, ctx context.Context, r storage.Range) (storage.Page, error) {
			if n := len(r.After); n > 0 && r.After[n-1] > 0 {
				r.After = append(r.After[:n-1:n-1], r.After[n-1]-1, 0xff, 0xff, 0xff)
			}
			return s.Scan(ctx, r)
		}}
	},
	"a page never says that there is more": func() *broken {
		return &broken{scan: func(s storage.Store, ctx context.Context, r storage.Range) (storage.Page, error) {
			p, err := s.Scan(ctx, r)
			p.More = false
			return p, err
		}}
	},
	"a full page always says that there is more": func() *broken {
		return &broken{scan: func(s storage.Store, ctx context.Context, r storage.Range) (storage.Page, error) {
			p, err := s.Scan(ctx, r)
			p.More = p.More || (len(p.Items) > 0 && len(p.Items) == r.Limit)
			return p, err
		}}
	},
	"the bytes of a page have no limit": func() *broken {
		return &broken{scan: func(s storage.Store, ctx context.Context, r storage.Range) (storage.Page, error) {
			r.Bytes = storage.MaxBatchBytes
			return s.Scan(ctx, r)
		}}
	},
	"keysonly gives values": func() *broken {
		return &broken{scan: func(s storage.Store, ctx context.Context, r storage.Range) (storage.Page, error) {
			r.KeysOnly = false
			return s.Scan(ctx, r)
		}}
	},
	"snapshots show the present": func() *broken {
		return &broken{scan: func(s storage.Store, ctx context.Context, r storage.Range) (storage.Page, error) {
			if _, err := s.Scan(ctx, storage.Range{Snapshot: r.Snapshot, Limit: 1}); err != nil {
				return storage.Page{}, err
			}
			r.Snapshot = 0
			return s.Scan(ctx, r)
		}}
	},
	"a closed store goes on": func() *broken { return &broken{close: func(storage.Store) error { return nil }} },
	"a second close is an error": func() *broken {
		var n atomic.Int64
		return &broken{close: func(s storage.Store) error {
			if n.Add(1) > 1 {
				return status.Errorf(status.Unavailable, "closed already")
			}
			return s.Close()
		}}
	},
	"it says that it is persistent": func() *broken {
		return &broken{info: storage.Info{Name: "memory", Version: "1", Persistent: true}}
	},
}

const mistakeEnv = "ESSAD_STORAGETEST_MISTAKE"

type opener func() *broken

func (o opener) Open(testing.TB) (storage.Store, error) {
	b := o()
	b.Store = memory.New(memory.Options{})
	return b, nil
}

// TestBrokenStore is run for one mistake by TestSuiteNotices.
func TestBrokenStore(t *testing.T) {
	name := os.Getenv(mistakeEnv)
	if name == "" {
		t.Skip("run by TestSuiteNotices")
	}
	make := mistakes[name]
	if name == "none" {
		make = func() *broken { return &broken{} }
	}
	storagetest.Run(t, func(*testing.T) storagetest.Opener { return opener(make) })
}

// TestSuiteNotices runs the suite, in a process of its own, on stores with one mistake each.
func TestSuiteNotices(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	run := func(name string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestBrokenStore$", "-test.failfast", "-rapid.nofailfile", "-rapid.shrinktime=0s", "-rapid.checks=20")
		cmd.Env = append(os.Environ(), mistakeEnv+"="+name)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("none"); err != nil {
		t.Fatalf("a store without a mistake fails: %v\n%s", err, out)
	}
	for name := range mistakes {
		t.Run(name, func(t *testing.T) {
			out, err := run(name)
			if err == nil {
				t.Error("not noticed")
			} else if !strings.Contains(out, "--- FAIL: TestBrokenStore/") {
				t.Errorf("ended otherwise than by a test: %v\n%s", err, out)
			}
		})
	}
}
