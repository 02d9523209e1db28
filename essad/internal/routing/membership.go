package routing

import (
	"slices"
	"strings"
	"time"
)

// member is one role of one node.
type member struct {
	role, node string
}

// membership is who is alive. It is pure: what appears and vanishes goes in, what changed comes out.
type membership struct {
	since map[member]time.Time
}

// appear adds a member and reports whether it is new.
func (m *membership) appear(x member, now time.Time) bool {
	if m.since == nil {
		m.since = map[member]time.Time{}
	}
	if _, known := m.since[x]; known {
		return false
	}
	m.since[x] = now
	return true
}

// vanish removes a member and reports whether it was known.
func (m *membership) vanish(x member) bool {
	_, known := m.since[x]
	delete(m.since, x)
	return known
}

// list returns the members by node, then role.
func (m *membership) list() []member {
	out := make([]member, 0, len(m.since))
	for x := range m.since {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b member) int {
		if c := strings.Compare(a.node, b.node); c != 0 {
			return c
		}
		return strings.Compare(a.role, b.role)
	})
	return out
}
