package mailbox

// Latest reduces changes of who is there to what each key needs: nothing if it came and went, its loss, its loss and return, or
// its appearance. of tells a change's key, and whether it is a loss; lost makes the loss of a key. It is what a mailbox of such
// changes is reduced by: whoever hears only these ends up knowing the same.
func Latest[T any](changes []T, of func(*T) (key string, gone bool), lost func(key string) T) []T {
	type net struct {
		lost, back bool
		last       T
	}
	var order []string
	keys := map[string]*net{}
	for i := range changes {
		key, gone := of(&changes[i])
		k := keys[key]
		if k == nil {
			k = &net{}
			keys[key] = k
			order = append(order, key)
		}
		switch {
		case !gone:
			k.back, k.last = true, changes[i]
		case k.back:
			k.back = false
		default:
			k.lost = true
		}
	}
	out := changes[:0]
	for _, key := range order {
		k := keys[key]
		if k.lost {
			out = append(out, lost(key))
		}
		if k.back {
			out = append(out, k.last)
		}
	}
	return out
}
