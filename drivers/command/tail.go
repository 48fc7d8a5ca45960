package command

import (
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"salvor/internal/secret"
)

// tailSize is how many bytes are kept of what a program says. Every byte of it may stand in an error, which is stored.
const tailSize = 8 << 10

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	kept []byte
	cut  bool // something was left out before what is kept
}

var _ io.Writer = (*tail)(nil)

// Write takes all and keeps the end.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if len(p) > tailSize {
		p, t.cut = p[len(p)-tailSize:], true
	}
	if over := len(t.kept) + len(p) - tailSize; over > 0 {
		t.kept, t.cut = slices.Delete(t.kept, 0, over), true
	}
	t.kept = append(t.kept, p...)
	return n, nil
}

// text returns the last lines as one line of printable text, without any of the hidden texts.
func (t *tail) text(lines int, hidden []string) string {
	t.mu.Lock()
	text, cut := string(t.kept), t.cut
	t.mu.Unlock()
	if cut {
		// What is left of the first line could be the end of a secret, which would not be found.
		if end := strings.IndexAny(text, "\r\n"); end >= 0 {
			text = text[end:]
		} else {
			text = ""
		}
	}
	text = hide(text, hidden)
	// A carriage return begins the line again, as progress bars do.
	split := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range split {
		split[i] = strings.TrimSpace(strings.Map(printable, split[i]))
	}
	split = slices.DeleteFunc(split, func(line string) bool { return line == "" })
	return strings.Join(split[max(0, len(split)-lines):], " | ")
}

func printable(r rune) rune {
	if r == utf8.RuneError || r == '\t' || !unicode.IsPrint(r) {
		return ' '
	}
	return r
}

// hiddenTexts returns what no message may show: the values of variables, which are secrets often enough, and what references
// stood for, line by line, since a program may show one of its lines.
func hiddenTexts(env map[string]string, secrets []secret.Text) []string {
	var hidden []string
	add := func(value string) {
		for line := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
			if len(line) >= leastHidden {
				hidden = append(hidden, line)
			}
		}
	}
	for _, value := range env {
		add(value)
	}
	for _, value := range secrets {
		add(value.Reveal())
	}
	// Long ones first: a value can begin with another.
	slices.SortFunc(hidden, func(a, b string) int { return len(b) - len(a) })
	return hidden
}

// leastHidden is the length of the shortest text that is hidden: shorter ones would hide half of every message and are no
// secrets.
const leastHidden = 4

// hide replaces the hidden texts.
func hide(text string, hidden []string) string {
	for _, value := range hidden {
		text = strings.ReplaceAll(text, value, secret.Redacted)
	}
	return text
}
