package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// OriginKind says what kind of layer a value came from.
type OriginKind string

// The kinds of an origin, lowest layer first.
const (
	FromDefault OriginKind = "default"
	FromDerived OriginKind = "derived" // a default computed from other keys
	FromFile    OriginKind = "file"
	FromEnv     OriginKind = "environment"
	FromFlag    OriginKind = "flag"
)

// Origin says where a value came from.
type Origin struct {
	Kind   OriginKind `json:"kind"`
	Source string     `json:"source,omitempty"` // file, variable or flag; for derived what it was derived from
	Line   int        `json:"line,omitempty"`   // counted from 1; 0 where there is none
	Column int        `json:"column,omitempty"` // in characters, counted from 1
	End    int        `json:"end,omitempty"`    // column after the last character
}

// String gives the origin as people read it: "essad.hcl:3:5", "environment ESSA_KVS__STORE", "default".
func (o Origin) String() string {
	switch o.Kind {
	case FromFile:
		if o.Line == 0 {
			return o.Source
		}
		return fmt.Sprintf("%s:%d:%d", o.Source, o.Line, o.Column)
	case FromDerived:
		return "default, from " + o.Source
	case FromEnv:
		return "environment " + o.Source
	case FromFlag:
		return o.Source
	}
	return string(FromDefault)
}

// Origins tells, for the path of each key that has a value, where it came from.
type Origins map[string]Origin

// Diagnostic is one mistake: what is wrong, where, and what to do.
type Diagnostic struct {
	Path    string `json:"path,omitempty"` // of the key
	Summary string `json:"summary"`
	Help    string `json:"help,omitempty"`
	Origin  Origin `json:"origin"`
	Snippet string `json:"snippet,omitempty"` // the line itself
}

// Diagnostics are all mistakes found in one go, in the order of their places. It is the error that Load and Validate
// return.
type Diagnostics []Diagnostic

// Error returns the pretty form without its last newline.
func (d Diagnostics) Error() string {
	var b strings.Builder
	_ = d.Pretty(&b)
	return strings.TrimSuffix(b.String(), "\n")
}

// Pretty writes each diagnostic with its line and a caret under the place.
func (d Diagnostics) Pretty(w io.Writer) error {
	var b strings.Builder
	for i, diag := range d {
		if i > 0 {
			b.WriteByte('\n')
		}
		diag.pretty(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d Diagnostic) pretty(b *strings.Builder) {
	switch d.Origin.Kind {
	case "":
	case FromDefault, FromDerived:
		fmt.Fprintf(b, "%s (%s): ", d.Path, d.Origin)
	default:
		fmt.Fprintf(b, "%s: ", d.Origin)
	}
	b.WriteString(d.Summary + "\n")
	if d.Snippet != "" {
		number := ""
		if d.Origin.Line > 0 {
			number = fmt.Sprint(d.Origin.Line)
		}
		line, caret := snippet(d.Snippet, d.Origin.Column, d.Origin.End)
		fmt.Fprintf(b, "%5s | %s\n", number, line)
		fmt.Fprintf(b, "%5s | %s\n", "", caret)
	}
	if d.Help != "" {
		fmt.Fprintf(b, "  %s\n", d.Help)
	}
}

// maxSnippet is how much of a line is shown, in characters.
const maxSnippet = 160

// snippet makes the line and the line of carets below it. Control characters would move the caret or the terminal's
// state, so all but tabs are shown as "?"; tabs are repeated below.
func snippet(line string, column, end int) (shown, caret string) {
	runes := []rune(line)
	column = min(max(column-1, 0), len(runes))
	end = min(max(end-1, column+1), max(len(runes), column+1))
	start := 0
	if column > maxSnippet*3/4 {
		start = column - maxSnippet/4
	}
	stop := min(len(runes), start+maxSnippet)
	end = min(end, max(stop, column+1))

	var above, below strings.Builder
	for i, r := range runes[start:stop] {
		if r < ' ' && r != '\t' || r == 0x7f {
			r = '?'
		}
		above.WriteRune(r)
		if start+i < column {
			if r != '\t' {
				r = ' '
			}
			below.WriteRune(r)
		}
	}
	return strings.TrimRight(above.String(), " \t"), below.String() + strings.Repeat("^", end-column)
}

// JSON writes the diagnostics as a JSON array.
func (d Diagnostics) JSON(w io.Writer) error {
	if d == nil {
		d = Diagnostics{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

// err returns d as an error, and nil where there is no mistake.
func (d Diagnostics) err() error {
	if len(d) == 0 {
		return nil
	}
	return d
}

// sortBySource brings d in the order of the sources as they were read, then of lines and columns.
func (d Diagnostics) sortBySource(sources []string) {
	rank := make(map[string]int, len(sources))
	for i, s := range sources {
		rank[s] = i - len(sources) // what has no place comes last
	}
	slices.SortStableFunc(d, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(rank[a.Origin.Source], rank[b.Origin.Source]),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
			cmp.Compare(a.Origin.Column, b.Origin.Column),
			cmp.Compare(a.Path, b.Path),
		)
	})
}
