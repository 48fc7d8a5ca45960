package mysql

import (
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"
)

const redacted = "'[redacted]'"

// secretWords stand before a text or a hexadecimal number that is a secret: CREATE USER … IDENTIFIED BY '…', … IDENTIFIED VIA
// x USING '…', … IDENTIFIED WITH x AS 0x…, CREATE SERVER … OPTIONS (… PASSWORD '…'), CHANGE MASTER TO MASTER_PASSWORD = '…'.
func isSecretWord(word string) bool {
	switch strings.ToUpper(word) {
	case "BY", "AS", "USING", "PASSWORD", "MASTER_PASSWORD", "SOURCE_PASSWORD", "CONNECTION":
		return true
	}
	return false
}

// redact takes the secrets out of a statement that an error quotes. It errs on the side of taking too much.
func redact(sql string) string {
	upper := strings.ToUpper(sql)
	if !strings.Contains(upper, "IDENTIFIED") && !strings.Contains(upper, "PASSWORD") && !strings.Contains(upper, "CONNECTION") {
		return sql
	}
	l := &lexer{text: sql}
	var b strings.Builder
	last, word := 0, ""
	for {
		t, err := l.next()
		if err != nil {
			return b.String() + " [redacted]"
		}
		if t.kind == tokenEnd {
			return b.String() + sql[last:]
		}
		b.WriteString(sql[last:t.from])
		text := sql[t.from:t.to]
		last = t.to
		switch {
		case t.kind == tokenText && isSecretWord(word), t.kind == tokenWord && isSecretWord(word) && strings.HasPrefix(text, "0x"):
			b.WriteString(redacted)
		case t.kind == tokenNote:
			b.WriteString("/* */")
		default:
			b.WriteString(text)
			if t.kind == tokenWord {
				word = text
			} else if t.kind != tokenSymbol || text != "=" && text != "(" {
				word = ""
			}
		}
	}
}

// redactError takes out of a server's error what it may quote of a statement that holds secrets.
func redactError(err error) error {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return err
	}
	plain := *e
	plain.Message = "the server refused it (its words are left out, as they may quote a secret)"
	return &plain
}
