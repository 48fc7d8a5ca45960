package tasks

import (
	"fmt"
	"strings"

	"salvor/internal/secret"
)

// maxSecretFile bounds the size of a file that a reference names, in bytes. Secrets are short; a larger file is the wrong
// one.
const maxSecretFile = 64 << 10

// Resolve replaces the references in a source's text by what they stand for:
//
//	${NAME}        the environment variable NAME, which must be set (it may be empty)
//	${file:/PATH}  the content of a file, without the newline at its end
//	$$             a dollar sign
//
// Any other dollar sign stands for itself. References do not nest, and what they stand for is not searched for more.
// Errors name the variable or the file and never a value. env and readFile are asked once for each reference.
func Resolve(text string, env func(string) (string, bool), readFile func(string) ([]byte, error)) (secret.Text, error) {
	var out strings.Builder
	err := scanReferences(text, func(t textPart) error {
		switch {
		case t.variable != "":
			value, ok := env(t.variable)
			if !ok {
				return fmt.Errorf("resolve ${%s}: the variable is not set", t.variable)
			}
			out.WriteString(value)
		case t.file != "":
			value, err := readFile(t.file)
			if err != nil {
				return fmt.Errorf("resolve ${file:%s}: %w", t.file, err)
			}
			if len(value) > maxSecretFile {
				return fmt.Errorf("resolve ${file:%s}: the file has %d bytes, a secret at most %d", t.file, len(value), maxSecretFile)
			}
			text := strings.TrimSuffix(string(value), "\n")
			out.WriteString(strings.TrimSuffix(text, "\r"))
		default:
			out.WriteString(t.text)
		}
		return nil
	})
	if err != nil {
		return secret.Text{}, err
	}
	return secret.New(out.String()), nil
}

// CheckReferences returns the error that Resolve would return for the text's form alone, whatever the variables hold.
func CheckReferences(text string) error {
	return scanReferences(text, func(textPart) error { return nil })
}

// escapeReferences returns a text that Resolve turns into the given one.
func escapeReferences(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// textPart is a piece of a source's text: a variable's name, a file's path, or plain text.
type textPart struct{ variable, file, text string }

// scanReferences splits a text. Its errors tell places, not content: what stands near a malformed reference is, often
// enough, a password with a dollar sign in it.
func scanReferences(text string, yield func(textPart) error) error {
	for at := 0; at < len(text); {
		dollar := strings.IndexByte(text[at:], '$')
		if dollar < 0 {
			return yield(textPart{text: text[at:]})
		}
		if dollar > 0 {
			if err := yield(textPart{text: text[at : at+dollar]}); err != nil {
				return err
			}
		}
		at += dollar
		part, size, err := reference(text[at:])
		if err != nil {
			return fmt.Errorf("at character %d: %w", at+1, err)
		}
		if err := yield(part); err != nil {
			return err
		}
		at += size
	}
	return nil
}

// reference reads what begins with a dollar sign and returns it with its length.
func reference(text string) (textPart, int, error) {
	switch {
	case strings.HasPrefix(text, "$$"):
		return textPart{text: "$"}, 2, nil
	case !strings.HasPrefix(text, "${"):
		return textPart{text: "$"}, 1, nil
	}
	end := strings.IndexByte(text, '}')
	if end < 0 {
		return textPart{}, 0, referenceError("${ without its }")
	}
	name := text[2:end]
	if strings.Contains(name, "${") {
		return textPart{}, 0, referenceError("references do not nest")
	}
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
			return textPart{}, 0, referenceError("${file:PATH} needs an absolute path")
		}
		return textPart{file: path}, end + 1, nil
	}
	if !isVariable(name) {
		return textPart{}, 0, referenceError("between ${ and } stands neither a variable's name nor file:PATH")
	}
	return textPart{variable: name}, end + 1, nil
}

// isVariable reports whether a text is the name of an environment variable, as POSIX spells them.
func isVariable(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// referenceError is an error about a reference's form, with the way out.
type referenceError string

func (e referenceError) Error() string { return string(e) }

// Hint returns how to write a dollar sign that begins no reference.
func (referenceError) Hint() string { return "a dollar sign before { is written $$" }
