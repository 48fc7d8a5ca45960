package all_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"salvor/drivers"
	"salvor/drivers/all"
)

func TestRegistry(t *testing.T) {
	t.Parallel()
	type listed struct {
		Name, Scheme string
		Shape        drivers.Shape
	}
	var got []listed
	for _, k := range all.Registry().Kinds() {
		got = append(got, listed{k.Name, k.Scheme, k.Shape})
	}
	want := []listed{
		{"command", "command", drivers.ShapeStream},
		{"filesystem", "dir", drivers.ShapeTree},
		{"media", "media", drivers.ShapeTree},
		{"mysql", "mysql", drivers.ShapeStream},
		{"postgres", "postgres", drivers.ShapeStream},
		{"sqlite", "sqlite", drivers.ShapeStream},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Registry() (-want +got):\n%s", diff)
	}
}

func TestUnknownDriver(t *testing.T) {
	t.Parallel()
	_, err := all.Registry().Lookup("pg")
	if want := `unknown driver "pg" (have command, filesystem, media, mysql, postgres, sqlite)`; err == nil || err.Error() != want {
		t.Errorf("Lookup(pg) = %v, want %s", err, want)
	}
}
