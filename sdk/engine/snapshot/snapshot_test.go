package snapshot

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// methods are those that this machine has.
func methods() []Method {
	all := []Method{Scan, Pagemap, All}
	return all[Best():]
}

func anonymous(t testing.TB, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}

// patchy returns a memory of n bytes with things here and there.
func patchy(t testing.TB, n int, r *rand.Rand) []byte {
	mem := anonymous(t, n)
	for range 1 + r.IntN(30) {
		at, most := r.IntN(n), 1+r.IntN(64<<10)
		for i := at; i < min(at+most, n); i++ {
			mem[i] = byte(r.Uint32())
		}
	}
	return mem
}

func memory(t testing.TB, mem []byte) *Source {
	t.Helper()
	s, err := Memory(mem)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// TestRestore: whatever is written, what is restored is the image; and what was written once costs no fault again.
func TestRestore(t *testing.T) {
	r := random()
	for _, m := range methods() {
		for _, size := range []int{64 << 10, 192 << 10, 5 << 20} {
			source := patchy(t, size, r)
			want := bytes.Clone(source)
			im, err := New(memory(t, source))
			if err != nil {
				t.Fatal(err)
			}
			if !im.Equal(want) {
				t.Fatalf("%v: the image of %d bytes is not what it was made of", m, size)
			}
			mem := anonymous(t, size)
			for i, target := range [][]byte{source, mem} {
				p, err := im.Map(target, m)
				if err != nil {
					t.Fatal(err)
				}
				for round := range 60 {
					for range r.IntN(40) {
						target[r.IntN(size)] = byte(r.Uint32())
					}
					_ = target[r.IntN(size)] // a page that was only read is not written
					keep := []int{size, 0, 64 << 10}[round%3]
					private, err := p.Restore(keep, false)
					if err != nil {
						t.Fatal(err)
					}
					if private > keep {
						t.Fatalf("%v: %d bytes stay private, and at most %d may", m, private, keep)
					}
					if !bytes.Equal(target, want) {
						t.Fatalf("%v: memory %d of %d bytes differs after round %d", m, i, size, round)
					}
				}
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestPagesStayPrivate: this is what makes restoring cheap, and what is reported is what the kernel knows.
func TestPagesStayPrivate(t *testing.T) {
	if Best() == All {
		t.Skip("this kernel does not tell which pages were written")
	}
	for _, m := range methods()[:len(methods())-1] {
		source := anonymous(t, 1<<20)
		source[0], source[600<<10] = 1, 2
		im, err := New(memory(t, source))
		if err != nil {
			t.Fatal(err)
		}
		defer im.Close()
		if want := 2 * pageSize; im.Stored() != want {
			t.Errorf("the image takes %d bytes, and not %d", im.Stored(), want)
		}
		mem := anonymous(t, 1<<20)
		p, err := im.Map(mem, m)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			mem[1], mem[300<<10], mem[600<<10] = 3, 4, 5
			n, err := p.Restore(1<<20, false)
			if err != nil || n != 3*pageSize {
				t.Errorf("%v: %d bytes are private, error %v; three pages were written", m, n, err)
			}
		}
		p.since = giveBackMost - 1
		mem[0] = 9
		if n, err := p.Restore(1<<20, false); n != 0 || err != nil || mem[0] != 1 {
			t.Errorf("%v: from time to time pages are given back: %d stay, error %v, byte %d", m, n, err, mem[0])
		}
	}
}

// TestUnusedPagesAreGivenBack: what one call has left is not copied for long after calls that need little of it, however they
// take turns; what every call needs is kept, with hardly any exception.
func TestUnusedPagesAreGivenBack(t *testing.T) {
	if Best() == All {
		t.Skip("this kernel does not tell which pages were written")
	}
	const size = 256
	source := patchy(t, size*pageSize, random())
	im, err := New(memory(t, source))
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	mem := anonymous(t, size*pageSize)
	p, err := im.Map(mem, Best())
	if err != nil {
		t.Fatal(err)
	}
	call := func(pages int) (private int) {
		for n := range pages {
			mem[n*pageSize]++
		}
		private, err := p.Restore(len(mem), false)
		if err != nil || !bytes.Equal(mem, source) {
			t.Fatalf("the memory differs, error %v", err)
		}
		return private / pageSize
	}
	for range 5 {
		copied := call(200)
		for range 100 {
			copied += call(3)
		}
		if most := (giveBackFirst+1)*200 + 100*3; copied > most {
			t.Errorf("%d pages were copied in a call of 200 and 100 of 3, at most %d should be", copied, most)
		}
	}
	given := 0
	for range 5000 {
		if call(200) == 0 {
			given++
		}
	}
	if given > 12 {
		t.Errorf("5000 calls of 200 pages each gave them back %d times", given)
	}
	for range 2 * giveBackMost {
		if call(3) == 0 {
			given = -1
		}
	}
	if n := call(3); given >= 0 || n != 3 {
		t.Errorf("%d pages stay private of calls that write 3", n)
	}
}

// TestMappingsAreApart: instances of one image do not see each other, from many goroutines.
func TestMappingsAreApart(t *testing.T) {
	source := patchy(t, 1<<20, random())
	want := bytes.Clone(source)
	im, err := New(memory(t, source))
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	var wait sync.WaitGroup
	for n := range 4 {
		mem := anonymous(t, 1<<20)
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 7))
			p, err := im.Map(mem, Best())
			if err != nil {
				t.Error(err)
				return
			}
			for round := range 500 {
				for range 20 {
					mem[r.IntN(len(mem))] = byte(n + 1)
				}
				if _, err := p.Restore(len(mem), false); err != nil {
					t.Error(err)
					return
				}
				if round%20 == 0 && !bytes.Equal(mem, want) {
					t.Errorf("round %d of %d: the memory differs", round, n)
					return
				}
			}
		})
	}
	wait.Wait()
	if !im.Equal(want) {
		t.Error("the image was changed")
	}
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	for _, size := range []int{64 << 10, 4 << 20} {
		source := patchy(t, size, random())
		made, err := Create(path, memory(t, source), []byte("what else there is"))
		if err != nil {
			t.Fatal(err)
		}
		im, meta, err := Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(meta) != "what else there is" || !im.Equal(source) || !made.Equal(source) || im.Size() != size {
			t.Errorf("%d bytes came back as %d, with %q", size, im.Size(), meta)
		}
		mem := anonymous(t, size)
		if _, err := im.Map(mem, Best()); err != nil || !bytes.Equal(mem, source) {
			t.Errorf("mapping it: %v", err)
		}
		mem[0]++
		if im.Close() != nil || made.Close() != nil {
			t.Error("closing failed")
		}
		if mem[0]--; !bytes.Equal(mem, source) {
			t.Error("what is mapped went with the image")
		}
	}
	if _, _, err := Open(path+"x", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".new-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestEmptyMemory: all zeros are an image, too.
func TestEmptyMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if _, err := Create(path, memory(t, anonymous(t, 128<<10)), nil); err != nil {
		t.Fatal(err)
	}
	im, _, err := Open(path, nil)
	if err != nil || im.Stored() != 0 || !im.Equal(anonymous(t, 128<<10)) {
		t.Fatalf("%v", err)
	}
	defer im.Close()
	mem := anonymous(t, 128<<10)
	p, err := im.Map(mem, Best())
	if err != nil {
		t.Fatal(err)
	}
	mem[77] = 1
	if _, err := p.Restore(0, false); err != nil || mem[77] != 0 {
		t.Errorf("byte %d, error %v", mem[77], err)
	}
}

// TestDamagedFiles: every flipped bit of what counts, and every cut, is found.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	source := patchy(t, 256<<10, random())
	if _, err := Create(path, memory(t, source), []byte("meta")); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, contents []byte) {
		t.Helper()
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		im, _, err := Open(path, nil)
		if err == nil {
			if !im.Equal(source) {
				t.Errorf("%s: a wrong memory was served", what)
			} else {
				t.Errorf("%s was not noticed", what)
			}
			im.Close()
		} else if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	header := fixedHead
	for _, n := range []int{0, 7, header, 4095, 4096, 5000, len(whole) - 1, len(whole) - pageSize} {
		check("a cut", whole[:n])
	}
	check("more at the end", append(bytes.Clone(whole), make([]byte, pageSize)...))
	r := random()
	for i := range 300 {
		at := pageSize + r.IntN(len(whole)-pageSize)
		if i < 120 {
			at = i % (header + 16 + 4)
		}
		bad := bytes.Clone(whole)
		bad[at] ^= 1 << r.IntN(8)
		check("a flipped bit", bad)
	}
}

