package admit

// Subsections of the custom section "name" that engines read.
const (
	nameModule = iota
	nameFunctions
	nameLocals
)

// namesWellFormed tells whether the rest of r is the contents of a "name" section. Names are of no consequence, so a section
// that is not is left out rather than refused; but it must not reach an engine, as some believe the counts in it.
func namesWellFormed(r reader) bool {
	for r.left() > 0 && r.err == nil {
		id := r.byte()
		sub := r.sub(int(r.u32()))
		switch id {
		case nameModule:
			sub.name()
		case nameFunctions:
			sub.names()
		case nameLocals:
			for n := sub.count("functions with names of locals", 2); n > 0 && sub.err == nil; n-- {
				sub.u32()
				sub.names()
			}
		default:
			sub.skip(sub.left())
		}
		if sub.err != nil || sub.left() > 0 {
			return false
		}
	}
	return r.err == nil
}

// names reads a vector of indices and names.
func (r *reader) names() {
	for n := r.count("names", 2); n > 0 && r.err == nil; n-- {
		r.u32()
		r.name()
	}
}
