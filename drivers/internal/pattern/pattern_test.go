package pattern_test

import (
	"encoding/json"
	"errors"
	"testing"

	"salvor/drivers"
	"salvor/drivers/internal/pattern"
)

func TestFits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true},
		{"*", "a/b\n", true},
		{"", "", true},
		{"?", "", false},
		{"?", "é", true},
		{"a?c", "aéc", true},
		{"a*c", "abcbc", true},
		{"a*c", "abcb", false},
		{"*.sql", "a.b.sql", true},
		{"**a**", "a", true},
		{"a", "A", false},
		{"*b?", "abbc", true},
		{"é*", "éa", true},
		{"*?*?*", "é", false},
	} {
		if got := pattern.Fits(c.pattern, c.name); got != c.want {
			t.Errorf("%q fits %q = %v", c.pattern, c.name, got)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{`"orders"`: true, `["x", "shop.ord*"]`: true, `"other.*"`: false, `[]`: false} {
		var list pattern.List
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		if got := list.Table("shop", "orders"); got != want {
			t.Errorf("%s takes shop.orders = %v", text, got)
		}
	}
	for _, bad := range []string{"", "a[b]", `a\\b`, "a\x00", "\xff"} {
		if err := pattern.Check("tables", bad); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("Check(%q) = %v", bad, err)
		}
	}
}
