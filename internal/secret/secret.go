// Package secret holds text that must never be printed: passwords and sources that contain them.
//
// Every way of printing a [Text] gives "[redacted]": fmt verbs, JSON, text marshalling and slog. [Text.Reveal] is the
// sole way to the text itself, so a search for Reveal lists every place where a secret leaves its wrapper.
package secret

import "log/slog"

// Redacted is what a [Text] prints as.
const Redacted = "[redacted]"

// Text is a secret text. The zero value is the empty text. It is comparable, copied by value and safe for concurrent use.
type Text struct{ text string }

// New wraps a text.
func New(text string) Text { return Text{text} }

// Reveal returns the text. Call it where the text is used, never where it could be stored or printed.
func (t Text) Reveal() string { return t.text }

// IsEmpty reports whether the text is empty.
func (t Text) IsEmpty() bool { return t.text == "" }

// String returns [Redacted].
func (Text) String() string { return Redacted }

// GoString returns [Redacted].
func (Text) GoString() string { return Redacted }

// MarshalText returns [Redacted]; encoding/json uses it too.
func (Text) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// LogValue returns [Redacted].
func (Text) LogValue() slog.Value { return slog.StringValue(Redacted) }
