package config

import (
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// nameRule is what names of nodes and labels of blocks look like.
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

const nameHelp = "Use small letters, digits, \"-\", \"_\" and \".\", 63 at most, with a letter or digit at both ends."

// accept checks the tree of a layer against the schema. It returns a tree of the same shape with typed values, without
// what is wrong: the rest is still merged and validated, so that later mistakes are found in the same go.
func (l *layer) accept(k *key, tree map[string]any, path string) map[string]any {
	out := make(map[string]any, len(tree))
	for name, v := range tree {
		p := join(path, name)
		c := k.child(name)
		if c == nil {
			l.unknown(k, path, name, v)
			continue
		}
		if v = l.acceptOne(c, v, p); v != nil {
			out[name] = v
		}
	}
	return out
}

// acceptOne checks what stands at one key; nil where it is wrong.
func (l *layer) acceptOne(k *key, v any, path string) any {
	sub, isTree := v.(map[string]any)
	val, isLeaf := v.(leaf)
	switch {
	case isTree && k.kind == group:
		return l.accept(k, sub, path)
	case isTree && k.kind == labelled:
		return l.acceptLabelled(k, sub, path)
	case isTree && k.kind == textMap:
		return l.acceptTexts(sub, path)
	case isTree && k.kind == anyMap:
		return l.acceptAny(sub, path)
	case isLeaf && (k.kind == scalar || k.kind == list):
		return l.acceptValue(k, val, path)
	case isLeaf:
		l.report(path, val.Origin, l.writeBlock(k, k.name), "%s is a %s, not a value", path, k.typeName())
	case l.nulls[path]:
		l.report(path, l.blocks[path], "Write a value, or leave the key out.", "%s has no value", path)
	default:
		l.report(path, l.blocks[path], "Write it as "+k.example(l.form)+".", "%s is a %s, not a block", path, k.typeName())
	}
	return nil
}

func (l *layer) writeBlock(k *key, name string) string {
	switch {
	case l.form == inText:
		return "Set one of its keys."
	case l.form == inYAML && k.kind == labelled:
		return "Write it as " + name + ": {NAME: {}} with its keys inside."
	case l.form == inYAML:
		return "Write it as " + name + ": {} with its keys inside."
	case k.kind == labelled:
		return "Write it as " + name + " \"NAME\" {} with its keys inside."
	}
	return "Write it as " + name + " {} with its keys inside."
}

// example shows how a value of the key is written.
func (k *key) example(f form) string {
	text := k.def
	if text == "" || text == "0" {
		text = map[string]string{"size": "64MiB", "duration": "30s", "whole number": "1", "true or false": "true"}[k.typeName()]
	}
	if text == "" {
		text = "..."
	}
	quoted := strconv.Quote(text)
	switch {
	case f == inText:
		return text
	case k.kind == list:
		quoted = "[" + quoted + "]"
	case k.typeName() == "whole number" || k.typeName() == "true or false":
		quoted = text
	}
	if f == inYAML {
		return k.name + ": " + quoted
	}
	return k.name + " = " + quoted
}

func (l *layer) unknown(parent *key, path, name string, v any) {
	p := join(path, name)
	at := l.blocks[p]
	if val, ok := v.(leaf); ok {
		at = val.Name
	}
	if l.labels[p] {
		takes := "no name"
		if parent.kind == labelled {
			takes = "one name only"
		}
		l.report(p, at, "Leave out "+strconv.Quote(name)+".", "%s takes %s", path, takes)
		return
	}
	where := ""
	if path != "" {
		where = " in " + path
	}
	l.report(p, at, suggest(parent, path, name), "unknown key %q%s", name, where)
}

func (l *layer) acceptLabelled(k *key, tree map[string]any, path string) map[string]any {
	out := make(map[string]any, len(tree))
	if len(tree) == 0 {
		l.report(path, l.blocks[path], l.writeBlock(k, k.name), "%s needs a name", path)
	}
	for label, v := range tree {
		p := join(path, label)
		sub, ok := v.(map[string]any)
		switch at := l.blocks[p]; {
		case !ok:
			if val, isLeaf := v.(leaf); isLeaf {
				at = val.Name
			}
			l.report(p, at, l.writeBlock(k, k.name), "%s needs a name, and its keys inside", path)
		case !nameRule.MatchString(label):
			l.report(p, at, nameHelp, "%s: %q is not a name", path, label)
		default:
			out[label] = l.accept(k, sub, p)
		}
	}
	return out
}

// acceptTexts takes numbers and booleans too: PORT = 8080 leaves no doubt.
func (l *layer) acceptTexts(tree map[string]any, path string) map[string]any {
	out := make(map[string]any, len(tree))
	for name, v := range tree {
		p := join(path, name)
		val, ok := v.(leaf)
		if ok {
			switch val.Value.(type) {
			case string, bool, int64, float64:
				val.Value = fmt.Sprint(val.Value)
				out[name] = val
				continue
			}
		}
		at := l.blocks[p]
		if ok {
			at = val.Origin
		}
		l.report(p, at, "Write a string.", "%s must be a string", p)
	}
	return out
}

// acceptAny takes what a plugin's settings may be. Each setting is one value, however deep: a later layer replaces it whole.
func (l *layer) acceptAny(tree map[string]any, path string) map[string]any {
	out := make(map[string]any, len(tree))
	for name, v := range tree {
		if sub, ok := v.(map[string]any); ok {
			at := l.blocks[join(path, name)]
			v = leaf{Value: bare(sub), Origin: at, Name: at}
		}
		out[name] = v
	}
	return out
}

func (l *layer) acceptValue(k *key, val leaf, path string) any {
	typed, err := k.convert(val.Value, l.form)
	if err == nil {
		err = k.satisfies(typed)
	}
	if err != nil {
		l.report(path, val.Origin, err.help, "%s: %s", path, err.text)
		return nil
	}
	if _, ok := k.check("path"); ok {
		typed = l.absolute(typed.(string))
	}
	val.Value = typed
	return val
}

// absolute makes a path independent of the folder in which the daemon is started: those in a file are relative to it.
func (l *layer) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	if abs, err := filepath.Abs(filepath.Join(l.dir, path)); err == nil {
		return abs
	}
	return path
}

