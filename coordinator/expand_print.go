package coordinator

import (
	"cmp"
	"slices"

	"salvor/tasks"
)

// PlanLine is a step of a plan, for reading.
type PlanLine struct {
	// Wave, from 1, is a number that is greater than those of all steps that this one needs. Steps of one wave may run
	// at the same time.
	Wave   int      `json:"wave"`
	Step   string   `json:"step"`
	Kind   string   `json:"kind"`
	Node   string   `json:"node,omitempty"`
	Driver string   `json:"driver,omitempty"`
	Host   string   `json:"host,omitempty"`
	Needs  []string `json:"needs,omitempty"`
}

// Print returns the steps of a plan by waves, and within a wave in the plan's order. It expects a plan that PlanDump or
// PlanRestore made; steps on a cycle, which those never have, are left out.
func Print(plan tasks.Plan) []PlanLine {
	hosts, drivers := hostsOf(plan), driversOf(plan)
	waves := wavesOf(plan.Steps)
	var lines []PlanLine
	for i, s := range plan.Steps {
		if waves[i] == 0 {
			continue
		}
		host := hosts[s.Grower]
		if len(s.Tasks) > 0 {
			host = s.Tasks[0].Route.Host
		}
		lines = append(lines, PlanLine{
			Wave: waves[i], Step: s.ID, Kind: string(s.Kind), Node: s.Node, Driver: drivers[s.Node], Host: host, Needs: s.Needs,
		})
	}
	slices.SortStableFunc(lines, func(a, b PlanLine) int { return cmp.Compare(a.Wave, b.Wave) })
	return lines
}

// wavesOf returns, for each step, one more than the greatest wave of what it needs; 0 for a step on or behind a cycle.
func wavesOf(steps []tasks.Step) []int {
	index := make(map[string]int, len(steps))
	for i, s := range steps {
		index[s.ID] = i
	}
	waves, left := make([]int, len(steps)), make([]int, len(steps))
	followers := make([][]int, len(steps))
	var ready []int
	for i, s := range steps {
		for _, need := range s.Needs {
			if n, ok := index[need]; ok {
				followers[n] = append(followers[n], i)
				left[i]++
			}
		}
		if left[i] == 0 {
			ready = append(ready, i)
		}
	}
	for ; len(ready) > 0; ready = ready[1:] {
		i := ready[0]
		waves[i] = 1
		for _, need := range steps[i].Needs {
			if n, ok := index[need]; ok {
				waves[i] = max(waves[i], waves[n]+1)
			}
		}
		for _, f := range followers[i] {
			if left[f]--; left[f] == 0 {
				ready = append(ready, f)
			}
		}
	}
	return waves
}

// hostsOf returns the hosts of tasks, by id.
func hostsOf(plan tasks.Plan) map[string]string {
	hosts := make(map[string]string)
	for _, s := range plan.Steps {
		for _, t := range s.Tasks {
			hosts[t.ID] = t.Route.Host
		}
	}
	return hosts
}

// driversOf returns the drivers of nodes, by path.
func driversOf(plan tasks.Plan) map[string]string {
	drivers := make(map[string]string)
	for path, n := range plan.Root.Walk() {
		drivers[path] = n.Driver
	}
	if plan.Restore != nil {
		for path, n := range plan.Restore.Nodes {
			drivers[path] = n.Driver
		}
	}
	return drivers
}
