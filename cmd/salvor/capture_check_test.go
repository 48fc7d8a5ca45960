package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCaptureDeclared: what the node says is used: a column of times by its name, a reference by plain columns; Django's own tables tell
// the models' names and the generic keys.
func TestCaptureDeclared(t *testing.T) {
	t.Parallel()
	captureEngines(t, false, func(t *testing.T, e captureEngine) {
		dir := t.TempDir()
		archive, config := filepath.Join(dir, "archive"), e.writeConfig(t, dir)
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		said := `, capture: {margin: 48h, zone: UTC, deals: {created: ordered_on, model: shop.order, references: [{column: customer_no, to: customers, key: no}]}}}`
		if err := os.WriteFile(config, []byte(strings.Replace(string(text), "}\n", said+"\n", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		e.all([]string{
			"CREATE TABLE django_content_type (id int PRIMARY KEY, app_label varchar(100), model varchar(100))",
			"CREATE TABLE customers (id int PRIMARY KEY, no int)",
			"CREATE TABLE deals (id int PRIMARY KEY, ordered_on timestamp NULL, customer_no varchar(10))",
			"CREATE TABLE shop_tag (id int PRIMARY KEY, content_type_id int, object_id varchar(40), FOREIGN KEY (content_type_id) REFERENCES django_content_type (id))",
			"INSERT INTO django_content_type VALUES (7, 'shop', 'order'), (8, 'shop', 'tag')",
			"INSERT INTO customers VALUES (1, 100), (2, 200)",
			"INSERT INTO deals VALUES (1, '2026-10-01 00:00:00', '100'), (2, '2026-10-30 12:00:00', '200')",
			"INSERT INTO shop_tag VALUES (1, 7, '1'), (2, 7, '2'), (3, 8, '2')",
		})
		l := mustCapture(t, "-c", config, "--since", "2026-11-01")
		want := e.named(map[string][]string{"deals": {"c[2]"}, "customers": {"s[2]"}, "shop_tag": {"x[2]", "x[3]"}, "django_content_type": {"s[7]", "s[8]"}}) // tag 3 is of tag 2
		if diff := cmp.Diff(want, capturedRows(t, archive, l)); diff != "" {
			t.Errorf("captured (-want +got):\n%s", diff)
		}
		for file, names := range map[string]string{"deals": `"app":"shop","model":"order",`, "shop_tag": `"app":"shop","model":"tag",`} {
			data, err := os.ReadFile(filepath.Join(archive, "captures", l.Set, l.Capture, e.schema+file+".jsonl"))
			if err != nil || !strings.HasPrefix(string(data), "{"+names) {
				t.Errorf("lines of %s: %s, %v", file, data, err)
			}
		}
		// A line of Django's names alone is one of the table that has another name; and what is not there is said before anything is captured.
		if err := os.WriteFile(config, []byte(strings.Replace(string(text), "}\n", ", capture: {deals: {created: orderd_on}}}\n", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := call(t, "capture", "-q", "-c", config, "--since", "2026-11-01")
		if code == exitOK || !strings.Contains(stderr, `capture.deals.created: table `+e.tableName("deals")+`: column "orderd_on": does not exist`) {
			t.Errorf("a column that is not there: exit code %d: %s", code, stderr)
		}
	})
}

// TestCaptureCheck: the files are found to be right as they were written, and everything that is wrong with them once people have
// edited them is said at once.
func TestCaptureCheck(t *testing.T) {
	t.Parallel()
	captureEngines(t, false, func(t *testing.T, e captureEngine) {
		dir := t.TempDir()
		archive, config := filepath.Join(dir, "archive"), e.writeConfig(t, dir)
		e.exec("CREATE TABLE users (id int PRIMARY KEY, name varchar(20), plan varchar(20))")
		var rows []string
		for i := range 1200 {
			rows = append(rows, fmt.Sprintf("(%d, 'name %d', 'p%d')", i, i, i%3))
		}
		e.exec("INSERT INTO users VALUES " + strings.Join(rows, ", "))
		mustCall(t, "dump", "-q", "-c", config)
		e.exec("UPDATE users SET plan = 'free'")
		e.exec("UPDATE users SET name = 'Ann' WHERE id = 5")
		e.exec("UPDATE users SET name = 'Bob' WHERE id = 6")
		e.exec("INSERT INTO users VALUES (5000, 'new', 'free')")
		l := mustCapture(t, "-c", config, "--against", "latest")
		folder := filepath.Join(archive, "captures", l.Set, l.Capture)
		read := func(name string) string {
			t.Helper()
			data, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
		write := func(name, text string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		decisions := read("decisions.yaml")
		question := fmt.Sprintf("# Group 1: 1200 of 1200 rows of %s have plan = \"free\" now; left out until they are taken.\n# Such as %s id=0; %s id=1; %s id=2.\n# - {group: 1, action: take}\n",
			e.tableName("users"), e.tableName("users"), e.tableName("users"), e.tableName("users"))
		if !strings.HasSuffix(decisions, question) {
			t.Errorf("decisions end in %s, want %s", decisions[max(0, len(decisions)-400):], question)
		}
		checked := mustCall(t, "capture", "check", "-c", config)
		for _, want := range []string{"group 1: nobody has decided on it", "capture " + l.Capture + " can be merged as it is"} {
			if !strings.Contains(checked, want) {
				t.Errorf("a capture as it was written: %s lacks %q", checked, want)
			}
		}

		file := e.schema + "users.jsonl"
		lines := read(file)
		write(file, strings.Replace(strings.Replace(lines, `"name":"Ann"`, `"name":"Anna"`, 1), `"name":"name 6"}`, `"name":"name 7"}`, 1)+`{"table":"users","data":{"id":1,"colour":1}}`)
		write("decisions.yaml", strings.ReplaceAll(decisions, "# - {group: 1, action", "- {group: 2, action"))
		stdout, stderr, code := call(t, "capture", "check", "-c", config, l.Capture)
		if code != exitUsage || strings.Contains(stdout, "can be merged") || !strings.Contains(stdout, "1 lines were edited, the first in "+file+", line 1") {
			t.Errorf("an edited capture: exit code %d: %s", code, stdout)
		}
		for _, want := range []string{
			"error: decisions.yaml:", ": group 2: does not exist", "hint: the capture has groups 1 to 1",
			"error: " + file + ":2: hash: not valid: more was edited than values that are to be written", "error: " + file + ":4: data: column \"colour\": does not exist",
		} {
			if !strings.Contains(stderr, want) {
				t.Errorf("problems: %s lack %q", stderr, want)
			}
		}
		write(file, strings.Replace(lines, `"name":"Ann"`, `"name":"Anna"`, 1))
		write("decisions.yaml", strings.ReplaceAll(decisions, "# - {group: 1, action", "- {group: 1, action"))
		var result struct {
			Problems  []any `json:"problems"`
			Undecided []int `json:"undecided_groups"`
			Edited    int   `json:"edited_lines"`
			Files     []struct {
				Lines, Taken int
			} `json:"files"`
		}
		if err := json.Unmarshal([]byte(mustCall(t, "capture", "check", "-c", config, "--json")), &result); err != nil {
			t.Fatal(err)
		}
		if len(result.Problems) > 0 || len(result.Undecided) > 0 || result.Edited != 1 || len(result.Files) != 2 || result.Files[0].Taken != 3 || result.Files[1].Taken != 1200 {
			t.Errorf("a capture that is mended: %+v", result)
		}
	})
}
