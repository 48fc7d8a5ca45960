// Package size reads numbers of bytes as people write them, on the command line and in a set.
package size

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Parse reads a number of bytes: "268435456", "256MiB", "1G". Units are powers of 1024, whatever their spelling.
func Parse(text string) (int64, error) {
	digits := strings.TrimRightFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	unit := strings.ToUpper(strings.TrimSpace(text[len(digits):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
	shift, ok := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("%q is not a size, such as 256MiB or 1GiB", text)
	}
	return n << shift, nil
}

// Bytes is a number of bytes that JSON writes as a number, and reads also as a text that Parse takes.
type Bytes int64

// UnmarshalJSON reads a number or a text.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		return json.Unmarshal(data, (*int64)(b))
	}
	n, err := Parse(text)
	*b = Bytes(n)
	return err
}
