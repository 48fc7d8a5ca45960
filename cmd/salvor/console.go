package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// console is stderr: lines, and on a terminal one status line below them that is redrawn in place. It is safe for
// concurrent use. What cannot be written to stderr can be told to nobody, so its errors are dropped.
type console struct {
	mu     sync.Mutex
	out    io.Writer
	width  func() int // 0 where out is no terminal
	quiet  bool       // only problems are written
	status string     // the status line that is on the screen
	told   map[string]time.Time
}

// line writes a line, unless quiet.
func (c *console) line(format string, args ...any) {
	if !c.quiet {
		c.write(fmt.Sprintf(format, args...) + "\n")
	}
}

// problem writes what must be seen: an error, a warning, a hint. Each line of the text gets the prefix.
func (c *console) problem(kind, text string) {
	var b strings.Builder
	for part := range strings.SplitSeq(text, "\n") {
		if part != "" {
			fmt.Fprintf(&b, "salvor: %s: %s\n", kind, part)
		}
	}
	if b.Len() > 0 {
		c.write(b.String())
	}
}

func (c *console) write(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != "" {
		text = "\r\x1b[K" + text + c.status
	}
	_, _ = io.WriteString(c.out, text)
}

// repeatAfter is how long a warning that was written is not written again.
const repeatAfter = time.Minute

// toldLately tells whether a text was told within the last while, and notes that it is. A server that is away would
// otherwise be told of every few seconds.
func (c *console) toldLately(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if last, ok := c.told[text]; ok && now.Sub(last) < repeatAfter {
		return true
	}
	const most = 100
	if c.told == nil || len(c.told) >= most {
		c.told = make(map[string]time.Time)
	}
	c.told[text] = now
	return false
}

// setStatus draws the status line, cut to the terminal's width; "" removes it.
func (c *console) setStatus(text string) {
	width := c.width()
	if c.quiet || width <= 1 {
		return
	}
	if utf8.RuneCountInString(text) >= width {
		text = string([]rune(text)[:width-1])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if text == c.status {
		return
	}
	_, _ = io.WriteString(c.out, "\r\x1b[K"+text)
	c.status = text
}

// isTerminal tells whether a status line can be drawn.
func (c *console) isTerminal() bool { return c.width() > 1 }

// logHandler writes the warnings of the layers below as lines of the console, and where it is verbose what they do.
type logHandler struct {
	console *console
	verbose bool
	attrs   []slog.Attr
}

// Enabled reports whether a level is written: warnings and above, where it is verbose also information.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.verbose && level >= slog.LevelInfo
}

// Handle writes a record as one line.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	for _, a := range h.attrs {
		fmt.Fprintf(&b, " %s=%s", a.Key, quoteName(a.Value.String()))
	}
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%s", a.Key, quoteName(a.Value.String()))
		return true
	})
	switch {
	case r.Level < slog.LevelWarn:
		h.console.line("%s", b.String())
	case !h.console.toldLately(b.String()):
		h.console.problem("warning", b.String())
	}
	return nil
}

// WithAttrs returns a handler that adds attributes to every record.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{console: h.console, verbose: h.verbose, attrs: append(slices.Clip(h.attrs), attrs...)}
}

// WithGroup returns the handler itself: its lines have no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
