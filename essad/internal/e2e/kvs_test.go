package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
)

// The commands of the ancestors' shell, and their forms of output.
func TestKVSCommands(t *testing.T) {
	t.Parallel()
	d, k := shared(t), keys("cmd")
	d.prints("Success!\n", "kvs", "PUT", k("a"), "b")
	d.prints("b\n", "kvs", "GET", k("a"))
	d.prints("Success!\n", "kvs", "put", k("a"), "c d")
	d.prints("c d\n", "kvs", "get", k("a"))
	d.prints("Success!\n", "kvs", "PUT_SET", k("set"), "b", "a")
	d.prints("Success!\n", "kvs", "PUT_SET", k("set"), "c", "a")
	d.prints("{ a b c }\n", "kvs", "GET_SET", k("set"))
	d.prints("Success!\n", "kvs", "PUT_CAUSAL", k("causal"), "v")
	d.prints("{test : 1}\ndep1 : {test1 : 1}\nv\n", "kvs", "GET_CAUSAL", k("causal"))
	d.prints("Success!\n", "kvs", "PUT", k("empty"), "")
	d.prints("\n", "kvs", "GET", k("empty"))

	scan := d.must("kvs", "SCAN", k(""))
	wantAll(t, "SCAN", scan, k("a"), k("causal"), k("empty"), k("set"))
	if n := strings.Count(scan, "\n"); n != 5 {
		t.Errorf("SCAN cmd/ prints %d lines, want a head and 4 keys:\n%s", n, scan)
	}
	d.prints("Success!\n", "kvs", "DELETE", k("a"))
	const notFound = 66
	d.fails(notFound, []string{k("a")}, "kvs", "GET", k("a"))
	d.fails(notFound, []string{k("a")}, "kvs", "DELETE", k("a"))
	d.fails(notFound, []string{k("none")}, "kvs", "GET_SET", k("none"))
	d.fails(notFound, []string{k("none")}, "kvs", "GET_CAUSAL", k("none"))
	if out := d.must("kvs", "SCAN", k("a")); strings.Contains(out, k("a")) {
		t.Errorf("SCAN shows a deleted key:\n%s", out)
	}
	d.prints("Success!\n", "kvs", "PUT", k("a"), "again") // after its deletion, of the same type
	d.prints("Success!\n", "kvs", "DELETE", k("a"))
	d.prints("Success!\n", "kvs", "PUT_SET", k("a"), "x") // and of another
	d.prints("{ x }\n", "kvs", "GET_SET", k("a"))
}

func TestKVSWrongType(t *testing.T) {
	t.Parallel()
	d := shared(t)
	puts := map[string][]string{"GET": {"PUT", "v"}, "GET_SET": {"PUT_SET", "v"}, "GET_CAUSAL": {"PUT_CAUSAL", "v"}}
	const conflict = 73
	for reader, put := range puts {
		key := "type/" + reader
		d.must("kvs", put[0], key, put[1])
		for other, wrong := range puts {
			if other == reader {
				continue
			}
			d.fails(conflict, []string{key, "read it with " + reader}, "kvs", other, key)
			d.fails(conflict, []string{key}, "kvs", wrong[0], key, "w")
		}
		wantAll(t, "a value after writes of wrong types", d.must("kvs", reader, key), "v")
	}
}

