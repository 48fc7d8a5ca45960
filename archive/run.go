package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// StateOpen is the state of a run that has begun and not been reported.
const StateOpen = "open"

// Run is the report of one execution of an operation.
type Run struct {
	Run string `json:"run"`
	// Life counts the times that the run was begun or resumed, from 1; 0 stands for 1.
	Life      int       `json:"life,omitempty"`
	Operation string    `json:"operation,omitempty"`
	Set       string    `json:"set,omitempty"`
	Dump      string    `json:"dump,omitempty"`
	State     string    `json:"state"` // what the run ended as; StateOpen while it has not
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended,omitzero"`
	Exit      int       `json:"exit"`
	Hostname  string    `json:"hostname,omitempty"`
	Version   string    `json:"version,omitempty"` // EndRun fills it in
	// Detail is everything else, any JSON. Of an open run it is what OpenRun was told.
	Detail json.RawMessage `json:"detail,omitempty"`
}

type runDocument struct {
	envelope
	Run
}

// EndRun stores the report of a run's life, and then removes the mark that it is open. A life ends once: a report with the
// same State and Exit as the stored one is a repetition, and the stored one stays; any other is refused with [ErrExists].
func (a *Archive) EndRun(ctx context.Context, r Run) error {
	if !validRun(r.Run) {
		return invalid("run id %q", r.Run)
	}
	if r.Version == "" {
		r.Version = a.version
	}
	if r.Life == 1 {
		r.Life = 0
	}
	data, err := encodeDocument(runDocument{envelope{typeRun, Format}, r})
	if err != nil {
		return fmt.Errorf("encode report of run %s: %w", r.Run, err)
	}
	key := runKey(r.Run, r.Life)
	err = putSame(ctx, a.store, key, data)
	if errors.Is(err, ErrExists) {
		have, readErr := a.readRun(ctx, objectInfo{key: key})
		if readErr == nil && have.State == r.State && have.Exit == r.Exit {
			err = a.store.settle(ctx, key)
		}
		err = errors.Join(err, readErr)
	}
	if err != nil {
		return err
	}
	return a.store.remove(ctx, openRunKey(r.Run, r.Life))
}

// Runs returns the last report of each run, oldest first, and the open runs among them with State [StateOpen]. A report that is damaged is
// left out and told in the error, beside the others.
func (a *Archive) Runs(ctx context.Context) ([]Run, error) {
	keys, err := a.runKeys(ctx)
	if err != nil {
		return nil, err
	}
	runs := make([]Run, len(keys))
	errs := make([]error, len(keys))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelRequests)
	for i, o := range keys {
		g.Go(func() error {
			runs[i], errs[i] = a.readRun(gctx, o)
			if errs[i] == nil || errors.Is(errs[i], ErrCorrupt) || errors.Is(errs[i], ErrNewerFormat) || errors.Is(errs[i], errMissing) {
				return nil
			}
			return errs[i]
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []Run
	for i := range runs {
		if errs[i] == nil {
			out = append(out, runs[i])
		} else if errors.Is(errs[i], errMissing) {
			errs[i] = nil // ended, and thus renamed, since it was listed: the next call tells
		}
	}
	slices.SortStableFunc(out, func(x, y Run) int {
		if c := x.Started.Compare(y.Started); c != 0 {
			return c
		}
		return strings.Compare(x.Run, y.Run)
	})
	return out, errors.Join(errs...)
}

// runKeys lists one object for each run, of its last life: the report, or where there is none the open mark.
func (a *Archive) runKeys(ctx context.Context) ([]objectInfo, error) {
	type found struct {
		objectInfo
		life   int
		report bool
	}
	byRun := map[string]found{}
	err := a.store.list(ctx, runsDir, listLevel, func(o objectInfo) error {
		run, life, report, ok := runOfKey(o.key)
		if have := byRun[run]; ok && (life > have.life || life == have.life && report) {
			byRun[run] = found{o, life, report}
		}
		return nil
	})
	keys := make([]objectInfo, 0, len(byRun))
	for _, f := range byRun {
		keys = append(keys, f.objectInfo)
	}
	slices.SortFunc(keys, func(x, y objectInfo) int { return strings.Compare(x.key, y.key) })
	return keys, err
}

func (a *Archive) readRun(ctx context.Context, o objectInfo) (Run, error) {
	if o.key[len(o.key)-5:] == ".open" {
		var doc openDocument
		if _, err := a.document(ctx, o.key, typeOpen, &doc); err != nil {
			return Run{}, err
		}
		if openRunKey(doc.Run, doc.Life) != o.key {
			return Run{}, corrupt(o.key, "mark is of run %s", doc.Run)
		}
		return Run{
			Run: doc.Run, Life: doc.Life, Set: doc.Set, Dump: doc.Dump, State: StateOpen, Started: o.modified.UTC(), Detail: doc.About,
		}, nil
	}
	var doc runDocument
	if _, err := a.document(ctx, o.key, typeRun, &doc); err != nil {
		return Run{}, err
	}
	if runKey(doc.Run.Run, doc.Life) != o.key {
		return Run{}, corrupt(o.key, "report is of run %s", doc.Run.Run)
	}
	return doc.Run, nil
}

// Run finds a run by its id or a unique beginning of it. Errors: [ErrNoRun], [ErrAmbiguous], [ErrCorrupt].
func (a *Archive) Run(ctx context.Context, name string) (Run, error) {
	keys, err := a.runKeys(ctx)
	if err != nil {
		return Run{}, err
	}
	var fit []objectInfo
	var names []string
	for _, o := range keys {
		id, _, _, _ := runOfKey(o.key) //nolint:dogsled // it was listed as one
		if id == name {
			return a.readRun(ctx, o)
		}
		if strings.HasPrefix(id, name) {
			fit, names = append(fit, o), append(names, id)
		}
	}
	switch {
	case len(fit) == 0 || name == "":
		return Run{}, fmt.Errorf("%w: %q", ErrNoRun, name)
	case len(fit) > 1:
		more := ""
		if len(names) > maxListed {
			more = fmt.Sprintf(" and %d more", len(names)-maxListed)
			names = names[len(names)-maxListed:]
		}
		return Run{}, fmt.Errorf("%w: run %q could be %s%s", ErrAmbiguous, name, strings.Join(names, ", "), more)
	}
	return a.readRun(ctx, fit[0])
}
