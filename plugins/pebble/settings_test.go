package main

import (
	"strings"
	"testing"

	"github.com/essa-project/essad/sdk/status"
)

func TestDefaultSettings(t *testing.T) {
	o, err := ParseSettings(map[string]string{"path": "/data"})
	if err != nil {
		t.Fatal(err)
	}
	want := Options{Path: "/data", Memtable: 32 << 20, Cache: 64 << 20, WriteQueue: 64 << 20, MinFree: 128 << 20, MaxOpenFiles: 1000, SpareLogs: 1, Compression: "fast"}
	if o != want {
		t.Errorf("defaults %+v, want %+v", o, want)
	}
	for _, s := range describe() {
		if s.Doc == "" || s.Type == "" || (s.Default == "" && s.Name != "path") {
			t.Errorf("setting %+v is not described", s)
		}
	}
}

func TestSettings(t *testing.T) {
	o, err := ParseSettings(map[string]string{
		"path": "/p", "memtable": "8 MiB", "cache": "0", "write_queue": "100MB", "min_free": "2GiB", "max_open_files": "64", "spare_logs": "0", "compression": "none",
	})
	want := Options{Path: "/p", Memtable: 8 << 20, Cache: 0, WriteQueue: 100e6, MinFree: 2 << 30, MaxOpenFiles: 64, Compression: "none"}
	if err != nil || o != want {
		t.Errorf("%+v, %v; want %+v", o, err, want)
	}
}

func TestBadSettings(t *testing.T) {
	for _, c := range []struct {
		name, value string
		says        []string
	}{
		{"memtabel", "1MiB", []string{"memtabel", "memtable", "max_open_files"}},
		{"memtable", "much", []string{"memtable", "64MiB", "much"}},
		{"memtable", "1KiB", []string{"memtable", "1048576", "1024"}},
		{"memtable", "9999999TiB", []string{"memtable"}},
		{"cache", "-1", []string{"cache"}},
		{"cache", "64Mib", []string{"cache", "64Mib"}},
		{"max_open_files", "1KiB", []string{"max_open_files", "1000"}},
		{"max_open_files", "", []string{"max_open_files"}},
		{"compression", "zip", []string{"compression", "none, fast, good", "zip"}},
		{"path", "", []string{"path", "missing"}},
		{"path", "data", []string{"path", "absolute", "data"}},
	} {
		block := map[string]string{"path": "/p", c.name: c.value}
		_, err := ParseSettings(block)
		wantError(t, c.name+"="+c.value, err, status.Invalid, c.says...)
	}
	_, err := ParseSettings(map[string]string{"cache": "x", "nothing": "1"})
	if err == nil || strings.Count(err.Error(), ";") < 2 {
		t.Errorf("three mistakes in one message: %v", err)
	}
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"64MiB", "1 GB", "TiB", "9223372036854775807KiB", "-5", "iB", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := number(text, true); ok && n < 0 {
			t.Errorf("%q is %d", text, n)
		}
	})
}
