package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/internal/testenv"
)

// django runs code of Django's own on a database.
func django(t *testing.T, source, action string) {
	t.Helper()
	admin := testenv.Program(t, "django", "django-admin")
	f, err := os.Open(admin)
	if err != nil {
		t.Fatal(err)
	}
	head, err := bufio.NewReader(f).ReadString('\n')
	if err != nil || f.Close() != nil {
		t.Fatalf("read %s: %v", admin, err)
	}
	// The interpreter for which Django is installed need not be the first on the PATH.
	interpreter := strings.Fields(strings.TrimPrefix(head, "#!"))
	cmd := exec.CommandContext(t.Context(), interpreter[0], append(interpreter[1:], filepath.Join("testdata", "django", "site.py"), source, action)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", action, err, out.String())
	}
}

// labelledRows are the rows of a capture by Django's names of their tables.
func labelledRows(t *testing.T, archive string, l captureLine) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(archive, "captures", l.Set, l.Capture, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]string)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var r struct {
				App, Model, Op string
				PK             []json.RawMessage
				Changed        []string
				Data           map[string]any
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			text := r.Op + string(r.PK[0])
			if r.Model == "session" {
				text = r.Op // its key is random
			}
			if r.Changed != nil {
				text += " " + strings.Join(r.Changed, ",")
			}
			rows[r.App+"."+r.Model] = append(rows[r.App+"."+r.Model], text)
			if r.Model == "item" && r.Op == "c" && (r.Data["name"] != "" || r.Data["price"] != "0.00" && r.Data["price"] != 0.0 || r.Data["sold_out"] == true || r.Data["sold_out"] == nil) {
				t.Errorf("an item of empty values: %s", line)
			}
		}
	}
	for _, list := range rows {
		slices.Sort(list)
	}
	return rows
}

// TestCaptureDjango: a site made by Django's own code is captured by the names that it has for its models; links, parts of rows in parents'
// tables and what hangs on rows by generic keys come along, though none of them has a time.
func TestCaptureDjango(t *testing.T) {
	t.Parallel()
	captureEngines(t, false, func(t *testing.T, e captureEngine) {
		dir := t.TempDir()
		archive, config := filepath.Join(dir, "archive"), e.writeConfig(t, dir)
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(config, []byte(strings.Replace(string(text), "}\n", ", capture: {zone: UTC, warehouse: {model: shop.item}}}\n", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		django(t, e.source, "make")
		mustCall(t, "dump", "-q", "-c", config)
		django(t, e.source, "work")

		want := map[string][]string{
			"auth.user":        {"c2"},
			"auth.user_groups": {"c1", "c2"},
			"admin.logentry":   {"c1"},
			"sessions.session": {"c"},
			"shop.item":        {"c4"},
			"shop.order":       {"c4", "d3", "m2 modified,text"},
			"shop.giftorder":   {"c4"},
			"shop.order_items": {"c4", "c5", "c6", "d3"},
			"shop.note":        {"c2", "c3"},
		}
		l := mustCapture(t, "-c", config, "--against", "latest")
		if diff := cmp.Diff(want, labelledRows(t, archive, l)); diff != "" {
			t.Errorf("captured (-want +got):\n%s", diff)
		}
		if checked := mustCall(t, "capture", "check", "-c", config); !strings.Contains(checked, "can be merged as it is") {
			t.Errorf("checked: %s", checked)
		}

		// By times alone: what hangs on the new rows is found, however it does; a new link of an old row is not, and its table is blind.
		l = mustCapture(t, "-c", config, "--since", "1h")
		got := labelledRows(t, archive, l)
		for model, rows := range map[string][]string{
			"auth.user": {"c2"}, "auth.user_groups": {"x1"}, "shop.order": {"c4", "m2 "}, "shop.giftorder": {"x4"}, "shop.note": {"x2", "x3"}, "admin.logentry": {"x1"}, "sessions.session": nil,
		} {
			if diff := cmp.Diff(rows, slices.DeleteFunc(got[model], func(r string) bool { return strings.HasPrefix(r, "s") })); diff != "" && len(rows)+len(got[model]) > 0 {
				t.Errorf("%s by times (-want +got):\n%s", model, diff)
			}
		}
		if links := got["shop.order_items"]; len(links) != 2 || !strings.HasPrefix(links[0], "x") {
			t.Errorf("links by times: %v", links)
		}
		for _, table := range []string{"shop_order_items", "django_session", "warehouse"} {
			if !slices.Contains(l.Blind, e.tableName(table)) {
				t.Errorf("%s is not told to be blind: %v", table, l.Blind)
			}
		}
	})
}
