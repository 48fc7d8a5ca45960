package ledger

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"salvor/tasks"
)

// Tasks are stored as a header line and JSON. Scripts read the header only: a flag ('h' holder, 'g' grower, '-' neither),
// the route and the weight, separated by unit separators.
const unit = "\x1f"

// heaviest bounds weights and progress, so that no sum in Redis overflows.
const heaviest = 1 << 50

// ahead is what tasks that start first are ranked above all weights. The sum is exact as a score of Redis.
const ahead = heaviest << 1

// packedTask is a task as it is stored.
type packedTask struct {
	id     string
	weight int64
	rank   int64 // by which it is given out
	text   string
}

func pack(t tasks.Task, flag string) (packedTask, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return packedTask{}, fmt.Errorf("encode task %s: %w", t.ID, err)
	}
	hold := ""
	if t.Route.Hold {
		hold = "1"
	}
	weight := clamp(t.Weight)
	rank := weight
	if t.First {
		rank += ahead
	}
	header := []string{flag, hold, t.Route.Host, t.Route.Worker, strconv.FormatInt(weight, 10)}
	return packedTask{t.ID, weight, rank, strings.Join(header, unit) + "\n" + string(data)}, nil
}

// byRank sorts tasks in the order in which they are given out: those that are to be first, then heavier ones, then by id.
func byRank(list []packedTask) {
	slices.SortFunc(list, func(a, b packedTask) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.id, b.id))
	})
}

func unpack(packed string) (tasks.Task, error) {
	_, data, ok := strings.Cut(packed, "\n")
	var t tasks.Task
	if !ok {
		return t, fmt.Errorf("decode task: no header")
	}
	if err := json.Unmarshal([]byte(data), &t); err != nil {
		return t, fmt.Errorf("decode task: %w", err)
	}
	return t, nil
}

func unpackRoute(header string) tasks.Route {
	words := strings.Split(header, unit)
	if len(words) != 5 {
		return tasks.Route{}
	}
	return tasks.Route{Hold: words[1] == "1", Host: words[2], Worker: words[3]}
}

func clamp(n int64) int64 { return min(max(n, 0), heaviest) }

// unpackFailure decodes a stored failure: JSON as a caller gave it, or what a script noted.
func unpackFailure(stored string) tasks.Failure {
	var f tasks.Failure
	if strings.HasPrefix(stored, "{") && json.Unmarshal([]byte(stored), &f) == nil {
		return f
	}
	words := strings.Split(stored, unit)
	if len(words) != 4 {
		return tasks.Failure{Class: tasks.Permanent, Message: stored}
	}
	f = tasks.Failure{Class: tasks.Permanent, Task: words[1], Node: words[2], Worker: words[3]}
	switch words[0] {
	case "deaths":
		f.Message = "too many attempts were lost with their worker"
		f.Hint = "look at the logs of the workers: something ends them while they do this task"
	case "epochs":
		f.Message = "the consistent view was lost too often"
		f.Hint = "look at the logs of the workers that held it"
	default:
		f.Message = words[0]
	}
	return f
}