func TestKVSBadInput(t *testing.T) {
	t.Parallel()
	d := shared(t)
	const usage, invalid = 64, 65
	d.prints("Success!\n", "kvs", "PUT", "", "a key without a byte is one")
	d.prints("a key without a byte is one\n", "kvs", "GET", "")
	d.prints("Success!\n", "kvs", "DELETE", "")
	d.fails(invalid, []string{"usage: PUT KEY VALUE"}, "kvs", "PUT", "k")
	d.fails(invalid, []string{"usage: GET KEY"}, "kvs", "GET", "a", "b")
	d.fails(invalid, []string{"`FROB`", "GET_SET", "WATCH"}, "kvs", "FROB", "k")
	d.fails(usage, []string{"xml"}, "kvs", "GET", "k", "--output", "xml")
	long := strings.Repeat("k", 4097)
	if r := d.run("kvs", "PUT", long, "v"); r.code != invalid && r.code != 76 {
		t.Errorf("a key of %d bytes: code %d\n%s", len(long), r.code, tail(r.err, 500))
	} else {
		wantAll(t, "the error of a long key", r.err, "4097", "4096")
	}
	d.must("kvs", "PUT", "bad/"+strings.Repeat("k", 4092), "v")

	_, k := d.client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	put := func(key, value []byte) error {
		_, err := k.Merge(ctx, client.UserSpace, "", key, value)
		return err
	}
	good := lattice.Encode(lattice.NewSet([]byte("x")))
	for name, value := range map[string][]byte{
		"nothing":         {},
		"half a tag":      good[:2],
		"unknown tag":     {99, 0, 0, 0},
		"half a value":    good[:len(good)-1],
		"huge count":      append(bytes.Clone(good[:4]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"no timestamp":    append(bytes.Clone(make([]byte, 4)), 3, 0, 0, 0, 0, 0, 0, 0, 'n', 'o', 't', 0, 0, 0, 0, 0, 0, 0, 0),
		"from the future": lattice.Encode(lattice.LWW{Time: lattice.TimeOf(time.Now().Add(time.Hour)), Data: []byte("x")}),
	} {
		if err := put([]byte("bad/garbage"), value); status.Of(err) != status.Invalid {
			t.Errorf("putting %s: %v, want an invalid error", name, err)
		}
	}
	if _, err := k.Set(ctx, client.UserSpace, "", []byte("bad/big"), make([]byte, 17<<20), client.PutOptions{}); err == nil {
		t.Error("a value over the limit was stored")
	} else if c := status.Of(err); c != status.Invalid && c != status.Limit {
		t.Errorf("a value over the limit: class %v, %v", c, err)
	}
	if _, err := k.Set(ctx, client.UserSpace, "", []byte("bad/almost"), make([]byte, 15<<20), client.PutOptions{}); err != nil {
		t.Errorf("a value just under the limit: %v", err)
	}
	_, _ = k.Delete(ctx, client.UserSpace, "", []byte("bad/almost"), client.PutOptions{})
	for _, space := range []client.Space{client.DataSpace, client.ModuleSpace, client.RegistrySpace, client.MetadataSpace} {
		if _, err := k.Set(ctx, space, "x", []byte("k"), []byte("v"), client.PutOptions{}); err == nil {
			t.Errorf("a client wrote to space %v", space)
		}
		if _, err := k.Load(ctx, space, "x", []byte("k"), false); err == nil || status.Of(err) == status.NotFound {
			t.Errorf("a client read from space %v: %v", space, err)
		}
	}
	d.fails(66, nil, "kvs", "GET", "bad/garbage")
}

func TestKVSExpiry(t *testing.T) {
	t.Parallel()
	d := shared(t)
	_, k := d.client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for key, ttl := range map[string]time.Duration{"ttl/short": 300 * time.Millisecond, "ttl/long": time.Hour} {
		if _, err := k.Set(ctx, client.UserSpace, "", []byte(key), []byte("v"), client.PutOptions{TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a key has expired", func() bool { return d.run("kvs", "GET", "ttl/short").code == 66 })
	out := d.must("kvs", "SCAN", "ttl/")
	if strings.Contains(out, "ttl/short") || !strings.Contains(out, "ttl/long") || !strings.Contains(out, "in ") {
		t.Errorf("SCAN shows\n%s", out)
	}
	one := client.PutOptions{If: client.Is(0)}
	if _, err := k.Set(ctx, client.UserSpace, "", []byte("ttl/long"), []byte("w"), one); status.Of(err) != status.Conflict {
		t.Errorf("a put on condition that the key is absent: %v", err)
	}
	if _, err := k.Set(ctx, client.UserSpace, "", []byte("ttl/short"), []byte("w"), one); err != nil {
		t.Errorf("a put on condition that an expired key is absent: %v", err)
	}
}

func TestKVSWatch(t *testing.T) {
	t.Parallel()
	d, k := shared(t), keys("watched")
	f := d.follow("kvs", "WATCH", k(""))
	seen := make(chan string, 64)
	go func() {
		defer close(seen)
		for l := f.line(); l != ""; l = f.line() {
			seen <- l
		}
	}()
	n := 0
	eventually(t, "a watcher sees a change", func() bool {
		n++
		d.must("kvs", "PUT", k("a"), fmt.Sprint(n))
		select {
		case l := <-seen:
			if l != fmt.Sprintf("%s = %d\n", k("a"), n) {
				t.Errorf("after value %d was put the watcher prints %q", n, l)
			}
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	d.must("kvs", "PUT", "unwatched", "x")
	d.must("kvs", "PUT_SET", k("set"), "x")
	d.must("kvs", "DELETE", k("a"))
	for _, want := range []string{k("set") + " = { x }\n", k("a") + " deleted\n"} {
		select {
		case l := <-seen:
			if l != want {
				t.Errorf("the watcher prints %q, want %q", l, want)
			}
		case <-time.After(patience):
			t.Fatalf("the watcher does not print %q", want)
		}
	}
	_ = f.cmd.Process.Signal(os.Interrupt)
	for range seen {
	}
	_ = f.cmd.Wait()
}

func TestKVSScript(t *testing.T) {
	t.Parallel()
	d := shared(t)
	r := d.runIn("# a comment\n\nPUT script/a 1\nPUT_SET script/s x y\nGET script/a\n  get_set script/s\nquit\nPUT script/b 2\n", "kvs")
	if want := "Success!\nSuccess!\n1\n{ x y }\n"; r.code != 0 || r.out != want {
		t.Errorf("a script prints %q and ends with %d\n%s", r.out, r.code, r.err)
	}
	d.fails(66, nil, "kvs", "GET", "script/b")
	r = d.runIn("PUT script/c 1\nGET script/none\nPUT script/d 1\n", "kvs")
	if r.code != 66 {
		t.Errorf("a script that fails ends with %d", r.code)
	}
	wantAll(t, "the error of a script", r.err, "line 2", "script/none")
	d.fails(66, nil, "kvs", "GET", "script/d")
	r = d.runIn("PUT script/e 1\nPUT script/f "+strings.Repeat("v", 64<<20), "kvs")
	if r.code != 65 {
		t.Errorf("a script with an endless line ends with %d", r.code)
	}
	wantAll(t, "the error of an endless line", r.err, "line 2", "67108864 bytes")
	d.prints("1\n", "kvs", "GET", "script/e")
}

func TestKVSJSON(t *testing.T) {
	t.Parallel()
	d, k := shared(t), keys("json")
	if m := d.doc("kvs", "PUT", k("a"), "v"); m["version"] == nil {
		t.Errorf("PUT: %v", m)
	}
	if m := d.doc("kvs", "GET", k("a")); m["value"] != "v" || m["timestamp"] == "" {
		t.Errorf("GET: %v", m)
	}
	d.docs("kvs", "PUT_SET", k("s"), "x")
	if m := d.doc("kvs", "GET_SET", k("s")); fmt.Sprint(m["elements"]) != "[x]" {
		t.Errorf("GET_SET: %v", m)
	}
	d.docs("kvs", "PUT_CAUSAL", k("c"), "v")
	if m := d.doc("kvs", "GET_CAUSAL", k("c")); fmt.Sprint(m["vector_clock"], m["values"]) != "map[test:1] [v]" {
		t.Errorf("GET_CAUSAL: %v", m)
	}
	if docs := d.docs("kvs", "SCAN", k("")); len(docs) != 3 {
		t.Errorf("SCAN: %v", docs)
	}
	if m := d.doc("kvs", "DELETE", k("a")); m["deleted"] != true {
		t.Errorf("DELETE: %v", m)
	}
	r := d.run("-o", "json", "kvs", "GET", k("a"))
	var e map[string]string
	if err := json.Unmarshal([]byte(r.err), &e); err != nil || e["class"] != "not_found" || e["error"] == "" || r.code != 66 {
		t.Errorf("the error as JSON: %q, code %d", r.err, r.code)
	}
}

// An export holds all there is: a fresh daemon that imports it has the keys, and runs the functions with their state.
func TestExportImport(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t)
	a.must("kvs", "PUT", "k", "v")
	a.must("kvs", "PUT_SET", "s", "x", "y")
	a.must("kvs", "PUT", "dead", "v")
	a.must("kvs", "DELETE", "dead")
	a.must("deploy", "rude", rude, "--env", "A=1")
	a.must("deploy", "rude", rude, "--env", "A=2")
	a.must("call", "rude", "tick", "--arg", "ticks", "--arg", "u64:0")
	file := filepath.Join(t.TempDir(), "export")
	a.must("kvs", "export", file)
	const invalid = 65
	a.fails(invalid, []string{file}, "kvs", "export", file) // never over a file that is there

	b.must("kvs", "PUT", "own", "stays")
	b.must("kvs", "import", file)
	b.must("kvs", "import", file) // merging twice changes nothing
	b.prints("v\n", "kvs", "GET", "k")
	b.prints("{ x y }\n", "kvs", "GET_SET", "s")
	b.prints("stays\n", "kvs", "GET", "own")
	b.fails(66, nil, "kvs", "GET", "dead")
	b.prints("1\n", "call", "rude", "count", "--arg", "ticks", "--as", "u64")
	b.prints("A=2\n\n", "call", "rude", "getenv", "--as", "str")
	b.must("rollback", "rude")
	b.prints("A=1\n\n", "call", "rude", "getenv", "--as", "str")
	b.kill()
	b.start()
	b.prints("v\n", "kvs", "GET", "k")
	b.prints("1\n", "call", "rude", "count", "--arg", "ticks", "--as", "u64")

	raw := readFile(t, file)
	const corrupt = 71
	for name, c := range map[string]struct {
		data []byte
		code int
	}{
		"nothing":        {nil, invalid},
		"something else": {[]byte("hello"), invalid},
		"half":           {raw[:len(raw)/2], corrupt},
		"without end":    {raw[:bytes.LastIndexByte(raw[:len(raw)-1], '\n')+1], corrupt},
	} {
		if r := b.runIn(string(c.data), "kvs", "import"); r.code != c.code {
			t.Errorf("importing %s: code %d, want %d\n%s", name, r.code, c.code, r.err)
		}
	}
}
