package main

import (
	"math"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFormatBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB", 10 << 30: "10.0 GiB",
		math.MaxInt64: "8.0 EiB", -2048: "-2.0 KiB",
	} {
		if got := formatBytes(n); got != want {
			t.Errorf("formatBytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestFormatCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", 100000: "100,000"} {
		if got := formatCount(n); got != want {
			t.Errorf("formatCount(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0.0 s", 1234 * time.Millisecond: "1.2 s", 59 * time.Second: "59 s", 200 * time.Second: "3 min 20 s",
		125 * time.Minute: "2 h 5 min", 50 * time.Hour: "2 d 2 h", -time.Second: "-1.0 s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestFormatAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", time.Hour: "1 h", 47 * time.Hour: "47 h", 49 * time.Hour: "2 d", 90 * time.Second: "1 min",
	} {
		if got := formatAge(d); got != want {
			t.Errorf("formatAge(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestQuoteName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a b": "a b", "": `""`, "ü": "ü", "a\nb": `"a\nb"`, "\xff": `"\xff"`, "\x1b[2J": `"\x1b[2J"`, `a"b`: `a"b`, "\u202e": `"\u202e"`,
	} {
		if got := quoteName(name); got != want {
			t.Errorf("quoteName(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestShellJoin(t *testing.T) {
	t.Parallel()
	words := []string{"plain", "", "a b", "it's", "$(rm)", "--x=y", "a\nb", "ü", "*"}
	sh := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+shellJoin(words...))
	out, err := sh.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, w := range words {
		want += w + "\x00"
	}
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Error(diff)
	}
}

func TestModeText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		entryType string
		mode      uint32
		want      string
	}{
		{"file", 0o644, "-rw-r--r--"},
		{"dir", 0o1777, "drwxrwxrwt"},
		{"file", 0o4755, "-rwsr-xr-x"},
		{"file", 0o2640, "-rw-r-S---"},
		{"symlink", 0o777, "lrwxrwxrwx"},
		{"fifo", 0, "p---------"},
		{"", 0, "?---------"},
		{"dir", 0o1000, "d--------T"},
	} {
		if got := modeText(c.entryType, c.mode); got != c.want {
			t.Errorf("modeText(%s, %o) = %s, want %s", c.entryType, c.mode, got, c.want)
		}
	}
}
