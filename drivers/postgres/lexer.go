package postgres

import (
	"errors"
	"fmt"
	"strings"
)

// tokenKind tells the pieces of SQL apart that matter for where a statement ends.
type tokenKind int

const (
	tokenEnd     tokenKind = iota
	tokenSpace             // blanks and line feeds
	tokenComment           // -- to the end of the line, or /* … */, which nest
	tokenWord              // a keyword, an identifier without quotes, a number
	tokenQuoted            // "an identifier"
	tokenString            // '…', E'…', $tag$…$tag$
	tokenSymbol            // one other character
)

// token is a piece of a text.
type token struct {
	kind tokenKind
	from int
	to   int
}

// lexer cuts SQL into tokens by the server's own rules, so that what stands within a literal is never taken for SQL.
type lexer struct {
	text string
	pos  int
	// escapes says that a backslash escapes in plain literals too (standard_conforming_strings = off).
	escapes bool
}

var errUnterminated = errors.New("a quote or comment has no end")

// next returns the next token.
func (l *lexer) next() (token, error) {
	from := l.pos
	if from >= len(l.text) {
		return token{tokenEnd, from, from}, nil
	}
	kind := tokenSymbol
	ok := true
	switch c, rest := l.text[from], l.text[from:]; {
	case isBlank(c):
		kind = tokenSpace
		l.skip(isBlank)
	case strings.HasPrefix(rest, "--"):
		kind = tokenComment
		l.skip(func(c byte) bool { return c != '\n' })
	case strings.HasPrefix(rest, "/*"):
		kind = tokenComment
		ok = l.block()
	case c == '"':
		kind = tokenQuoted
		ok = l.quote('"', false)
	case c == '\'':
		kind = tokenString
		ok = l.quote('\'', l.escapes)
	case c == '$':
		if tag := dollarTag(rest); tag != "" {
			kind = tokenString
			end := strings.Index(rest[len(tag):], tag)
			ok = end >= 0
			l.pos = from + len(tag) + end + len(tag)
			break
		}
		l.pos++
	case isWordStart(c) || isDigit(c):
		kind = tokenWord
		l.skip(func(c byte) bool { return isWordStart(c) || isDigit(c) || c == '$' })
		if word := l.text[from:l.pos]; (word == "E" || word == "e") && strings.HasPrefix(l.text[l.pos:], "'") {
			kind = tokenString
			ok = l.quote('\'', true)
		}
	default:
		l.pos++
	}
	if !ok {
		l.pos = len(l.text)
		return token{}, fmt.Errorf("read SQL at byte %d: %w", from, errUnterminated)
	}
	return token{kind, from, l.pos}, nil
}

func (l *lexer) skip(take func(byte) bool) {
	for l.pos < len(l.text) && take(l.text[l.pos]) {
		l.pos++
	}
}

// quote reads a text in quotes, which are doubled within it; a backslash takes the next character where it escapes.
func (l *lexer) quote(mark byte, escapes bool) bool {
	for l.pos++; l.pos < len(l.text); l.pos++ {
		switch c := l.text[l.pos]; {
		case c == '\\' && escapes:
			l.pos++
		case c == mark && l.pos+1 < len(l.text) && l.text[l.pos+1] == mark:
			l.pos++
		case c == mark:
			l.pos++
			return true
		}
	}
	return false
}

// block reads a comment that may hold others.
func (l *lexer) block() bool {
	depth := 0
	for l.pos < len(l.text) {
		switch rest := l.text[l.pos:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			l.pos += 2
		case strings.HasPrefix(rest, "*/"):
			depth--
			l.pos += 2
			if depth == 0 {
				return true
			}
		default:
			l.pos++
		}
	}
	return false
}

// dollarTag returns the $tag$ that a text begins with, "" where it begins with none.
func dollarTag(text string) string {
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '$':
			return text[:i+1]
		case isWordStart(c), i > 1 && isDigit(c):
		default:
			return ""
		}
	}
	return ""
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isWordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

// splitStatements cuts a text at the semicolons that end statements: those outside of quotes, comments and parentheses.
// Comments between statements, and lines there that are psql's (\restrict), are left out. Each statement keeps its
// semicolon; only the last may lack one.
func splitStatements(text string, escapes bool) ([]string, error) {
	l := &lexer{text: text, escapes: escapes}
	var list []string
	start, end, depth := -1, 0, 0
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		switch {
		case t.kind == tokenEnd:
			if start >= 0 {
				list = append(list, text[start:end])
			}
			return list, nil
		case t.kind == tokenSpace, t.kind == tokenComment:
			continue
		case start < 0 && text[t.from] == '\\':
			l.skip(func(c byte) bool { return c != '\n' })
			continue
		}
		if start < 0 {
			start = t.from
		}
		end = t.to
		if t.kind != tokenSymbol {
			continue
		}
		switch text[t.from] {
		case '(', '[':
			depth++
		case ')', ']':
			depth = max(depth-1, 0)
		case ';':
			if depth == 0 {
				list = append(list, text[start:end])
				start = -1
			}
		}
	}
}

// words returns a statement's tokens without blanks and comments.
func words(text string) ([]string, error) {
	l := &lexer{text: text}
	var list []string
	for {
		t, err := l.next()
		if err != nil || t.kind == tokenEnd {
			return list, err
		}
		if t.kind != tokenSpace && t.kind != tokenComment {
			list = append(list, text[t.from:t.to])
		}
	}
}

// unquote reads an identifier as a statement writes it.
func unquote(word string) string {
	if len(word) >= 2 && word[0] == '"' {
		return strings.ReplaceAll(word[1:len(word)-1], `""`, `"`)
	}
	return word
}
