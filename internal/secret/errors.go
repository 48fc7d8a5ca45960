package secret

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// WithoutURLs returns an error whose text shows of each URL no more than the server: what else a URL holds may be a secret
// (a user and a password, a signature or a token among the parameters), or repeats what the caller says of its place. The
// chain stays as it is, for errors.Is and errors.As.
//
// Where a URL is not the subject of a [url.Error] but stands in a text, it is cut only if it has parameters or a user.
func WithoutURLs(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	short := withoutRequests(err, text)
	short = anyURL.ReplaceAllStringFunc(short, withoutParts)
	if short == text {
		return err
	}
	return &shown{short, err}
}

// anyURL matches a URL: its scheme, its user, its server, its path, its parameters.
var anyURL = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s"<>/?#]*@)?([^\s"<>/?#@]*)([^\s"<>?]*)(\?[^\s"<>]*)?`)

// withoutParts cuts a URL that has a user or parameters. Punctuation at its end is the sentence's.
func withoutParts(text string) string {
	part := anyURL.FindStringSubmatch(text)
	if part[2] == "" && part[5] == "" {
		return text
	}
	server := strings.TrimRight(part[1]+part[3], punctuation)
	return server + text[len(strings.TrimRight(text, punctuation)):]
}

const punctuation = ".,:;)"

// shown is an error with another text.
type shown struct {
	text string
	error
}

func (s *shown) Error() string { return s.text }

func (s *shown) Unwrap() error { return s.error }

// withoutRequests shortens the text of each [url.Error] in a tree of errors where a text repeats it.
func withoutRequests(err error, text string) string {
	if request, ok := err.(*url.Error); ok { //nolint:errorlint // each error of the tree is looked at by itself
		text = strings.ReplaceAll(text, request.Error(), requestText(request))
	}
	switch inner := err.(type) { //nolint:errorlint // likewise
	case interface{ Unwrap() []error }:
		for _, e := range inner.Unwrap() {
			text = withoutRequests(e, text)
		}
	default:
		if e := errors.Unwrap(err); e != nil {
			text = withoutRequests(e, text)
		}
	}
	return text
}

// requestText is what a request's error may say: what was asked of which server, and why it failed.
func requestText(e *url.Error) string {
	text := e.Op
	if u, err := url.Parse(e.URL); err == nil && u.Host != "" {
		text += " " + u.Scheme + "://" + u.Host
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}
