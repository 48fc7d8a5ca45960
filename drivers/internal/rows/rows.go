// Package rows writes the rows of tables as lines of text, as the drivers of databases dump them: it counts and hashes them
// whatever their order is, and cuts them into objects. It knows lines, and nothing of what is in them.
package rows

import "strings"

// Key joins the names of a table (its schema and its own) so that a person recognises it and no other table has the key: what
// separates names is percent-encoded within them, and the percent sign.
func Key(names ...string) string {
	escape := strings.NewReplacer("%", "%25", "/", "%2F", ".", "%2E")
	escaped := make([]string, len(names))
	for i, name := range names {
		escaped[i] = escape.Replace(name)
	}
	return strings.Join(escaped, ".")
}
