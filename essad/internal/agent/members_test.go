package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/essa-project/essad/sdk/status"
)

// Of two daemons with one name, and of two key-value stores, the one that came later has to go, and both agree on which.
func TestMembersConflict(t *testing.T) {
	early, late := time.Unix(100, 0), time.Unix(200, 0)
	a := process{"a", "1", early}
	for _, x := range []struct {
		what        string
		self, other process
		kvs, store  bool
		want        string
	}{
		{"another name", process{"b", "2", late}, a, true, false, ""},
		{"the same name, later", process{"a", "2", late}, a, false, false, `the name "a"`},
		{"the same name, earlier", process{"a", "2", time.Unix(50, 0)}, a, false, false, ""},
		{"the same name and time, by id", process{"a", "2", early}, a, false, false, `the name "a"`},
		{"the same name and time, by id", process{"a", "0", early}, a, false, false, ""},
		{"a second store, later", process{"b", "2", late}, a, true, true, `daemon "a" has the role kvs`},
		{"a second store, earlier", process{"b", "2", time.Unix(50, 0)}, a, true, true, ""},
		{"a store elsewhere", process{"b", "2", late}, a, false, true, ""},
	} {
		for _, storeFirst := range []bool{true, false} {
			m := newMembers(x.self, x.kvs)
			errs := []error{m.daemon(x.self, true)}
			if x.kvs {
				errs = append(errs, m.store(x.self.name, true))
			}
			if x.store && storeFirst {
				errs = append(errs, m.store(x.other.name, true))
			}
			errs = append(errs, m.daemon(x.other, true))
			if x.store && !storeFirst {
				errs = append(errs, m.store(x.other.name, true))
			}
			var got error
			for _, err := range errs {
				if err != nil {
					got = err
				}
			}
			switch {
			case x.want == "" && got != nil:
				t.Errorf("%s: %v", x.what, got)
			case x.want != "" && (status.Of(got) != status.Conflict || !strings.Contains(got.Error(), x.want)):
				t.Errorf("%s: %v, want %s", x.what, got, x.want)
			}
		}
	}
}

func TestMembersGone(t *testing.T) {
	m := newMembers(process{"a", "1", time.Unix(2, 0)}, true)
	b := process{"b", "2", time.Unix(1, 0)}
	if err := m.daemon(b, true); err != nil {
		t.Fatal(err)
	}
	if n := m.nameOf("2"); n != "b" || len(m.names()) != 1 {
		t.Errorf("daemon 2 is %q", n)
	}
	if err := m.daemon(b, false); err != nil || m.nameOf("2") != "" {
		t.Errorf("a daemon that is gone is %q, %v", m.nameOf("2"), err)
	}
	if err := m.store("b", true); err != nil {
		t.Errorf("the store of a daemon that is gone: %v", err)
	}
	if err := m.store("b", false); err != nil {
		t.Error(err)
	}
	if err := m.daemon(b, true); err != nil {
		t.Errorf("a daemon that has no store any more: %v", err)
	}
}
