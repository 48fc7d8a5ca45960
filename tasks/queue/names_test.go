package queue

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/tasks"
	"salvor/tasks/ledger"
)

func TestQueueNames(t *testing.T) {
	t.Parallel()
	for route, want := range map[tasks.Route]string{
		{}:                                    "salvor2.work",
		{Hold: true}:                          "salvor2.hold",
		{Host: "web-1"}:                       "salvor2.work.host.web-1",
		{Host: "web-1", Hold: true}:           "salvor2.hold.host.web-1",
		{Worker: "w", Host: "h", Hold: true}:  "salvor2.own.w",
		{Worker: "host.web-1", Host: "other"}: "salvor2.own.host.web-1",
	} {
		if got := Name(route); got != want {
			t.Errorf("queue of %+v is %s, want %s", route, got, want)
		}
	}
}

func TestPayloadsAreSmall(t *testing.T) {
	t.Parallel()
	e := ledger.Emission{Run: "01919d6e-0000-7000-8000-000000000000", Task: "part:site/databases/main:000012", Attempt: "0123abcd-123456"}
	data, err := encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) >= 200 {
		t.Errorf("payload has %d bytes: %s", len(data), data)
	}
	d, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Delivery{Run: e.Run, Task: e.Task, Attempt: e.Attempt}, d); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
	if id := taskID(e); id != e.Run+":"+e.Task+":"+e.Attempt {
		t.Errorf("task id is %s", id)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"run":"r","task":"t","attempt":"a"}`, `{}`, ``, `null`, `{"run":1}`, "\xff", `{"run":"r","task":"t","attempt":"a"}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d, err := decode(payload)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "decode delivery: ") {
				t.Errorf("error %v", err)
			}
			return
		}
		if d.Run == "" || d.Task == "" || d.Attempt == "" {
			t.Errorf("accepted %q as %+v", payload, d)
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if d2, err := decode(again); err != nil || d2 != d {
			t.Errorf("%+v became %+v, %v", d, d2, err)
		}
	})
}
