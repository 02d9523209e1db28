package config

import (
	"maps"
	"reflect"
	"slices"
)

// labels lists the labels of a map of named blocks.
func labels(blocks reflect.Value) []string {
	return slices.Sorted(maps.Keys(anyKeys(blocks)))
}

// visit calls f for each key that holds a value, in the order of the schema; blocks that are off are left out. Maps are
// handed over whole. A role and a named block are visited before their keys, with the value true.
func (c *Config) visit(f func(path string, k *key, v any)) {
	visit(reflect.ValueOf(c).Elem(), root(), "", f)
}

func visit(v reflect.Value, k *key, path string, f func(string, *key, any)) {
	for i, c := range k.children {
		field, p := v.Field(i), join(path, c.name)
		switch {
		case c.kind == group && field.Kind() != reflect.Pointer:
			visit(field, c, p, f)
		case c.kind == group && !field.IsNil():
			f(p, c, true)
			visit(field.Elem(), c, p, f)
		case c.kind == group:
		case c.kind == labelled:
			for _, label := range labels(field) {
				f(join(p, label), c, true)
				visit(field.MapIndex(reflect.ValueOf(label)), c, join(p, label), f)
			}
		default:
			f(p, c, field.Interface())
		}
	}
}
