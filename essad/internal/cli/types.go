package cli

import (
	"fmt"
	"strings"

	"github.com/essa-project/essad/sdk/bincode"
)

// shape is a type of a result: a scalar of argTypes, or one made of others. How deep they nest is bounded by the text.
//
//	vec<T>  option<T>  result<T> (the error is a str)  result<T,E>  map<K,V>  tuple<T,...>  unit
type shape struct {
	name string
	of   []shape
}

// maxElements bounds what is shown of one value, whatever it claims to hold.
const maxElements = 1 << 20

// parseShape reads a type.
func parseShape(text string) (shape, error) {
	p := &shapeParser{rest: strings.ReplaceAll(text, " ", "")}
	s, err := p.shape(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("%q after the type", p.rest)
	}
	if err != nil {
		return shape{}, fmt.Errorf("type %q: %w", text, err)
	}
	return s, nil
}

type shapeParser struct{ rest string }

const maxNesting = 32

func (p *shapeParser) shape(depth int) (shape, error) {
	if depth > maxNesting {
		return shape{}, fmt.Errorf("more than %d types in one another", maxNesting)
	}
	end := strings.IndexAny(p.rest, "<>,")
	if end < 0 {
		end = len(p.rest)
	}
	s := shape{name: p.rest[:end]}
	p.rest = p.rest[end:]
	for sep := "<"; strings.HasPrefix(p.rest, sep); sep = "," {
		p.rest = p.rest[1:]
		inner, err := p.shape(depth + 1)
		if err != nil {
			return shape{}, err
		}
		s.of = append(s.of, inner)
	}
	if len(s.of) > 0 {
		if !strings.HasPrefix(p.rest, ">") {
			return shape{}, fmt.Errorf("%s<... is not closed by >", s.name)
		}
		p.rest = p.rest[1:]
	}
	return s, s.check()
}

// check says whether the type exists and is made of as many others as it needs.
func (s *shape) check() error {
	least, most := 0, 0
	switch s.name {
	case "vec", "option":
		least, most = 1, 1
	case "map":
		least, most = 2, 2
	case "tuple":
		least, most = 1, maxNesting
	case "result":
		least, most = 1, 2
		if len(s.of) == 1 {
			s.of = append(s.of, shape{name: "str"})
		}
	case "unit":
	default:
		if t, ok := typeNamed(s.name); !ok || t.decode == nil {
			return fmt.Errorf("there is no type %q; there are %s, vec<T>, option<T>, result<T>, result<T,E>, map<K,V>, tuple<T,...> and unit", s.name, typeNames())
		}
	}
	if len(s.of) < least || len(s.of) > most {
		return fmt.Errorf("%s is made of %d types, not %d", s.name, max(least, 1), len(s.of))
	}
	return nil
}

// guestError is a result whose value is its error: the function ran and says no.
type guestError struct{ value any }

func (e guestError) Error() string { return fmt.Sprintf("the function returned an error: %v", e.value) }

// take reads a value of the type. Mistakes are the decoder's; a result that is an error comes back as one.
func (s *shape) take(d *bincode.Decoder) (any, error) {
	switch s.name {
	case "vec":
		return s.takeVec(d)
	case "option":
		if !d.Option() {
			return nil, d.Err()
		}
		return s.of[0].take(d)
	case "result":
		if d.Variant(2) == 0 {
			return s.of[0].take(d)
		}
		v, err := s.of[1].take(d)
		if err == nil {
			err = d.Err()
		}
		if err != nil {
			return nil, err
		}
		return nil, guestError{v}
	case "map":
		return s.takeMap(d)
	case "tuple":
		out := make([]any, len(s.of))
		for i := range s.of {
			var err error
			if out[i], err = s.of[i].take(d); err != nil {
				return nil, err
			}
		}
		return out, d.Err()
	case "unit":
		return nil, d.Err()
	}
	t, _ := typeNamed(s.name) // check has found it
	return t.decode(d), d.Err()
}

func (s *shape) takeVec(d *bincode.Decoder) (any, error) {
	n := d.Count(0)
	out := []any{}
	for range min(n, maxElements) {
		v, err := s.of[0].take(d)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if n > maxElements {
		return nil, fmt.Errorf("%d elements are more than can be shown", n)
	}
	return out, d.Err()
}

func (s *shape) takeMap(d *bincode.Decoder) (any, error) {
	n := d.Count(0)
	if n > maxElements {
		return nil, fmt.Errorf("%d elements are more than can be shown", n)
	}
	out := map[string]any{}
	for range n {
		k, err := s.of[0].take(d)
		if err != nil {
			return nil, err
		}
		v, err := s.of[1].take(d)
		if err != nil {
			return nil, err
		}
		out[fmt.Sprint(k)] = v
	}
	return out, d.Err()
}
