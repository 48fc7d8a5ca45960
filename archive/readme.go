package archive

import _ "embed"

// readme tells how to restore by hand. It is written into every archive.
//
//go:embed readme.txt
var readme string
