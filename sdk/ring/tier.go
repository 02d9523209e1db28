package ring

// Tier is a kind of node by where its values live.
type Tier uint8

// The tiers.
const (
	Memory Tier = iota
	Disk
	tiers
)

// String names the tier as configuration and messages do.
func (t Tier) String() string {
	switch t {
	case Memory:
		return "memory"
	case Disk:
		return "disk"
	}
	return "unknown tier"
}

// Factor says how often a key is replicated in one tier: on how many nodes, and on how many shards of each. A Global of 0
// means that the tier does not hold the key; a Local below 1 counts as 1.
type Factor struct {
	Global int
	Local  int
}

// Factors are a key's factors in all tiers.
type Factors [tiers]Factor

// View is the cluster as one member sees it: a ring per tier. It is a value; changes make new ones.
type View struct {
	rings [tiers]*Ring
}

// NewView returns a view of the nodes of both tiers, either of which may be nil.
func NewView(memory, disk *Ring) View { return View{[tiers]*Ring{memory, disk}} }

// Ring returns the ring of a tier; it may be nil, which is an empty ring. A tier that does not exist is empty.
func (v View) Ring(t Tier) *Ring {
	if t >= tiers {
		return nil
	}
	return v.rings[t]
}

// With returns the view with the ring of t replaced. A tier that does not exist changes nothing.
func (v View) With(t Tier, r *Ring) View {
	if t < tiers {
		v.rings[t] = r
	}
	return v
}

// Owner is a node that holds a key.
type Owner struct {
	Node string
	Tier Tier
}

// Owners returns the nodes that hold key: those of the memory tier first, each tier's in the order of its ring. A tier
// with fewer nodes than its factor asks for gives all it has.
func (v View) Owners(key []byte, f Factors) []Owner {
	var out []Owner
	for t := range tiers {
		for _, node := range v.rings[t].Owners(key, f[t].Global) {
			out = append(out, Owner{node, t})
		}
	}
	return out
}

// Holds tells whether node, in tier t, is to hold key.
func (v View) Holds(node string, t Tier, key []byte, f Factors) bool {
	return t < tiers && v.rings[t].Owns(node, key, f[t].Global)
}

// Shards returns which of a node's shards hold key, where the node is one of its owners in tier t.
func (f Factors) Shards(t Tier, key []byte, shards int) []int {
	local := 1
	if t < tiers {
		local = max(1, f[t].Local)
	}
	return Shards(key, shards, local)
}

// Fingerprint identifies the view: members with the same one place every key alike.
func (v View) Fingerprint() uint64 {
	h := uint64(0)
	for _, r := range v.rings {
		h = mix(h*3 + r.Fingerprint())
	}
	return h
}
