package command

import (
	"errors"
	"fmt"
	"strings"
)

// splitWords splits a text into words as POSIX quoting does
// (https://pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html#tag_18_02), and does nothing else that a
// shell does: there are no variables, patterns, comments, home directories. What would join programs or redirect them in
// a shell is refused unless it is quoted, because whoever writes it means that. Errors tell places, not content.
func splitWords(text string) ([]string, error) {
	if strings.ContainsRune(text, 0) {
		return nil, errors.New("it holds a NUL character")
	}
	var words []string
	var word strings.Builder
	open := false // a word has begun; it may be empty: ''
	for at := 0; at < len(text); {
		c := text[at]
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
			at++
			continue
		case strings.IndexByte("|&;<>", c) >= 0:
			return nil, fmt.Errorf("character %d: a %c that is not quoted needs a shell", at+1, c)
		}
		open = true
		size, err := piece(text[at:], &word)
		if err != nil {
			return nil, fmt.Errorf("character %d: %w", at+1, err)
		}
		at += size
	}
	if open {
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" {
		return nil, errors.New("it names no program")
	}
	return words, nil
}

// piece adds the quoted text, the escaped or the plain character that a text begins with to a word, and returns its length.
func piece(text string, word *strings.Builder) (int, error) {
	switch text[0] {
	case '\'':
		end := strings.IndexByte(text[1:], '\'')
		if end < 0 {
			return 0, errors.New("a single quote is not closed")
		}
		word.WriteString(text[1 : 1+end])
		return end + 2, nil
	case '"':
		return quotedPiece(text, word)
	case '\\':
		if len(text) == 1 {
			return 0, errors.New("nothing follows a backslash")
		}
		if text[1] != '\n' { // a line that goes on
			word.WriteByte(text[1])
		}
		return 2, nil
	}
	word.WriteByte(text[0])
	return 1, nil
}

// quotedPiece reads what stands in double quotes, in which a backslash stands for itself but before a few characters.
func quotedPiece(text string, word *strings.Builder) (int, error) {
	for at := 1; at < len(text); at++ {
		switch c := text[at]; {
		case c == '"':
			return at + 1, nil
		case c == '\\' && at+1 < len(text) && strings.IndexByte("\"\\$`\n", text[at+1]) >= 0:
			at++
			if text[at] != '\n' {
				word.WriteByte(text[at])
			}
		default:
			word.WriteByte(c)
		}
	}
	return 0, errors.New("a double quote is not closed")
}