// mistake is why a value is refused.
type mistake struct{ text, help string }

func wrong(help, format string, args ...any) *mistake {
	return &mistake{fmt.Sprintf(format, args...), help}
}

// convert turns a value as it was read into one of the key's type.
func (k *key) convert(v any, f form) (any, *mistake) {
	s, isString := v.(string)
	n, isInt := v.(int64)
	switch k.typ {
	case reflect.TypeFor[ByteSize]():
		if isInt && n >= 0 {
			return ByteSize(n), nil
		}
		return parsed(s, isString, k, f, ParseByteSize)
	case reflect.TypeFor[Duration]():
		if isInt && n == 0 {
			return Duration(0), nil
		}
		return parsed(s, isString, k, f, ParseDuration)
	case reflect.TypeFor[Mode]():
		return parsed(s, isString, k, f, ParseMode)
	}
	switch k.typ.Kind() {
	case reflect.Slice:
		return k.strings(v, f)
	case reflect.Bool:
		return k.boolean(v, f)
	case reflect.Int, reflect.Int64:
		return k.integer(v, f)
	}
	if !isString {
		return nil, wrong("Write it in quotes, as "+k.example(f)+".", "must be a string, not %s", describe(v))
	}
	return s, nil
}

func parsed[T any](s string, ok bool, k *key, f form, parse func(string) (T, error)) (any, *mistake) {
	if !ok {
		return nil, wrong("Write it in quotes, as "+k.example(f)+".", "must be a %s in quotes", k.typeName())
	}
	v, err := parse(s)
	if err != nil {
		text, help, _ := strings.Cut(err.Error(), "; ")
		return nil, wrong(sentence(help), "%s", text)
	}
	return v, nil
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func (k *key) strings(v any, f form) (any, *mistake) {
	if s, ok := v.(string); ok && f == inText {
		out := []string{}
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
		return out, nil
	}
	items, ok := v.([]any)
	if !ok {
		return nil, wrong("Write it as "+k.example(f)+".", "must be a list of strings, not %s", describe(v))
	}
	out := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, wrong("Write it as "+k.example(f)+".", "must hold strings only, not %s", describe(item))
		}
		out = append(out, s)
	}
	return out, nil
}

