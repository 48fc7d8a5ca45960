package secret_test

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"testing"

	"salvor/internal/secret"
)

func TestWithoutURLs(t *testing.T) {
	t.Parallel()
	request := func(text string, err error) error { return &url.Error{Op: "Get", URL: text, Err: err} }
	odd := request("https://u:SECRET@h:1/a?b=\"SECRET c", io.ErrUnexpectedEOF)
	for want, err := range map[string]error{
		"Get https://acc.blob.core.windows.net: unexpected EOF": request("https://acc.blob.core.windows.net/c/k?sv=1&sig=SECRET", io.ErrUnexpectedEOF),
		"list: a (code=x): Get http://h:9000: unexpected EOF":   fmt.Errorf("list: %w", fmt.Errorf("a (code=x): %w", request("http://h:9000/b/k", io.ErrUnexpectedEOF))),
		"a: Get https://h:1: unexpected EOF":                    fmt.Errorf("a: %w", odd),
		"Get https://h:1: unexpected EOF\nGet \"http://i\": unexpected EOF: Get https://h:1: unexpected EOF": errors.Join(
			odd, request("http://i/?SECRET", fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, odd))),
		"Get: unexpected EOF":                            request(":not a URL?SECRET", io.ErrUnexpectedEOF),
		`open bucket s3://b: no "x" (unexpected EOF)`:    fmt.Errorf(`open bucket s3://b/p?X-Amz-Signature=SECRET: no "x" (%w)`, io.ErrUnexpectedEOF),
		`"https://h" is wrong: unexpected EOF`:           fmt.Errorf(`"https://u:SECRET@h/path" is wrong: %w`, io.ErrUnexpectedEOF),
		"see https://h/path, is it a?b: unexpected EOF":  fmt.Errorf("see https://h/path, is it a?b: %w", io.ErrUnexpectedEOF),
		"read s3://b/folder at h:9000: unexpected EOF":   fmt.Errorf("read s3://b/folder at h:9000: %w", io.ErrUnexpectedEOF),
		"redirect to http://i: unexpected EOF; http://h": fmt.Errorf("redirect to http://i/a?b=SECRET: %w; http://h?SECRET", io.ErrUnexpectedEOF),
	} {
		got := secret.WithoutURLs(err)
		if got.Error() != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if !errors.Is(got, io.ErrUnexpectedEOF) {
			t.Errorf("%s: the chain is broken", got)
		}
	}
	if err := secret.WithoutURLs(nil); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	if err := secret.WithoutURLs(io.EOF); err != io.EOF { //nolint:errorlint // it is to be the same one
		t.Errorf("an error without URLs became %#v", err)
	}
}