func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "image")
	mem := anonymous(f, 64<<10)
	mem[5000] = 1
	if _, err := Create(path, memory(f, mem), []byte("meta")); err != nil {
		f.Fatal(err)
	}
	whole, _ := os.ReadFile(path)
	f.Add(whole)
	f.Add(whole[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		im, _, err := Open(path, nil)
		if err != nil {
			return
		}
		defer im.Close()
		mem := make([]byte, im.Size())
		if im.CopyTo(mem); !im.Equal(mem) {
			t.Error("a copy differs")
		}
	})
}

func TestUnfit(t *testing.T) {
	mem := anonymous(t, 128<<10)
	if _, err := Memory(mem[1 : 1+64<<10]); !errors.Is(err, ErrUnfit) {
		t.Errorf("not at a page: %v", err)
	}
	if _, err := Memory(mem[:100]); !errors.Is(err, ErrUnfit) {
		t.Errorf("not whole pages: %v", err)
	}
	if _, err := Memory(nil); !errors.Is(err, ErrUnfit) {
		t.Errorf("nothing: %v", err)
	}
	im, err := New(memory(t, mem))
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.Map(mem[:64<<10], Best()); !errors.Is(err, ErrUnfit) {
		t.Errorf("another size: %v", err)
	}
}

// TestSealed: an image cannot be written through its file.
func TestSealed(t *testing.T) {
	mem := anonymous(t, 64<<10)
	mem[0] = 1
	im, err := New(memory(t, mem))
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.file.WriteAt([]byte{2}, int64(pageSize)); err == nil {
		t.Error("it was written")
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, m := range methods() {
		for _, pages := range []int{1, 16} {
			b.Run(m.String()+"/"+string(rune('0'+pages/10))+string(rune('0'+pages%10))+" pages", func(b *testing.B) {
				source := anonymous(b, 4<<20)
				for i := range 1 << 20 {
					source[i] = byte(i)
				}
				im, err := New(memory(b, source))
				if err != nil {
					b.Fatal(err)
				}
				defer im.Close()
				mem := anonymous(b, 4<<20)
				p, err := im.Map(mem, m)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					for i := range pages {
						mem[i*5*pageSize] = 1
					}
					if _, err := p.Restore(len(mem), false); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestParts: data segments in any order, one over the other, are the memory they say; many far apart are few mappings.
func TestParts(t *testing.T) {
	r := random()
	for range 50 {
		size := 64 << 10 * (1 + r.IntN(20))
		want := anonymous(t, size)
		var parts []Part
		for range r.IntN(60) {
			p := Part{At: r.IntN(size)}
			p.Data = make([]byte, r.IntN(min(size-p.At, 20_000)))
			for i := range p.Data {
				p.Data[i] = byte(r.Uint32())
			}
			copy(want[p.At:], p.Data)
			parts = append(parts, p)
		}
		s, err := Parts(size, parts, size)
		if err != nil {
			t.Fatal(err)
		}
		im, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		mem := make([]byte, size)
		if im.CopyTo(mem); !bytes.Equal(mem, want) || !im.Equal(want) {
			t.Error("the memory differs")
		}
		if len(im.runs) > maxRuns {
			t.Errorf("%d runs", len(im.runs))
		}
		im.Close()
	}
	if _, err := Parts(100<<20, []Part{{0, []byte{1}}, {99 << 20, []byte{1}}}, 2*pageSize); err != nil {
		t.Errorf("two pages: %v", err)
	}
	var far []Part
	for i := range 100 {
		far = append(far, Part{i << 20, []byte{1}})
	}
	for _, most := range []int{99 * pageSize, 10 << 20} {
		if _, err := Parts(100<<20, far, most); err == nil {
			t.Errorf("data all over 100 MiB took no more than %d bytes", most)
		}
	}
	for _, p := range []Part{{-1, nil}, {64 << 10, []byte{1}}, {1 << 40, nil}} {
		if _, err := Parts(64<<10, []Part{p}, 1<<20); err == nil {
			t.Errorf("a part at %d", p.At)
		}
	}
}

// everyWatch runs a test with every way to learn of faults that this machine has.
func everyWatch(t *testing.T, test func(*testing.T)) {
	own := marks
	defer func() { marks = own }()
	if own() {
		t.Run("marks", test)
	}
	marks = func() bool { return false }
	t.Run("getrusage", test)
}

// TestQuiet: writes to private pages take no fault, and are undone without asking the kernel; the first write to a page
// takes one.
func TestQuiet(t *testing.T) { everyWatch(t, testQuiet) }

func testQuiet(t *testing.T) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	source := patchy(t, 1<<20, random())
	want := bytes.Clone(source)
	im, err := New(memory(t, source))
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	mem := anonymous(t, 1<<20)
	p, err := im.Map(mem, Best())
	if err != nil {
		t.Fatal(err)
	}
	r := random()
	var quiets, faulted int
	var w Watch
	for range 3000 {
		w.Begin()
		for range r.IntN(8) {
			mem[r.IntN(20)*pageSize+r.IntN(pageSize)]++
		}
		if r.IntN(40) == 0 {
			mem[r.IntN(len(mem))]++
		}
		quiet := w.Quiet()
		if quiet {
			quiets++
		} else {
			faulted++
		}
		if _, err := p.Restore(len(mem), quiet); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mem, want) {
			t.Fatalf("the memory differs after %d rounds without a fault and %d with one", quiets, faulted)
		}
	}
	if quiets < 1000 || faulted < 20 {
		t.Errorf("%d rounds without a fault, %d with one", quiets, faulted)
	}
}

// TestWatch: on any thread, and however many there are, no fault goes unseen, whoever looked before; and where there is none
// that is seen as well.
func TestWatch(t *testing.T) { everyWatch(t, testWatch) }

func testWatch(t *testing.T) {
	mem := anonymous(t, 8192*pageSize)
	var next, quiet atomic.Int64
	var wait, meet sync.WaitGroup
	const most = 300 // more than are remembered
	meet.Add(most)
	for range most {
		wait.Go(func() {
			goruntime.LockOSThread()
			defer goruntime.UnlockOSThread()
			meet.Done()
			meet.Wait() // so each has a thread of its own
			var w Watch
			for n := range 50 {
				if n%7 == 0 {
					mem[next.Add(1)*int64(pageSize)] = 1 // a fault that is nobody's
				}
				w.Begin()
				if n%5 == 0 {
					mem[next.Add(1)*int64(pageSize)] = 1
				}
				switch {
				case !w.Quiet():
				case n%5 == 0:
					t.Error("a fault was not seen")
					return
				default:
					quiet.Add(1)
				}
				if n%10 == 0 {
					goruntime.UnlockOSThread()
					goruntime.Gosched()
					goruntime.LockOSThread()
				}
			}
		})
	}
	wait.Wait()
	if quiet.Load() < 1000 {
		t.Errorf("%d times nothing was seen where nothing was", quiet.Load())
	}
}

// TestExtend: what is behind the image is set back to zeros once the mapping reaches that far, by every method, and is counted.
func TestExtend(t *testing.T) {
	source := patchy(t, 64*pageSize, random())
	im, err := New(memory(t, source))
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	for _, m := range []Method{Scan, Pagemap, All} {
		if m < Best() {
			continue
		}
		room := anonymous(t, 256*pageSize)
		p, err := im.MapZeros(room[:len(source)], m)
		if err != nil {
			t.Fatal(err)
		}
		r := random()
		for _, pages := range []int{64, 80, 64, 96, 70, 256, 65} {
			mem := room[:pages*pageSize]
			for range 40 {
				mem[r.IntN(len(mem))]++
			}
			mem[len(mem)-1] = 1
			if err := p.Extend(mem); err != nil {
				t.Fatal(err)
			}
			private, err := p.Restore(len(room), false)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(mem[:len(source)], source) || !allZero(room[len(source):]) || !p.Clean() {
				t.Fatalf("%v, %d pages: the memory differs", m, pages)
			}
			if high := p.High(); private > high || high > len(room) || (private == 0) != (high == 0) {
				t.Errorf("%v, %d pages: %d bytes are private, up to %d", m, pages, private, high)
			}
			room[200*pageSize] = 1 // the guest's no more, or not yet
			if pages == 256 {
				if p.Clean() {
					t.Errorf("%v: a change behind the image was not seen", m)
				}
			}
			room[200*pageSize] = 0
		}
		if p.Extend(room[pageSize:]) == nil || p.Extend(room[:100]) == nil {
			t.Errorf("%v: it reaches over memory that is not its own", m)
		}
	}
}

// TestWatchWithin: a Watch that begins and ends within another one hides nothing from it.
func TestWatchWithin(t *testing.T) {
	everyWatch(t, func(t *testing.T) {
		goruntime.LockOSThread()
		defer goruntime.UnlockOSThread()
		mem := anonymous(t, 300*pageSize)
		for n := range 100 {
			var outer, inner Watch
			outer.Begin()
			mem[3*n*pageSize] = 1
			inner.Begin()
			if n%2 == 0 {
				mem[(3*n+1)*pageSize] = 1
			}
			if inner.Quiet() && n%2 == 0 {
				t.Fatal("a fault was not seen by the inner one")
			}
			if outer.Quiet() {
				t.Fatal("a fault was not seen by the outer one")
			}
		}
	})
}

// TestTouch: what the kernel writes into a page that was touched is seen.
func TestTouch(t *testing.T) {
	everyWatch(t, func(t *testing.T) {
		goruntime.LockOSThread()
		defer goruntime.UnlockOSThread()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		mem := anonymous(t, 400*pageSize)
		took := int64(0)
		for n := range 100 {
			p := mem[(4*n+1)*pageSize-1:][:pageSize+2] // three pages
			if _, err := w.Write(bytes.Repeat([]byte{7}, len(p))); err != nil {
				t.Fatal(err)
			}
			var watch Watch
			watch.Begin()
			Touch(p)
			if watch.Quiet() {
				t.Fatal("touching took no fault")
			}
			before := Faults()
			if _, err := unix.Read(int(r.Fd()), p); err != nil {
				t.Fatal(err)
			}
			took += Faults() - before
			if p[0] != 7 || p[len(p)-1] != 7 {
				t.Fatal("what was read is not there")
			}
		}
		if took > 20 { // some may be anybody's
			t.Errorf("the kernel took %d faults in 300 pages that were touched", took)
		}
		Touch(nil)
	})
}

// BenchmarkWatch is what looking for faults costs a call.
func BenchmarkWatch(b *testing.B) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	var w Watch
	for b.Loop() {
		w.Begin()
		w.Quiet()
	}
}
