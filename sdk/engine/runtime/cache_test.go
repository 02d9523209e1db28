package runtime

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/engine"
)

// load is a value on its way from the store.
type load struct {
	key     string
	seq     uint64
	version uint64
}

// TestNeverOlder does random things to a cache and to a model of what it was told: it never serves what is older than that.
func TestNeverOlder(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		now := time.Unix(1000, 0)
		c := newNearCache(1+rng.IntN(6), int64(500+rng.IntN(2000)), func() time.Time { return now })
		s := c.use("s")
		keys := []string{"a", "b", "c", "d", "e", "f"}
		stored := map[string]uint64{} // versions in the store
		told := map[string]uint64{}   // versions that the cache must not fall behind
		var version uint64
		var loads []load
		value := func(v uint64) engine.Value {
			return engine.Value{Data: fmt.Appendf(nil, "%d", v), Version: v, Lease: time.Duration(rng.IntN(50)) * time.Second}
		}
		for range 400 {
			k := keys[rng.IntN(len(keys))]
			switch rng.IntN(10) {
			case 0, 1: // somebody writes
				version++
				stored[k] = version
			case 2: // and the owner tells
				u := engine.CacheUpdate{Scope: "s", Key: []byte(k), Value: value(stored[k]), Drop: rng.IntN(2) == 0}
				if stored[k] > 0 {
					c.update(&u)
					told[k] = max(told[k], stored[k])
				}
			case 3:
				s.wrote(k, stored[k])
				told[k] = max(told[k], stored[k])
			case 4:
				if rng.IntN(10) == 0 {
					s.passed(version)
					for _, k := range keys {
						told[k] = max(told[k], stored[k])
					}
				}
			case 5, 6, 7:
				if stored[k] > 0 {
					loads = append(loads, load{k, s.begin(k), stored[k]})
				}
			case 8, 9:
				if len(loads) > 0 {
					i := rng.IntN(len(loads))
					l := loads[i]
					loads = slices.Delete(loads, i, i+1)
					v := value(l.version)
					if rng.IntN(5) == 0 {
						s.end(l.key, l.seq, nil)
					} else {
						s.end(l.key, l.seq, &v)
						told[l.key] = max(told[l.key], l.version) // somebody has seen it
					}
				}
			}
			if rng.IntN(20) == 0 {
				now = now.Add(time.Duration(rng.IntN(20)) * time.Second)
			}
			for _, k := range keys {
				if e := s.get([]byte(k)); e != nil && e.version < told[k] {
					t.Fatalf("seed %d: key %s has version %d, and the cache was told of %d", seed, k, e.version, told[k])
				}
			}
			if c.keys > c.maxKeys || c.size > c.maxSize || c.size < 0 || c.keys < 0 {
				t.Fatalf("seed %d: %d keys, %d bytes", seed, c.keys, c.size)
			}
		}
		for _, l := range loads {
			s.end(l.key, l.seq, nil)
		}
		if len(s.flights) != 0 {
			t.Fatalf("seed %d: loads left under way: %v", seed, s.flights)
		}
		c.update(&engine.CacheUpdate{Drop: true})
		c.unuse(s)
		if c.keys != 0 || c.size != 0 || c.head != nil || c.tail != nil || len(c.scopes) != 0 {
			t.Fatalf("seed %d: emptied, it holds %d keys, %d bytes, %d scopes", seed, c.keys, c.size, len(c.scopes))
		}
	}
}

// TestScan: keys that are read again and again stay when many are read once.
func TestScan(t *testing.T) {
	c := newNearCache(100, 1<<20, time.Now)
	s := c.use("s")
	put := func(k string) {
		v := engine.Value{Data: []byte("v"), Version: 1, Lease: time.Hour}
		s.end(k, s.begin(k), &v)
	}
	for i := range 50 {
		put(fmt.Sprint("hot", i))
	}
	for i := range 5000 {
		put(fmt.Sprint("once", i))
		if i%10 == 0 {
			for j := range 50 {
				s.get(fmt.Append(nil, "hot", j))
			}
		}
	}
	var left int
	for k := range s.entries {
		if strings.HasPrefix(k, "hot") {
			left++
		}
	}
	if left < 45 || c.keys > 100 {
		t.Errorf("%d of 50 hot keys are left, of %d", left, c.keys)
	}
}

func TestCachedReadDoesNotAllocate(t *testing.T) {
	c := newNearCache(100, 1<<20, time.Now)
	s := c.use("s")
	v := engine.Value{Data: []byte("v"), Version: 1, Lease: time.Hour}
	s.end("key", s.begin("key"), &v)
	key := []byte("key")
	if n := testing.AllocsPerRun(100, func() {
		if s.get(key) == nil {
			t.Fatal("not cached")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
