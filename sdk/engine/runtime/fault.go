package runtime

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/essa-project/essad/sdk/engine"
	"github.com/essa-project/essad/sdk/status"
)

// What the error of a guest that failed holds at most: of what it wrote to standard error before, and of all its text. A panic
// writes what it is about and where, in every language; a trap's own text says "unreachable".
const (
	maxWords = 2 << 10
	maxFault = 16 << 10
)

// stderrTail is the end of what a call wrote to standard error.
type stderrTail struct {
	text []byte
	cut  bool // there was more before
}

// heard keeps what an invocation writes. Whoever starts a run sees that anyway.
func (g *Guest) heard(stream engine.Stream, p []byte) {
	if stream != engine.Stderr || g.call.Run {
		return
	}
	w := &g.words
	if over := len(p) - maxWords; over > 0 {
		w.text, w.cut, p = w.text[:0], true, p[over:]
	}
	if len(w.text)+len(p) > 2*maxWords {
		keep := w.text[len(w.text)-maxWords:]
		w.text, w.cut = append(w.text[:0], keep...), true
	}
	w.text = append(w.text, p...)
}

// lines returns whole lines, or nothing.
func (w *stderrTail) lines() string {
	text, cut := w.text, w.cut
	if over := len(text) - maxWords; over > 0 {
		text, cut = text[over:], true
	}
	if cut {
		if _, rest, ok := bytes.Cut(text, []byte("\n")); ok && len(rest) > 0 {
			text = rest
		}
	}
	lines := strings.TrimSpace(strings.ToValidUTF8(string(text), "\uFFFD"))
	if cut && lines != "" {
		lines = "...\n" + lines
	}
	return lines
}

// fault completes the error of a guest that failed: with its last words, and not longer than anybody wants to read.
func (g *Guest) fault(err error) error {
	e := (*status.Error)(nil)
	if status.Of(err) != status.GuestFault || !errors.As(err, &e) {
		return err
	}
	text, words := err.Error(), g.words.lines()
	if words == "" && len(text) <= maxFault {
		return err
	}
	if most := maxFault - len(words); len(text) > most {
		for most--; most > 0 && !utf8.RuneStart(text[most]); most-- {
		}
		text = text[:most] + "..."
	}
	if words != "" {
		text += "\nstderr:\n\t" + strings.ReplaceAll(words, "\n", "\n\t")
	}
	return &status.Error{Class: e.Class, Detail: e.Detail, Text: text}
}