func (k *key) boolean(v any, f form) (any, *mistake) {
	if s, ok := v.(string); ok && f == inText {
		if b, err := strconv.ParseBool(s); err == nil {
			return b, nil
		}
	}
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return nil, wrong("Write true or false.", "must be true or false, not %s", describe(v))
}

func (k *key) integer(v any, f form) (any, *mistake) {
	if s, ok := v.(string); ok && f == inText {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil {
			return nil, wrong("", "must be a whole number, not %s", describe(v))
		}
		v = n
	}
	n, ok := v.(int64)
	switch {
	case !ok:
		return nil, wrong("Write it as "+k.example(f)+".", "must be a whole number, not %s", describe(v))
	case k.typ.Kind() == reflect.Int64:
		return n, nil
	case int64(int(n)) != n:
		return nil, wrong("", "%d is too large", n)
	}
	return int(n), nil
}

func describe(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case bool, int64:
		return fmt.Sprint(v)
	case float64:
		if math.IsInf(v, 0) {
			return "a number beyond all bounds"
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprintf("a %T", v)
}

// satisfies applies the key's check tag to a value of its type. It is the one place where single values are validated.
func (k *key) satisfies(v any) *mistake {
	for _, c := range k.checks {
		var m *mistake
		switch c.name {
		case "min", "max":
			m = k.bound(v, c)
		case "oneof":
			if s := v.(string); s != "" || k.hasDef { // where a default is derived, "" asks for it
				m = oneOf(s, strings.Split(c.arg, "|"))
			}
		case "name":
			if s := v.(string); s != "" && !nameRule.MatchString(s) {
				m = wrong(nameHelp, "%q is not a name", s)
			}
		case "address":
			m = address(v.(string))
		case "listen", "connect":
			m = endpoints(v.([]string), c.name == "listen")
		case "sha256":
			if s := v.(string); s != "" {
				if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
					m = wrong("Take the first word of what sha256sum prints for the program.", "must be 64 hexadecimal digits")
				}
			}
		case "path":
			if strings.ContainsRune(v.(string), 0) {
				m = wrong("", "must not contain a zero byte")
			}
		}
		if m != nil {
			return m
		}
	}
	return nil
}

// bound compares with the argument of min or max, which is written as a value of the key is.
func (k *key) bound(v any, c check) *mistake {
	limit, m := k.convert(c.arg, inText)
	if m != nil {
		panic("config: check of " + k.name + ": " + m.text) // the schema itself is wrong; a test loads every check
	}
	have, want := reflectInt(v), reflectInt(limit)
	switch {
	case c.name == "min" && have < want:
		return wrong("", "%v is too small; the least is %v", v, limit)
	case c.name == "max" && have > want:
		return wrong("", "%v is too large; the most is %v", v, limit)
	}
	return nil
}

func reflectInt(v any) int64 {
	r := reflect.ValueOf(v)
	if r.CanUint() {
		return int64(r.Uint())
	}
	return r.Int()
}

func oneOf(s string, allowed []string) *mistake {
	if slices.Contains(allowed, s) {
		return nil
	}
	if n := nearest(s, allowed); n != "" {
		return wrong("Did you mean \""+n+"\"?", "%q is none of %s", s, strings.Join(allowed, ", "))
	}
	return wrong("", "%q is none of %s", s, strings.Join(allowed, ", "))
}

func address(s string) *mistake {
	if s == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n <= math.MaxUint16 {
			return nil
		}
	}
	return wrong("Write HOST:PORT, as \"127.0.0.1:9464\".", "%q is not an address", s)
}
