package tasks

import (
	"net/url"
	"regexp"
	"strings"
)

// held stands for a reference in a masked text: no source holds a NUL.
const held = "\x00"

// secretKey matches the end of names that carry secrets, in queries, DSNs, options and environment assignments.
const secretKey = `(?:password|passwd|passphrase|secret|token|access_?key|secret_?key|account_?key|api_?key|signature|(?:\b|_)(?:pass|pwd|sig))`

var (
	// assignment is KEY=VALUE, the value bare or quoted: "host=x password='a b'", "--password=x", "PGPASSWORD=x".
	assignment = regexp.MustCompile(`(?i)` + secretKey + `\s*=\s*('(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[^\s;&]*)`)
	// embeddedURL is a URL with a password inside a longer text, such as a program's arguments.
	embeddedURL = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s'"@/:]*:([^\s'"@/]*)@`)
	// goDSN is the form that Go's MySQL driver takes: user:password@tcp(host)/name.
	goDSN = regexp.MustCompile(`^[^:/@\s]*:(.*)@[A-Za-z0-9]*[(/]`)
)

// HasLiteralSecret reports whether a source's text holds a password itself instead of naming it by a reference: in a
// URL's user part or query, or in a DSN's keys. A text that looks like one counts; a wrong guess costs no more than
// writing ${NAME} instead.
func HasLiteralSecret(source string) bool {
	text := maskReferences(source)
	if scheme, rest, ok := strings.Cut(text, "://"); ok && !strings.ContainsAny(scheme, " \t=@") {
		return hasURLSecret(rest) || hasAssignedSecret(text)
	}
	if m := goDSN.FindStringSubmatch(text); m != nil && isLiteral(m[1]) {
		return true
	}
	for _, m := range embeddedURL.FindAllStringSubmatch(text, -1) {
		if isLiteral(m[1]) {
			return true
		}
	}
	return hasAssignedSecret(text)
}

// RedactSource returns a source with [RedactedSource] in place of each secret that it holds itself, to be shown; all of it where the
// secrets cannot be told from the rest.
func RedactSource(source string) string {
	text := source
	if scheme, rest, ok := strings.Cut(source, "://"); ok && !strings.ContainsAny(scheme, " \t=@") {
		authority, after, slash := strings.Cut(rest, "/")
		at := strings.LastIndexByte(authority, '@')
		if user, _, ok := strings.Cut(authority[:max(at, 0)], ":"); ok {
			text = scheme + "://" + user + ":" + RedactedSource + authority[at:]
			if slash {
				text += "/" + after
			}
		}
		if strings.Contains(after, "@") || strings.ContainsAny(authority, "?#") {
			return whole(source) // a password with a slash, or an endpoint's
		}
	} else {
		text = redactGroup(goDSN, redactGroup(embeddedURL, text))
	}
	text = redactGroup(assignment, text)
	if HasLiteralSecret(text) {
		return RedactedSource
	}
	return text
}

// whole redacts all of a source that holds a secret.
func whole(source string) string {
	if HasLiteralSecret(source) {
		return RedactedSource
	}
	return source
}

// redactGroup redacts what the first group of a pattern matches.
func redactGroup(pattern *regexp.Regexp, text string) string {
	var b strings.Builder
	end := 0
	for _, m := range pattern.FindAllStringSubmatchIndex(text, -1) {
		if !isLiteral(strings.Trim(maskReferences(text[m[2]:m[3]]), `'"`)) {
			continue
		}
		b.WriteString(text[end:m[2]])
		b.WriteString(RedactedSource)
		end = m[3]
	}
	return b.String() + text[end:]
}

// hasURLSecret looks at what follows a URL's "://".
func hasURLSecret(rest string) bool {
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.Contains(rest[:end], "@") {
		authority = rest[:end]
	}
	// Where no @ comes before the first slash, all up to the last @ counts: a password may hold an unescaped slash, and a
	// URL parser would take its first half for a port.
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if _, password, ok := strings.Cut(authority[:at], ":"); ok && isLiteral(password) {
			return true
		}
	}
	_, query, _ := strings.Cut(rest, "?")
	for parameter := range strings.SplitSeq(query, "&") { // an endpoint is a URL, too
		_, value, _ := strings.Cut(parameter, "=")
		value, err := url.QueryUnescape(value)
		if _, inner, ok := strings.Cut(value, "://"); err == nil && ok && hasURLSecret(inner) {
			return true
		}
	}
	decoded, err := url.QueryUnescape(query)
	return err == nil && hasAssignedSecret(decoded)
}

func hasAssignedSecret(text string) bool {
	for _, m := range assignment.FindAllStringSubmatch(text, -1) {
		if isLiteral(strings.Trim(m[1], `'"`)) {
			return true
		}
	}
	return false
}

// isLiteral reports whether a password holds anything but references.
func isLiteral(password string) bool { return strings.Trim(password, held) != "" }

// maskReferences puts a placeholder for every reference, so that what stands in one is not taken for the text's own
// punctuation. A malformed reference stays as it is.
func maskReferences(text string) string {
	var out strings.Builder
	text = strings.ReplaceAll(text, held, "?")
	err := scanReferences(text, func(t textPart) error {
		if t.variable != "" || t.file != "" {
			out.WriteString(held)
		} else {
			out.WriteString(t.text)
		}
		return nil
	})
	if err != nil {
		return text
	}
	return out.String()
}
