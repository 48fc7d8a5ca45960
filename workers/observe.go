package workers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"salvor/archive"
	"salvor/drivers"
	"salvor/drivers/relational"
	"salvor/drivers/relational/declared"
	"salvor/tasks"
	"salvor/tasks/ledger"
)

// observed is a database that is read by rows.
type observed struct {
	key    viewKey
	source drivers.Source
	view   relational.View
	model  *relational.Model
}

// observe opens the views of a database and of what it is compared with, adds a task for each table, and holds the views until those
// are done. What hangs on the rows that they found is then looked for in the same views.
func (a *attempt) observe(ctx context.Context) (_ any, err error) {
	c := a.run.plan.Capture
	if c == nil {
		return nil, fmt.Errorf("task %s: %w: the run captures nothing", a.claim.Task.ID, drivers.ErrInvalid)
	}
	result := tasks.ObserveResult{Started: time.Now().UTC()}
	if result.Hostname, err = os.Hostname(); err != nil {
		return nil, fmt.Errorf("read host name: %w", err)
	}
	var live, base *observed
	defer func() {
		for _, o := range []*observed{live, base} {
			if o != nil {
				err = errors.Join(err, a.letGoRows(ctx, o))
			}
		}
	}()
	if live, err = a.openRows(ctx, c.Node, a.openLive); err != nil {
		return nil, err
	}
	result.Moment = live.view.Moment().UTC()
	if c.Base != nil {
		open := func(ctx context.Context) (drivers.Source, error) {
			_, source, err := a.openCompared(ctx)
			return source, err
		}
		if base, err = a.openRows(ctx, tasks.BasePath(c.Node), open); err != nil {
			return nil, err
		}
	}
	bound, err := a.declare(ctx, live)
	if err != nil {
		return nil, err
	}
	if result.Zone, err = a.checkAsked(live, base, bound); err != nil {
		return nil, err
	}
	for _, o := range []*observed{live, base} {
		if o != nil {
			a.views.put(o.key, o.view)
		}
	}
	if result.Tables, err = a.growCompare(ctx, live, base, bound); err != nil {
		return nil, err
	}
	if err := a.holdRows(ctx, live, base); err != nil {
		return nil, err
	}
	if err := a.closeOver(ctx, live, base, bound, &result); err != nil {
		return nil, err
	}
	if result.Edges, err = encodeEdges(bound.Edges); err != nil {
		return nil, err
	}
	if err := a.keepModels(ctx, live, base, bound, &result); err != nil {
		return nil, err
	}
	for _, o := range []*observed{live, base} {
		if o == nil {
			continue
		}
		if err := o.view.End(ctx); err != nil {
			return nil, fmt.Errorf("end view of node %s: %w", o.key.node, err)
		}
	}
	result.Ended = time.Now().UTC()
	return result, nil
}

func (a *attempt) openLive(ctx context.Context) (drivers.Source, error) {
	c := a.run.plan.Capture
	node := a.run.nodes[c.Node]
	_, source, err := a.openSource(ctx, a.run, c.Node, node.Driver, node.Source)
	return source, err
}

// openRows opens a view by rows.
func (a *attempt) openRows(ctx context.Context, path string, open func(context.Context) (drivers.Source, error)) (_ *observed, err error) {
	o := &observed{key: viewKey{a.claim.Life(), path, a.claim.Epoch}}
	if o.source, err = open(ctx); err != nil {
		return nil, err
	}
	rows, ok := o.source.(relational.Source)
	if !ok {
		err = fmt.Errorf("node %s: %w: the driver knows no rows", path, drivers.ErrInvalid)
		return nil, errors.Join(err, o.source.Close())
	}
	if o.view, err = rows.Observe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("observe node %s: %w", path, err), o.source.Close())
	}
	if o.model, err = o.view.Model(ctx); err != nil {
		err = fmt.Errorf("observe node %s: %w", path, err)
		return nil, errors.Join(err, o.view.End(context.WithoutCancel(ctx)), o.source.Close())
	}
	return o, nil
}

// letGoRows ends a view and closes its source, however the attempt ends. The context may have ended.
func (a *attempt) letGoRows(ctx context.Context, o *observed) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	a.views.drop(o.key)
	_ = o.view.End(ctx) // what it proves was asked before, if all went well
	if err := o.source.Close(); err != nil {
		return fmt.Errorf("close node %s: %w", o.key.node, err)
	}
	return nil
}

// checkAsked tells whether what was asked for can be done with these databases, and returns the zone of times without one.
func (a *attempt) checkAsked(live, base *observed, bound *declared.Bound) (zone string, err error) {
	c := a.run.plan.Capture
	location, err := a.zoneOf(live.model)
	if err != nil {
		return "", err
	}
	zone = location.String()
	if now := live.view.Moment(); c.Since.After(now) && base == nil {
		return "", drivers.WithHint(fmt.Errorf("the moment %s is %w: the clock of node %s says %s", c.Since.UTC().Format(time.RFC3339), drivers.ErrInvalid, c.Node, now.UTC().Format(time.RFC3339)),
			"name the moment of the dump, or an earlier one")
	}
	if base != nil {
		return zone, nil
	}
	var blind []string
	for _, t := range live.model.Tables {
		d, err := a.detectors(t, bound)
		if err != nil {
			return "", err
		}
		if d.Created == "" {
			blind = append(blind, t.Name.String())
		}
	}
	if len(blind) == 0 || !c.RequireCoverage {
		return zone, nil
	}
	const named = 10
	text := strings.Join(blind[:min(len(blind), named)], ", ")
	if more := len(blind) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return "", drivers.WithHint(fmt.Errorf("%w: no column tells when rows of %s were made", errBlind, text), "compare with a dump: --against DUMP sees everything")
}

