package ledger

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/tasks"
)

func TestPack(t *testing.T) {
	t.Parallel()
	for _, task := range []tasks.Task{
		{ID: "a"},
		{ID: "part:site/db:000001", Kind: tasks.KindPart, Node: "site/db", Weight: 1 << 62, Spec: json.RawMessage(`{"a":"b\nc"}`)},
		{ID: "h", Route: tasks.Route{Hold: true, Host: "web-1"}},
		{ID: "w", Route: tasks.Route{Worker: "w 1"}},
	} {
		p, err := pack(task, "g")
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(p.text, "\n")
		if r := unpackRoute(header); r != task.Route || header[0] != 'g' {
			t.Errorf("header %q gives %+v", header, r)
		}
		if p.weight > heaviest || p.id != task.ID {
			t.Errorf("packed as %+v", p)
		}
		back, err := unpack(p.text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(task, back); diff != "" {
			t.Errorf("task (-want +got):\n%s", diff)
		}
	}
	for _, bad := range []string{"", "-", "-\x1f\n", "\n{", "\n[]"} {
		if _, err := unpack(bad); err == nil {
			t.Errorf("unpacked %q", bad)
		}
	}
}

func FuzzUnpackFailure(f *testing.F) {
	for _, seed := range []string{
		`{"class":"permanent","message":"m"}`, "deaths\x1ft\x1fn\x1fw", "epochs\x1ft\x1fn\x1fw", "other\x1ft\x1fn\x1fw", "{", "", "text",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		failure := unpackFailure(stored)
		if !strings.HasPrefix(stored, "{") && failure.Class != tasks.Permanent {
			t.Errorf("%q became %+v", stored, failure)
		}
	})
}
