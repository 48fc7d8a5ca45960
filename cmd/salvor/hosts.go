package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"salvor/tasks"
	"salvor/tasks/queue"
)

// fleet is who serves a queue.
type fleet struct {
	where   string   // the queue, without secrets
	hosts   []string // of live workers, sorted
	onHost  string   // where nodes go that name no host; "" where --host does not say
	isLocal func(driver, source string) bool
}

// fleet asks the queue who serves it. With nobody there the error says so: a run would wait for ever.
func (a *app) fleet(ctx context.Context, e *engine) (fleet, error) {
	f := fleet{where: e.conn.Where(), onHost: a.onHost, isLocal: a.isLocal}
	workers, err := e.conn.Workers(ctx)
	if err != nil {
		return f, err
	}
	workers = serving(workers)
	for _, w := range workers {
		if w.Host != "" {
			f.hosts = append(f.hosts, w.Host)
		}
	}
	if len(workers) == 0 {
		return f, usagef("start one on each host: salvor worker --queue URL --host NAME; or leave the queue out, and all is done in this process",
			"no worker serves the queue %s", f.where)
	}
	slices.Sort(f.hosts)
	f.hosts = slices.Compact(f.hosts)
	return f, nil
}

// serving returns the workers that take work: one that stops is listed until its last task has ended.
func serving(workers []queue.Worker) []queue.Worker {
	return slices.DeleteFunc(workers, func(w queue.Worker) bool { return w.Stopping })
}

// isLocal tells whether only the host that a source is on reaches it.
func (a *app) isLocal(driver, source string) bool {
	k, err := a.registry.Lookup(driver)
	return err == nil && k.Local != nil && k.Local(source)
}

// bind returns the host that a node's tasks are for; "" for any. own is the host that the node names.
func (f fleet) bind(path, own, driver, source string) (string, error) {
	host := cmp.Or(own, f.onHost)
	if host == "" && f.isLocal(driver, source) {
		if len(f.hosts) != 1 {
			return "", usagef("say host: NAME in the config, or --host NAME", "node %s is a place of one host, and names none (workers serve %s)",
				path, f.served())
		}
		host = f.hosts[0]
	}
	if host != "" && !slices.Contains(f.hosts, host) {
		return "", usagef("start a worker there: salvor worker --queue URL --host "+host,
			"node %s is bound to host %s, which no worker serves (workers serve %s)", path, host, f.served())
	}
	return host, nil
}

func (f fleet) served() string { return cmp.Or(strings.Join(f.hosts, ", "), "no host") }

// bindSet binds the nodes of a dump to hosts, where others do the work.
func (a *app) bindSet(ctx context.Context, e *engine, root *tasks.Node) error {
	if e.worker != nil {
		return nil
	}
	f, err := a.fleet(ctx, e)
	if err != nil {
		return err
	}
	var wrong []error
	for path, n := range root.Walk() {
		if n.Driver == "" {
			continue
		}
		if n.Host, err = f.bind(path, n.Host, n.Driver, n.Source); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) == 0 {
		_, err := tasks.Together(root, taskDrivers(a.registry))
		return err
	}
	return errors.Join(wrong...)
}

// bindTargets binds the nodes of a restore to hosts, where others do the work. A node that goes elsewhere leaves its own host.
func (a *app) bindTargets(ctx context.Context, e *engine, root *tasks.Node, nodes map[string]tasks.RestoreNode) error {
	if e.worker != nil {
		return nil
	}
	f, err := a.fleet(ctx, e)
	if err != nil {
		return err
	}
	var wrong []error
	for path, n := range root.Walk() {
		target, ok := nodes[path]
		if !ok {
			continue
		}
		own := n.Host
		if target.Elsewhere {
			own = ""
		}
		if target.Host, err = f.bind(path, own, target.Driver, target.Source); err != nil {
			wrong = append(wrong, err)
		}
		nodes[path] = target
	}
	return errors.Join(wrong...)
}

// checkServed refuses a plan of which a part is bound to a host that nobody serves: it would wait for ever.
func (a *app) checkServed(ctx context.Context, e *engine, plan *tasks.Plan) error {
	f := fleet{hosts: []string{a.host}}
	if e.worker == nil {
		var err error
		if f, err = a.fleet(ctx, e); err != nil {
			return err
		}
	}
	var wrong []error
	for path, n := range plan.Root.Walk() {
		host := n.Host
		if plan.Restore != nil {
			host = plan.Restore.Nodes[path].Host
		}
		switch {
		case n.Driver == "" || host == "" || slices.Contains(f.hosts, host):
		case e.worker == nil:
			_, err := f.bind(path, host, n.Driver, n.Source)
			wrong = append(wrong, err)
		default:
			wrong = append(wrong, errOtherHost(path, host, a.host))
		}
	}
	return errors.Join(wrong...)
}

// errOtherHost refuses a node of another host where this process does all the work.
func errOtherHost(path, host, here string) error {
	return usagef("start on that host, or with --host "+host, "node %s is bound to host %s, and this is %s", path, host, here)
}

// absent says that nobody serves the queue, or one of the hosts; "" where somebody does, or nobody knows.
func (e *engine) absent(ctx context.Context, hosts []string) string {
	workers, err := e.conn.Workers(ctx)
	if err != nil {
		return "" // that the queue does not answer is told elsewhere
	}
	return absentAmong(workers, hosts)
}

func absentAmong(workers []queue.Worker, hosts []string) string {
	workers = serving(workers)
	if len(workers) == 0 {
		return "no worker serves the queue"
	}
	for _, h := range hosts {
		if !slices.ContainsFunc(workers, func(w queue.Worker) bool { return w.Host == h }) {
			return "no worker serves host " + h
		}
	}
	return ""
}

// errLiteral refuses a secret that would have to travel.
func errLiteral(path string) error {
	return usagef("write ${NAME} or ${file:/PATH} in its place, and set that where the worker runs",
		"the source of node %s holds a secret, which must not travel through the queue", path)
}

// errNoQueue is returned by commands that make no sense without a queue.
func errNoQueue() error {
	return usagef(fmt.Sprintf("name it with --queue, %s, or in %s", envQueue, defaultConfig), "which queue?")
}
