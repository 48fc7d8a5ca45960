package mysql

import "testing"

// TestEndedSweep ends a restore between the drops of its own tables: what is left is removed by the next attempt.
func TestEndedSweep(t *testing.T) {
	t.Parallel()
	s := server(t)
	d := dumpDatabase(t, s.URL(seeded(t, s)), "")
	name := s.NewName()
	target, rules := openSource(t, s.URL(name), ""), d.rules()
	requireNoError(t, "restore", d.restore(t.Context(), target, rules))
	for _, sql := range progressSQL()[:2] {
		s.Exec(name, sql)
	}
	requireNoError(t, "finish again", target.Finish(t.Context(), rules, d.parts))
	d.mustBeProved(t, s, name)
	// Another restore's tables are its own.
	other := rules
	other.Run += "2"
	requireNoError(t, "prepare", target.Prepare(t.Context(), other, d.parts))
	if err := target.Finish(t.Context(), rules, d.parts); err == nil {
		t.Error("a finished restore ends once more where another has begun")
	}
	requireNoError(t, "finish the other", target.Finish(t.Context(), other, d.parts))
	d.mustBeProved(t, s, name)
}
