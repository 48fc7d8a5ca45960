package postgres

import (
	"regexp"
	"strings"
)

const redacted = "'[redacted]'"

// redact takes the secrets out of a statement that an error quotes: the passwords of roles, of subscriptions' connections,
// and everything that servers and user mappings are told in OPTIONS. It errs on the side of taking too much.
func redact(sql string) string {
	var b strings.Builder
	word := "" // the last word before what comes
	open := 0  // parentheses within OPTIONS
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == '\'':
			end := literalEnd(sql, i, word == "e" || word == "E")
			text := sql[i:end]
			prefix := strings.TrimSuffix(b.String(), word)
			secret := open > 0 || isSecretWord(word)
			if word == "e" || word == "E" || word == "U&" {
				secret = open > 0 || isSecretWord(lastWord(prefix))
			}
			if secret {
				text = redacted
			} else {
				text = redactConnections(text)
			}
			b.WriteString(text)
			i, word = end, ""
		case c == '"':
			end := i + 1
			for end < len(sql) && sql[end] != '"' {
				end++
			}
			end = min(end+1, len(sql))
			b.WriteString(sql[i:end])
			i, word = end, ""
		case isWordByte(c):
			end := i
			for end < len(sql) && isWordByte(sql[end]) {
				end++
			}
			word = sql[i:end]
			b.WriteString(word)
			i = end
		default:
			switch {
			case c == '(' && (open > 0 || strings.EqualFold(word, "OPTIONS")):
				open++
			case c == ')' && open > 0:
				open--
			}
			if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
				word = ""
			}
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

// isSecretWord tells whether the literal that follows a word is a secret: ALTER ROLE … PASSWORD '…', CREATE SUBSCRIPTION …
// CONNECTION '…'.
func isSecretWord(word string) bool {
	return strings.EqualFold(word, "PASSWORD") || strings.EqualFold(word, "CONNECTION")
}

func lastWord(text string) string {
	text = strings.TrimRight(text, " \t\r\n")
	at := len(text)
	for at > 0 && isWordByte(text[at-1]) {
		at--
	}
	return text[at:]
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '&' || c >= 0x80
}

// literalEnd returns where a literal ends that begins at a quote. In one with an E before it a backslash takes what follows.
func literalEnd(sql string, at int, escapes bool) int {
	for i := at + 1; i < len(sql); i++ {
		switch {
		case escapes && sql[i] == '\\':
			i++
		case sql[i] == '\'' && i+1 < len(sql) && sql[i+1] == '\'':
			i++
		case sql[i] == '\'':
			return i + 1
		}
	}
	return len(sql)
}

// redactConnections takes the passwords out of connection strings and URLs, wherever they stand in a text.
func redactConnections(text string) string {
	text = regexp.MustCompile(`(?i)(password\s*=\s*)(\\'[^']*'|''[^']*''|[^\s'"&]+)`).ReplaceAllString(text, "$1[redacted]")
	return regexp.MustCompile(`(://[^\s/:@']*:)[^\s/@']+@`).ReplaceAllString(text, "$1[redacted]@")
}
