package config

// migrations bring a file's tree from one version of the format to the next: migrations[0] from 1 to 2, and so on. A
// migration moves and rewrites leaves, which keep their places, so that diagnostics still point into the file as it is
// written. It must not assume that values have the right type.
var migrations []migration

type migration func(tree map[string]any)

// migrate checks the version of a file and brings its tree to the newest one. It returns false where the file cannot be
// read any further, and has reported why.
func (l *layer) migrate(tree map[string]any, steps []migration) bool {
	newest := int64(1 + len(steps))
	v, ok := tree["version"].(leaf)
	if !ok {
		v.Value = int64(1) // the first version; one that is no value is reported by accept
	}
	n, isInt := v.Value.(int64)
	switch {
	case !isInt:
		return true
	case n < 1:
		l.bad[""] = true // nothing of the file is known
		l.report("version", v.Origin, "Write the version the file was made for.", "version: there is no version %d", n)
		return false
	case n > newest:
		l.bad[""] = true
		l.report("version", v.Origin, "Upgrade essad, or start from `essad config default`.",
			"version: the file is of version %d and this essad reads up to %d", n, newest)
		return false
	}
	for _, step := range steps[n-1:] {
		step(tree)
	}
	if ok {
		v.Value = newest
		tree["version"] = v
	}
	return true
}
