package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/lattice"
	"github.com/essa-project/essad/sdk/status"
)

// kvsCommand is one command of the shell. max < 0 means any number of arguments.
type kvsCommand struct {
	name     string
	usage    string
	min, max int
	run      func(*kvsShell, context.Context, []string) error
}

var kvsCommands = []kvsCommand{
	{"GET", "KEY", 1, 1, (*kvsShell).get},
	{"PUT", "KEY VALUE", 2, 2, (*kvsShell).put},
	{"GET_SET", "KEY", 1, 1, (*kvsShell).getSet},
	{"PUT_SET", "KEY VALUE...", 1, -1, (*kvsShell).putSet},
	{"GET_CAUSAL", "KEY", 1, 1, (*kvsShell).getCausal},
	{"PUT_CAUSAL", "KEY VALUE", 2, 2, (*kvsShell).putCausal},
	{"DELETE", "KEY", 1, 1, (*kvsShell).del},
	{"SCAN", "[PREFIX]", 0, 1, (*kvsShell).scan},
	{"WATCH", "[PREFIX]", 0, 1, (*kvsShell).watch},
}

// read fetches a value and checks its type.
func read[V lattice.Value](sh *kvsShell, ctx context.Context, key string) (v V, version uint64, err error) {
	got, version, err := sh.kvs.Get(ctx, client.UserSpace, "", []byte(key))
	if status.Of(err) == status.NotFound {
		return v, 0, status.Errorf(status.NotFound, "there is no key %s", named(key))
	}
	if err != nil {
		return v, 0, err
	}
	v, ok := got.(V)
	if !ok {
		return v, 0, status.Errorf(status.Conflict, "key %s holds a value of type %s; read it with %s", named(key), got.Tag(), readerOf(got.Tag()))
	}
	return v, version, nil
}

// named is a key as errors quote it: one that is too long to be read is cut.
func named(key string) string {
	const most = 64
	if len(key) > most {
		return fmt.Sprintf("%q...", key[:most])
	}
	return strconv.Quote(key)
}

func readerOf(t lattice.Tag) string {
	switch t {
	case lattice.TagLWW:
		return "GET"
	case lattice.TagSet:
		return "GET_SET"
	case lattice.TagMultiCausal:
		return "GET_CAUSAL"
	}
	return "SCAN"
}

// success answers a write, in the words of the ancestors.
func (sh *kvsShell) success(key string, version uint64) error {
	if sh.output == "json" {
		return sh.printJSON(map[string]any{"key": key, "version": version})
	}
	_, err := fmt.Fprintln(sh.out, "Success!")
	return err
}

func (sh *kvsShell) get(ctx context.Context, args []string) error {
	v, version, err := read[lattice.LWW](sh, ctx, args[0])
	if err != nil {
		return err
	}
	if sh.output == "json" {
		return sh.printJSON(map[string]any{"key": args[0], "version": version, "timestamp": v.Time.String(), "value": text(v.Data)})
	}
	_, err = fmt.Fprintf(sh.out, "%s\n", v.Data)
	return err
}

func (sh *kvsShell) put(ctx context.Context, args []string) error {
	version, err := sh.kvs.Set(ctx, client.UserSpace, "", []byte(args[0]), []byte(args[1]), client.PutOptions{})
	if err != nil {
		return fmt.Errorf("put %s: %w", named(args[0]), err)
	}
	return sh.success(args[0], version)
}

func (sh *kvsShell) getSet(ctx context.Context, args []string) error {
	v, version, err := read[lattice.Set](sh, ctx, args[0])
	if err != nil {
		return err
	}
	elems := texts(v.Elements())
	slices.Sort(elems)
	if sh.output == "json" {
		return sh.printJSON(map[string]any{"key": args[0], "version": version, "elements": elems})
	}
	_, err = fmt.Fprintf(sh.out, "{ %s }\n", strings.Join(elems, " "))
	return err
}

func (sh *kvsShell) putSet(ctx context.Context, args []string) error {
	var elems [][]byte
	for _, e := range args[1:] {
		elems = append(elems, []byte(e))
	}
	return sh.merge(ctx, args[0], lattice.NewSet(elems...))
}

func (sh *kvsShell) merge(ctx context.Context, key string, v lattice.Value) error {
	version, err := sh.kvs.Put(ctx, client.UserSpace, "", []byte(key), v, client.PutOptions{})
	if err != nil {
		return fmt.Errorf("put %s: %w", named(key), err)
	}
	return sh.success(key, version)
}

// putCausal writes the clock and dependency that the ancestors' command writes, so that their scripts see the same.
func (sh *kvsShell) putCausal(ctx context.Context, args []string) error {
	one := func(id string) lattice.VectorClock { return lattice.NewVectorClock(lattice.ClockEntry{ID: id, N: 1}) }
	deps := []lattice.Dependency{{Key: "dep1", Clock: one("test1")}}
	return sh.merge(ctx, args[0], lattice.NewMultiCausal(one("test"), deps, []byte(args[1])))
}

