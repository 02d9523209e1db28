package guest

import (
	"time"

	"github.com/essa-project/essad/sdk/lattice"
)

// Key names a value in the store. As an argument or a result it is upstream's ClientKey, a string.
type Key string

// Put merges v into what is stored under key. When it returns nil the store has acknowledged it, and whoever waits for
// this call's result will see it. A value of another type than the stored one is refused.
func Put(key Key, v lattice.Value) error {
	return failed("put", string(key), hostPut(string(key), lattice.Encode(v)))
}

// TryGet returns what is stored under key; ok is false where there is nothing.
func TryGet(key Key) (v lattice.Value, ok bool, err error) {
	data, c := hostGet(string(key))
	if c == NotFound {
		return nil, false, nil
	}
	v, err = decodeValue(key, data, c)
	return v, err == nil, err
}

// Get returns what is stored under key and waits until there is something. It ends at the latest when the call's time is
// up.
func Get(key Key) (lattice.Value, error) {
	data, c := hostWait(string(key))
	return decodeValue(key, data, c)
}

// GetEncoded is TryGet without decoding: the bincode form of what is stored under key, NotFound where there is nothing.
func GetEncoded(key Key) ([]byte, error) {
	data, c := hostGet(string(key))
	return data, failed("get", string(key), c)
}

func decodeValue(key Key, data []byte, c Code) (lattice.Value, error) {
	if c != OK {
		return nil, failed("get", string(key), c)
	}
	v, err := lattice.Decode(data)
	if err != nil {
		return nil, &Error{Op: "get", Name: string(key), Code: InvalidResult, Detail: err.Error()}
	}
	return v, nil
}

// TryGetAs is TryGet for a value known to be a T; one of another type is InvalidResult.
func TryGetAs[T lattice.Value](key Key) (v T, ok bool, err error) {
	got, ok, err := TryGet(key)
	if err != nil || !ok {
		return v, false, err
	}
	v, err = as[T](key, got)
	return v, err == nil, err
}

// GetAs is Get for a value known to be a T; one of another type is InvalidResult.
func GetAs[T lattice.Value](key Key) (v T, err error) {
	got, err := Get(key)
	if err != nil {
		return v, err
	}
	return as[T](key, got)
}

func as[T lattice.Value](key Key, got lattice.Value) (T, error) {
	v, ok := got.(T)
	if !ok {
		return v, &Error{
			Op: "get", Name: string(key), Code: InvalidResult,
			Detail: "it holds a value of type " + got.Tag().String() + ", not " + v.Tag().String(),
		}
	}
	return v, nil
}

// Now is the time for a value that the last writer wins.
func Now() lattice.Timestamp { return lattice.TimeOf(time.Now()) }

// PutString sets key to text: of several, the last one by the clock wins.
func PutString(key Key, text string) error { return PutBytes(key, []byte(text)) }

// PutBytes sets key to data: of several, the last one by the clock wins.
func PutBytes(key Key, data []byte) error {
	return Put(key, lattice.LWW{Time: Now(), Data: data})
}

// AddToSet adds elements to the set under key, which begins to exist with the first.
func AddToSet(key Key, elements ...string) error {
	elems := make([][]byte, len(elements))
	for i, e := range elements {
		elems[i] = []byte(e)
	}
	return Put(key, lattice.NewSet(elems...))
}

// SetOf returns the elements of the set under key in ascending order, none where there is no set.
func SetOf(key Key) ([]string, error) {
	s, _, err := TryGetAs[lattice.Set](key)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(s.Elements()))
	for i, e := range s.Elements() {
		out[i] = string(e)
	}
	return out, nil
}