// zoneOf is what times without a zone are in: as the user says, or the database. One that the database calls by a name that is not known
// here is UTC where the dump is compared with, as times are but a cross-check then.
func (a *attempt) zoneOf(model *relational.Model) (*time.Location, error) {
	c := a.run.plan.Capture
	location, err := relational.ParseZone(cmp.Or(c.Zone, model.TimeZone))
	switch {
	case err == nil:
		return location, nil
	case c.Zone == "" && c.Base != nil:
		return time.UTC, nil
	}
	return nil, drivers.WithHint(fmt.Errorf("node %s: %w", c.Node, err), "name one with --zone: Europe/Berlin, or UTC")
}

// errBlind tells that what was made in a table would not have been seen.
var errBlind = errors.New("tables are blind")

// detectors are the columns of a table that tell when its rows were made and changed; none where no moment is given.
func (a *attempt) detectors(t *relational.Table, bound *declared.Bound) (relational.Detectors, error) {
	if a.run.plan.Capture.Since.IsZero() {
		return relational.Detectors{}, nil
	}
	return bound.Detectors(t)
}

// growCompare adds a task for each table, and returns how many.
func (a *attempt) growCompare(ctx context.Context, live, base *observed, bound *declared.Bound) (int, error) {
	path := a.run.plan.Capture.Node
	node := a.run.nodes[path]
	g := ledger.Growth{
		Step:   a.stepOf(tasks.KindCompare, path),
		Window: ledger.Window{ID: fmt.Sprintf("rows:%s:%s:%d", a.claim.Run, path, a.claim.Epoch), Limit: node.Limit},
	}
	// The tables of views that only this process has come to it; those of views that can be joined to whoever is free.
	route, spec := tasks.Route{Worker: a.cfg.ID}, tasks.CompareSpec{Epoch: a.claim.Epoch}
	liveTicket, shared := ticketOf(live)
	baseTicket, baseShared := ticketOf(base)
	if shared && (base == nil || baseShared) {
		route, spec.Live, spec.Base = tasks.Route{Host: node.Host}, liveTicket, baseTicket
	}
	names := relational.Model{Labels: bound.Labels}
	for i, t := range live.model.Tables {
		detectors, err := a.detectors(t, bound)
		if err != nil {
			return 0, fmt.Errorf("observe node %s: %w", path, err)
		}
		label := names.Label(t.Name)
		spec.Schema, spec.Table, spec.App, spec.Model = t.Schema, t.Name.Name, label.App, label.Model
		spec.Created, spec.Modified = detectors.Created, detectors.Modified
		raw, err := json.Marshal(spec)
		if err != nil {
			return 0, fmt.Errorf("encode table %s: %w", t.Name, err)
		}
		g.Tasks = append(g.Tasks, tasks.Task{
			ID: fmt.Sprintf("compare:%s:%06d", path, i), Kind: tasks.KindCompare, Node: path, Weight: max(t.Rows, 1), Route: route, Spec: raw,
		})
		if len(g.Tasks) == ledger.AtomicGrowth {
			if err := a.grow(ctx, &g); err != nil {
				return 0, err
			}
		}
	}
	g.Close = true
	return len(live.model.Tables), a.grow(ctx, &g)
}

func ticketOf(o *observed) (json.RawMessage, bool) {
	if o == nil {
		return nil, false
	}
	shared, ok := o.view.(relational.Shared)
	if !ok {
		return nil, false
	}
	return shared.Ticket(), true
}

// holdRows waits until the ledger says that all tables are done, and watches the views meanwhile.
func (a *attempt) holdRows(ctx context.Context, all ...*observed) error {
	tick := time.NewTicker(a.cfg.Ledger.Options().Beat)
	defer tick.Stop()
	for {
		select {
		case <-a.released:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		for _, o := range all {
			if o == nil {
				continue
			}
			lasting, ok := o.view.(interface {
				Alive(ctx context.Context) error
			})
			if !ok {
				continue
			}
			if err := lasting.Alive(ctx); err != nil {
				return fmt.Errorf("hold view of node %s: %w", o.key.node, err)
			}
		}
	}
}

// keepModels stores the models, and names what is in the dump's alone.
func (a *attempt) keepModels(ctx context.Context, live, base *observed, bound *declared.Bound, result *tasks.ObserveResult) (err error) {
	model := *live.model // which is the view's, and not to be changed
	model.Labels = bound.Labels
	if result.Model, err = a.putJSON(ctx, "model", &model); err != nil || base == nil {
		return err
	}
	for _, t := range base.model.Tables {
		if live.model.Table(t.Name) != nil {
			continue
		}
		raw, err := json.Marshal(t.Name)
		if err != nil {
			return fmt.Errorf("encode table %s: %w", t.Name, err)
		}
		result.Dropped = append(result.Dropped, raw)
	}
	result.BaseModel, err = a.putJSON(ctx, "base-model", base.model)
	return err
}

// putJSON stores a document that a capture is put together from, and returns the record of it.
func (a *attempt) putJSON(ctx context.Context, name string, v any) (json.RawMessage, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	w := a.newCapturePart(ctx, name, "json")
	defer w.abort()
	if err := w.write(data, "", 0); err != nil {
		return nil, err
	}
	return w.commit()
}

// captureRef names the capture that the run makes.
func (a *attempt) captureRef() archive.CaptureRef {
	return archive.CaptureRef{Set: a.run.plan.Set, Capture: a.run.plan.Capture.Capture}
}