func (sh *kvsShell) getCausal(ctx context.Context, args []string) error {
	v, version, err := read[lattice.MultiCausal](sh, ctx, args[0])
	if err != nil {
		return err
	}
	if sh.output == "json" {
		deps := map[string]any{}
		for _, d := range v.Dependencies() {
			deps[d.Key] = clockMap(d.Clock)
		}
		return sh.printJSON(map[string]any{
			"key": args[0], "version": version, "vector_clock": clockMap(v.Clock()), "dependencies": deps, "values": texts(v.Values()),
		})
	}
	for _, e := range v.Clock().Entries() {
		fmt.Fprintf(sh.out, "{%s : %d}\n", e.ID, e.N)
	}
	for _, d := range v.Dependencies() {
		fmt.Fprintf(sh.out, "%s : ", d.Key)
		for _, e := range d.Clock.Entries() {
			fmt.Fprintf(sh.out, "{%s : %d}\n", e.ID, e.N)
		}
	}
	for _, x := range texts(v.Values()) {
		fmt.Fprintln(sh.out, x)
	}
	return nil
}

func clockMap(c lattice.VectorClock) map[string]uint64 {
	m := map[string]uint64{}
	for _, e := range c.Entries() {
		m[e.ID] = e.N
	}
	return m
}

func (sh *kvsShell) del(ctx context.Context, args []string) error {
	found, err := sh.kvs.Delete(ctx, client.UserSpace, "", []byte(args[0]), client.PutOptions{})
	if err != nil {
		return fmt.Errorf("delete %s: %w", named(args[0]), err)
	}
	if !found {
		return status.Errorf(status.NotFound, "there is no key %s", named(args[0]))
	}
	if sh.output == "json" {
		return sh.printJSON(map[string]any{"key": args[0], "deleted": true})
	}
	_, err = fmt.Fprintln(sh.out, "Success!")
	return err
}

func (sh *kvsShell) scan(ctx context.Context, args []string) error {
	o := client.ScanOptions{}
	if len(args) > 0 {
		o.Prefix = []byte(args[0])
	}
	w := sh.table("KEY", "TYPE", "BYTES", "VERSION", "EXPIRES")
	enc := json.NewEncoder(sh.out)
	var failed error
	err := sh.kvs.ScanAll(ctx, client.UserSpace, "", o, func(i client.Item) bool {
		if sh.output == "json" {
			failed = enc.Encode(itemJSON(i))
			return failed == nil
		}
		row(w, text(i.Key), typeOf(i.Value), len(i.Value), i.Version, expiry(i.Expires))
		return true
	})
	if err != nil {
		return err
	}
	if failed != nil || sh.output == "json" {
		return failed
	}
	return w.Flush()
}

func (sh *kvsShell) watch(ctx context.Context, args []string) error {
	o := client.WatchOptions{Prefix: true}
	if len(args) > 0 {
		o.Key = []byte(args[0])
	}
	enc := json.NewEncoder(sh.out)
	return sh.kvs.Watch(ctx, client.UserSpace, "", o, func(i client.Item) {
		switch {
		case sh.output == "json":
			_ = enc.Encode(itemJSON(i))
		case i.Deleted:
			fmt.Fprintf(sh.out, "%s deleted\n", text(i.Key))
		default:
			fmt.Fprintf(sh.out, "%s = %s\n", text(i.Key), show(i.Value))
		}
	})
}

func itemJSON(i client.Item) map[string]any {
	m := map[string]any{"key": text(i.Key), "version": i.Version}
	if i.Deleted {
		m["deleted"] = true
		return m
	}
	m["type"], m["value"] = typeOf(i.Value), show(i.Value)
	if !i.Expires.IsZero() {
		m["expires"] = i.Expires.UTC()
	}
	return m
}

func typeOf(encoded []byte) string {
	t, err := lattice.TagOf(encoded)
	if err != nil {
		return "?"
	}
	return t.String()
}

func expiry(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return "in " + time.Until(t).Round(time.Second).String()
}

// show gives a value of any type in one line.
func show(encoded []byte) string {
	v, err := lattice.Decode(encoded)
	if err != nil {
		return fmt.Sprintf("%d bytes that cannot be read: %v", len(encoded), err)
	}
	switch v := v.(type) {
	case lattice.LWW:
		return text(v.Data)
	case lattice.Set:
		return "{ " + strings.Join(texts(v.Elements()), " ") + " }"
	case lattice.OrderedSet:
		return "[ " + strings.Join(texts(v.Elements()), " ") + " ]"
	case lattice.SingleCausal:
		return fmt.Sprintf("%v %s", clockMap(v.Clock()), strings.Join(texts(v.Values()), " | "))
	case lattice.MultiCausal:
		return fmt.Sprintf("%v %s", clockMap(v.Clock()), strings.Join(texts(v.Values()), " | "))
	case lattice.Counter:
		return fmt.Sprint(v.Value())
	case lattice.Priority:
		return fmt.Sprintf("%v: %s", v.Priority, text(v.Data))
	}
	return fmt.Sprintf("%s of %d bytes", v.Tag(), len(encoded))
}

// text shows bytes as they are where they are printable, quoted where not.
func text(b []byte) string {
	if utf8.Valid(b) && !strings.ContainsFunc(string(b), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return string(b)
	}
	return fmt.Sprintf("%q", b)
}

func texts(bs [][]byte) []string {
	out := make([]string, len(bs))
	for i, b := range bs {
		out[i] = text(b)
	}
	return out
}
