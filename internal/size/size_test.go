package size

import (
	"encoding/json"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "1k": 1 << 10, "1K": 1 << 10, "256MiB": 256 << 20, "256 mb": 256 << 20, "2G": 2 << 30, "1TiB": 1 << 40, "7B": 7,
		"": -1, "x": -1, "-1": -1, "1.5G": -1, "1X": -1, "99999999999999999999": -1, "9999999999G": -1,
	} {
		got, err := Parse(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("Parse(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{`7`: 7, `"64MiB"`: 64 << 20, `"7"`: 7, `"7 apples"`: -1, `7.5`: -1, `[]`: -1} {
		var b Bytes
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			b = -1
		}
		if b != want {
			t.Errorf("%s = %d, want %d", text, b, want)
		}
	}
	if data, err := json.Marshal(Bytes(1 << 20)); err != nil || string(data) != "1048576" {
		t.Errorf("written as %s, %v", data, err)
	}
}
