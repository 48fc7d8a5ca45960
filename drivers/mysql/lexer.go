package mysql

import (
	"errors"
	"strings"
)

// tokenKind is what a token of a statement is.
type tokenKind int

const (
	tokenEnd    tokenKind = iota
	tokenWord             // a keyword, a name without quotes, a number
	tokenName             // in backticks
	tokenText             // in quotes, single or double
	tokenSymbol           // one byte
	tokenNote             // a comment, also one that servers of some version run
)

// token is a piece of a statement, text[from:to].
type token struct {
	kind     tokenKind
	from, to int
}

// lexer splits statements as the server writes them: a backslash within quotes takes what follows, as without
// NO_BACKSLASH_ESCAPES. It passes over blanks.
type lexer struct {
	text string
	at   int
	// plain tells that a backslash is a backslash.
	plain bool
}

var errOpenQuote = errors.New("a quote or a comment has no end")

func (l *lexer) next() (token, error) {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n\f\v", l.text[l.at]) >= 0 {
		l.at++
	}
	t := token{from: l.at, to: l.at}
	if l.at == len(l.text) {
		return t, nil
	}
	rest := l.text[l.at:]
	var end int
	switch c := rest[0]; {
	case c == '`':
		t.kind, end = tokenName, quotedEnd(rest, false)
	case c == '\'' || c == '"':
		t.kind, end = tokenText, quotedEnd(rest, !l.plain)
	case strings.HasPrefix(rest, "/*"):
		t.kind = tokenNote
		if end = strings.Index(rest[2:], "*/"); end >= 0 {
			end += 4
		}
	case c == '#', strings.HasPrefix(rest, "-- "), strings.HasPrefix(rest, "--\n"), strings.HasPrefix(rest, "--\t"):
		t.kind = tokenNote
		if end = strings.IndexByte(rest, '\n'); end < 0 {
			end = len(rest)
		}
	case isWordByte(c):
		t.kind = tokenWord
		for end = 1; end < len(rest) && isWordByte(rest[end]); {
			end++
		}
	default:
		t.kind, end = tokenSymbol, 1
	}
	if end <= 0 {
		return t, errOpenQuote
	}
	l.at += end
	t.to = l.at
	return t, nil
}

// quotedEnd returns where a quoted text ends that rest begins with, its quotes included; 0 where it does not. A quote that is
// there twice is part of the text.
func quotedEnd(rest string, escapes bool) int {
	quote := rest[0]
	for i := 1; i < len(rest); i++ {
		switch {
		case escapes && rest[i] == '\\':
			i++
		case rest[i] == quote && i+1 < len(rest) && rest[i+1] == quote:
			i++
		case rest[i] == quote:
			return i + 1
		}
	}
	return 0
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// tokens splits a whole statement, without its comments.
func tokens(text string) ([]token, error) {
	l := &lexer{text: text}
	var list []token
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		switch t.kind {
		case tokenEnd:
			return list, nil
		case tokenNote:
		default:
			list = append(list, t)
		}
	}
}

// unquoteName reads a name in backticks, or one without.
func unquoteName(text string) string {
	if len(text) >= 2 && text[0] == '`' && text[len(text)-1] == '`' {
		return strings.ReplaceAll(text[1:len(text)-1], "``", "`")
	}
	return text
}
