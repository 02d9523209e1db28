package admit

// NoFuelLimit is the fuel that a guest begins with: more than it can use.
const NoFuelLimit = 1 << 62

// Slice returns what the host sets GlobalSlice and GlobalFuel to before it enters a guest that may use so much fuel, of a
// module that was admitted with these options. A limit of 0 is none.
func (o Options) Slice(limit int64) (slice int32, fuel int64) {
	if limit <= 0 || limit > NoFuelLimit {
		limit = NoFuelLimit
	}
	if !o.InPlace {
		slice = int32(min(limit, int64(o.withDefaults().SliceUnits)))
	}
	return slice, limit - int64(slice)
}

// Left returns the fuel that a guest has left by the values of both globals. It is negative where the guest has used up its fuel,
// by what it has overdrawn: then the guest was ended, or it returned before its next check, and the host is to take that for
// the same.
func Left(slice int32, fuel int64) int64 { return fuel + int64(slice) }
