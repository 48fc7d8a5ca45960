package ledger

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"salvor/tasks"
)

// Limits on plans.
const (
	longestID     = 4096
	problemsShown = 20
)

var runID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Validate tells whether a plan can be carried out, naming all that is wrong with it (but at most 20 problems). It is
// pure.
//
// # What a plan must be
//
//   - Ids of steps are unique, those of tasks too; needs, gates' Until, growers and holders exist.
//   - A grower is a task that the plan knows from the start, of another step.
//   - A held step is grown by its holder and has no tasks from the start: after a loss the holder grows it again.
//   - No step needs itself, through needs, holders (they end after what they hold) or growers (they start before what
//     they grow).
//   - The gates of one name have one limit.
//
// That gates cannot block each other is up to the plan's maker: what Until needs must not have to pass the same gate.
func Validate(plan tasks.Plan) error {
	v := validator{steps: make(map[string]int), owner: make(map[string]string), gates: make(map[string]int)}
	v.plan(plan)
	if len(v.problems) == 0 {
		v.cycles(plan)
	}
	if more := len(v.problems) - problemsShown; more > 0 {
		v.problems = append(v.problems[:problemsShown], fmt.Errorf("and %d more", more))
	}
	return errors.Join(v.problems...)
}

type validator struct {
	problems []error
	steps    map[string]int    // index by id
	owner    map[string]string // step by task
	gates    map[string]int    // limit by name
}

func (v *validator) addf(format string, args ...any) {
	v.problems = append(v.problems, fmt.Errorf(format, args...))
}

func (v *validator) plan(p tasks.Plan) {
	if p.Contract != tasks.Contract {
		v.addf("plan is of contract %d, this program's is %d", p.Contract, tasks.Contract)
	}
	if !runID.MatchString(p.Run) {
		v.addf("run id %q is not valid", p.Run)
	}
	if p.OnError != "" && p.OnError != tasks.OnErrorStop && p.OnError != tasks.OnErrorContinue {
		v.addf("unknown policy %q", p.OnError)
	}
	if len(p.Steps) == 0 {
		v.addf("plan has no steps")
	}
	for i, s := range p.Steps {
		v.id("step", s.ID)
		if _, ok := v.steps[s.ID]; ok {
			v.addf("two steps have the id %q", s.ID)
		}
		v.steps[s.ID] = i
		for _, t := range s.Tasks {
			v.task(s.ID, t)
		}
	}
	for _, s := range p.Steps {
		v.step(s)
	}
}

func (v *validator) task(step string, t tasks.Task) {
	if err := validTask(t); err != nil {
		v.problems = append(v.problems, fmt.Errorf("step %q: %w", step, err))
	}
	if other, ok := v.owner[t.ID]; ok {
		v.addf("task %q is in the steps %q and %q", t.ID, other, step)
	}
	v.owner[t.ID] = step
}

// validTask checks what the ledger's scripts and the queue's names rely on.
func validTask(t tasks.Task) error {
	if t.ID == "" || len(t.ID) > longestID || hasControl(t.ID) {
		return fmt.Errorf("task id %.80q is empty, too long or holds control characters", t.ID)
	}
	if hasControl(t.Route.Host) || hasControl(t.Route.Worker) || len(t.Route.Host) > 255 || len(t.Route.Worker) > 255 {
		return fmt.Errorf("task %q: its route is too long or holds control characters", t.ID)
	}
	if t.Weight < 0 {
		return fmt.Errorf("task %q: weight %d is negative", t.ID, t.Weight)
	}
	return nil
}

func (v *validator) id(what, id string) {
	if id == "" || len(id) > longestID || hasControl(id) {
		v.addf("%s id %.80q is empty, too long or holds control characters", what, id)
	}
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

func (v *validator) step(s tasks.Step) {
	for _, need := range s.Needs {
		if _, ok := v.steps[need]; !ok {
			v.addf("step %q needs the unknown step %q", s.ID, need)
		}
	}
	if g := s.Gate; g != nil {
		v.gate(s.ID, g)
	}
	if s.Grower != "" {
		switch owner, ok := v.owner[s.Grower]; {
		case !ok:
			v.addf("step %q is grown by the unknown task %q", s.ID, s.Grower)
		case owner == s.ID:
			v.addf("step %q is grown by its own task %q", s.ID, s.Grower)
		}
	}
	if s.Holder == "" {
		return
	}
	if s.Holder != s.Grower {
		v.addf("step %q is held by task %q but grown by %q", s.ID, s.Holder, s.Grower)
	}
	if len(s.Tasks) > 0 {
		v.addf("step %q is held and has tasks from the start", s.ID)
	}
}

func (v *validator) gate(step string, g *tasks.Gate) {
	if g.Name == "" || hasControl(g.Name) {
		v.addf("step %q: gate name %q is not valid", step, g.Name)
	}
	if g.Limit < 1 {
		v.addf("step %q: gate %q has the limit %d", step, g.Name, g.Limit)
	}
	if limit, ok := v.gates[g.Name]; ok && limit != g.Limit {
		v.addf("step %q: gate %q has the limit %d here and %d elsewhere", step, g.Name, g.Limit, limit)
	}
	v.gates[g.Name] = g.Limit
	if _, ok := v.steps[g.Until]; !ok {
		v.addf("step %q: gate %q ends with the unknown step %q", step, g.Name, g.Until)
	}
}

// cycles looks for steps that would wait for themselves.
func (v *validator) cycles(p tasks.Plan) {
	before := make([][]int, len(p.Steps)) // what must come before each step's end
	for i, s := range p.Steps {
		for _, need := range s.Needs {
			before[i] = append(before[i], v.steps[need])
		}
	}
	for i, s := range p.Steps {
		if s.Grower == "" {
			continue
		}
		grower := v.steps[v.owner[s.Grower]]
		for _, need := range p.Steps[grower].Needs {
			before[i] = append(before[i], v.steps[need])
		}
		if s.Holder != "" {
			before[grower] = append(before[grower], i)
		}
	}
	if path := cycle(before); path != nil {
		names := make([]string, 0, len(path))
		for _, i := range path {
			names = append(names, p.Steps[i].ID)
		}
		v.addf("steps wait for each other: %s", strings.Join(names, " -> "))
	}
}

// cycle returns a path that leads back to its start, or nil. It keeps its own stack: a plan's chains may be long.
func cycle(edges [][]int) []int {
	const fresh, open, closed = 0, 1, 2
	state := make([]int, len(edges))
	for root := range edges {
		if state[root] != fresh {
			continue
		}
		state[root] = open
		path, next := []int{root}, []int{0}
		for len(path) > 0 {
			top := len(path) - 1
			at := path[top]
			if next[top] == len(edges[at]) {
				state[at] = closed
				path, next = path[:top], next[:top]
				continue
			}
			to := edges[at][next[top]]
			next[top]++
			switch state[to] {
			case open:
				return append(path[slices.Index(path, to):], to)
			case fresh:
				state[to] = open
				path, next = append(path, to), append(next, 0)
			}
		}
	}
	return nil
}
