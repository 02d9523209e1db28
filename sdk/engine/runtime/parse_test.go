package runtime

import (
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

func TestParseSettings(t *testing.T) {
	s, err := ParseSettings(map[string]string{"workers": "3", "memory": "1.5GiB", "compile_time": "2m", "cache_bytes": "0", "own": "x"}, "own")
	if err != nil {
		t.Fatal(err)
	}
	if s.Workers != 3 || s.Memory != 3<<29 || s.CompileTime != 2*time.Minute || s.CacheBytes >= 0 || s.Queue != 4096 {
		t.Errorf("%+v", s)
	}
	for name, wrong := range map[string]map[string]string{
		"words":    {"workers": "many", "memory": "much", "compile_time": "5"},
		"bounds":   {"workers": "-1", "memory": "1KiB", "compile_time": "1ms"},
		"unknown":  {"wrokers": "1"},
		"fraction": {"memory": "0.3B"},
	} {
		_, err := ParseSettings(wrong, "own")
		if status.Of(err) != status.Invalid {
			t.Fatalf("%s: %v", name, err)
		}
		for key := range wrong {
			if !strings.Contains(err.Error(), key) {
				t.Errorf("%s: %q does not name %s", name, err, key)
			}
		}
	}
}
