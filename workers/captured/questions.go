package captured

import (
	"fmt"
	"strings"
)

// Questions is what decisions.yaml says at first: every open question as a comment, so that nothing is decided.
func (c *Capture) Questions() ([]byte, error) {
	var b strings.Builder
	b.WriteString("# What is to become of capture " + c.Capture.Capture + ". Nothing here is decided yet: lines that begin with # do nothing.\n")
	for _, f := range c.Groups() {
		text, err := c.GroupText(f)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "\n# Group %d: %s\n# (%s)\n", f.Group, oneLine(text), strings.TrimPrefix(f.Key, "captures/"))
	}
	return []byte(b.String()), nil
}

// oneLine keeps a text from ending a comment.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '\u0085' || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}
