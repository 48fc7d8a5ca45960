// Package workers does the work that tasks name: it joins drivers to the archive, one handler per kind of task.
//
// A [Worker] takes deliveries from the queue, claims each in the ledger, runs the handler of its kind while it beats, and
// reports the outcome. Handlers are written so that an attempt may end at any moment and another may begin: what they
// store carries the attempt's token or is named by its hash, and only what the ledger accepted is used.
//
// # Who holds what
//
//   - Views of streams live in the process that froze them; their parts come to that process's own queue.
//   - Archives are opened once for each location and closed when the worker stops.
//   - Sources are opened by each task and closed at its end; a target that is a tree is kept open beside them until its run ends.
//
// The package knows nothing of plans' making and of runs' ends: that is the coordinator's.
package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"salvor/archive"
	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

// Config is what a worker needs. All fields are required but where it is said.
type Config struct {
	// ID names this process, uniquely: its own queue carries it.
	ID string
	// Host is the host name that nodes bind to with `host:`; "" serves only nodes that bind to none.
	Host string
	// Slots is the number of tasks that run at once; HoldSlots the number of views held at once. Default [DefaultSlots] and
	// [DefaultHoldSlots].
	Slots, HoldSlots int
	// Version of the program, for those who list workers.
	Version string
	// Scratch is a directory for temporary files; "" means the system's.
	Scratch string
	// Memory is what the drivers of this process may take together for large buffers, in bytes. Default [DefaultMemory].
	Memory int64

	Registry *drivers.Registry
	Ledger   *ledger.Ledger
	Conn     *queue.Conn
	// Archive opens the archive of a plan. The worker closes what it returns.
	Archive func(ctx context.Context, location string) (*archive.Archive, error)
	// Source resolves a text of a node of a run, its source or one in its options: it fills the variables in.
	Source func(ctx context.Context, run, path, source string) (secret.Text, error)
	// Log gets what no result can carry, and at the level of information each task. Default: discarded.
	Log *slog.Logger
}

// How many tasks and views a worker takes at once where nothing else is said.
const (
	DefaultSlots     = 4
	DefaultHoldSlots = 16
)

// DefaultMemory is what the drivers of a worker may take for large buffers where nothing else is said.
const DefaultMemory = 64 << 20

// WithDefaults returns a copy in which empty optional fields have their defaults.
func (c Config) WithDefaults() Config {
	if c.Slots == 0 {
		c.Slots = DefaultSlots
	}
	if c.HoldSlots == 0 {
		c.HoldSlots = DefaultHoldSlots
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Worker is a process's share in all runs. Make it with [New].
type Worker struct {
	cfg    Config
	server *queue.Server
	sender *queue.Sender
	views  views

	archives *archives
	memory   *drivers.Memory

	stopping func() // closes stops, which tells holders that nobody will read their views any more
	stops    chan struct{}

	mu       sync.Mutex
	runs     map[string]*runContext // by the run's life
	occupied map[occupancyKey]*occupancy
	watchers sync.WaitGroup // of what is occupied
}

// New makes a worker that does not work yet.
func New(cfg Config) (*Worker, error) {
	if cfg.ID == "" || cfg.Registry == nil || cfg.Ledger == nil || cfg.Conn == nil || cfg.Archive == nil || cfg.Source == nil {
		return nil, errors.New("make worker: ID, Registry, Ledger, Conn, Archive and Source must be set")
	}
	w := &Worker{
		cfg:      cfg.WithDefaults(),
		runs:     make(map[string]*runContext),
		occupied: make(map[occupancyKey]*occupancy),
		stops:    make(chan struct{}),
	}
	w.stopping = sync.OnceFunc(func() { close(w.stops) })
	w.archives, w.memory = newArchives(cfg.Archive), drivers.NewMemory(w.cfg.Memory)
	w.cfg.Ledger = w.cfg.Ledger.ForHost(w.cfg.Host)
	w.sender = queue.NewSender(w.cfg.Conn, w.cfg.Ledger)
	server, err := queue.NewServer(w.cfg.Conn, w.cfg.Ledger, queue.Config{
		Worker: w.cfg.ID, Host: w.cfg.Host, Version: w.cfg.Version, WorkSlots: w.cfg.Slots, HoldSlots: w.cfg.HoldSlots, Handler: w.handle, Log: w.cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("make worker: %w", err)
	}
	w.server = server
	return w, nil
}

// ID returns the worker's name among all workers of its queue.
func (w *Worker) ID() string { return w.cfg.ID }

// Start begins to take work. It returns an error at once if the queue cannot be reached.
func (w *Worker) Start() error {
	if err := w.server.Start(); err != nil {
		return fmt.Errorf("start worker %s: %w", w.cfg.ID, err)
	}
	return nil
}

// Stop takes no more work, lets running tasks end until ctx does, then ends them (they hand their work back), and closes
// what the worker opened. Views that only this worker can read are handed back at once. It returns when nothing of the worker runs any more.
func (w *Worker) Stop(ctx context.Context) error {
	w.stopping()
	err := w.server.Stop(ctx)
	err = errors.Join(err, w.views.endJoined(context.WithoutCancel(ctx)))
	w.vacateAll()
	err = errors.Join(err, w.archives.close())
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.runs)
	return err
}

// runContext is what the tasks of one run share in this process.
type runContext struct {
	plan    tasks.Plan
	nodes   map[string]tasks.Node
	archive *archive.Archive // nil for a run that has none
	ref     archive.Ref

	mu        sync.Mutex
	manifest  *archive.Manifest
	manifests map[string]*archive.NodeManifest
	bases     map[string]*archive.NodeManifest
	stored    map[string][]archive.StoredSegment // of earlier lives
}

// runsKept bounds the number of runs whose plans a worker keeps in memory.
const runsKept = 16

// run returns what is known of a run in one of its lives, reading it from the ledger once.
func (w *Worker) run(ctx context.Context, claim ledger.Claim) (*runContext, error) {
	id, life := claim.Run, claim.Life()
	w.mu.Lock()
	r, ok := w.runs[life]
	w.mu.Unlock()
	if ok {
		return r, nil
	}
	plan, err := w.cfg.Ledger.Plan(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read plan of run %s: %w", id, err)
	}
	var a *archive.Archive
	if plan.Operation != tasks.OpExpand {
		if a, err = w.archives.at(ctx, plan.Archive); err != nil {
			return nil, err
		}
	}
	r = &runContext{
		plan: plan, archive: a, ref: archive.Ref{Set: plan.Set, Dump: plan.Dump},
		nodes: make(map[string]tasks.Node), manifests: make(map[string]*archive.NodeManifest), bases: make(map[string]*archive.NodeManifest),
		stored: make(map[string][]archive.StoredSegment),
	}
	for path, node := range plan.Root.Walk() {
		r.nodes[path] = *node
	}
	if c := plan.Capture; c != nil && c.Base != nil {
		r.nodes[tasks.BasePath(c.Node)] = tasks.Node{Driver: c.Base.Driver, Source: c.Base.Source, Options: c.Base.Options, Limit: r.nodes[c.Node].Limit}
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if other, ok := w.runs[life]; ok {
		return other, nil
	}
	for old := range w.runs {
		if len(w.runs) < runsKept {
			break
		}
		delete(w.runs, old)
	}
	w.runs[life] = r
	return r, nil
}

// nodeManifest returns a node's manifest in the dump that the run restores; nil if the dump has no such node.
func (r *runContext) nodeManifest(ctx context.Context, path string) (*archive.NodeManifest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.manifests[path]; ok {
		return m, nil
	}
	if r.manifest == nil {
		m, err := r.archive.Manifest(ctx, r.ref)
		if err != nil {
			return nil, fmt.Errorf("read manifest of dump %s: %w", r.ref.Dump, err)
		}
		r.manifest = &m
	}
	m, err := findNode(ctx, r.archive, r.ref, *r.manifest, path)
	if err != nil {
		return nil, err
	}
	r.manifests[path] = m
	return m, nil
}

// baseManifest returns the node's manifest in the dump that this dump builds on; nil where there is none to build on.
func (r *runContext) baseManifest(ctx context.Context, path string) (*archive.NodeManifest, error) {
	if r.plan.Base == "" {
		return nil, nil //nolint:nilnil // no base is an ordinary answer
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.bases[path]; ok {
		return m, nil
	}
	ref := archive.Ref{Set: r.plan.Set, Dump: r.plan.Base}
	manifest, err := r.archive.Manifest(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("read manifest of base dump %s: %w", ref.Dump, err)
	}
	m, err := findNode(ctx, r.archive, ref, manifest, path)
	if err != nil {
		return nil, err
	}
	r.bases[path] = m
	return m, nil
}

func findNode(ctx context.Context, a *archive.Archive, ref archive.Ref, manifest archive.Manifest, path string) (*archive.NodeManifest, error) {
	for _, record := range manifest.Nodes {
		if record.Path != path {
			continue
		}
		m, err := a.Node(ctx, ref, record)
		if err != nil {
			return nil, fmt.Errorf("read manifest of node %s in dump %s: %w", path, ref.Dump, err)
		}
		return &m, nil
	}
	return nil, nil //nolint:nilnil // a dump without the node is an ordinary answer
}

// openSource opens a node's source or target with a driver.
func (w *Worker) openSource(ctx context.Context, r *runContext, path, driver, source string) (drivers.Kind, drivers.Source, error) {
	kind, err := w.cfg.Registry.Lookup(driver)
	if err != nil {
		return kind, nil, errors.Join(drivers.ErrInvalid, err)
	}
	spec, err := w.resolve(ctx, r, kind, path, source)
	if err != nil {
		return kind, nil, err
	}
	s, err := kind.Open(ctx, spec)
	if err != nil {
		return kind, nil, fmt.Errorf("open node %s: %w", path, err)
	}
	return kind, s, nil
}

// resolve fills in the references of a node's source and options. The plan keeps the unresolved text.
func (w *Worker) resolve(ctx context.Context, r *runContext, kind drivers.Kind, path, source string) (drivers.Spec, error) {
	options := r.nodes[path].Options
	spec := drivers.Spec{Node: path, Scratch: w.cfg.Scratch, Limit: r.nodes[path].Limit, Memory: w.memory}
	fill := func(text string) (secret.Text, error) { return w.cfg.Source(ctx, r.plan.Run, path, text) }
	var err error
	if spec.Source, err = fill(source); err != nil {
		return spec, fmt.Errorf("resolve source of node %s: %w", path, err)
	}
	if spec.Options, err = tasks.ResolveOptions(options, kind.Resolve, fill); err != nil {
		return spec, fmt.Errorf("resolve options of node %s: %w: %w", path, drivers.ErrInvalid, err)
	}
	for _, reference := range tasks.References(source, options, kind.Resolve) {
		value, err := fill(reference)
		if err != nil {
			return spec, fmt.Errorf("resolve source of node %s: %w", path, err)
		}
		spec.Secrets = append(spec.Secrets, value)
	}
	return spec, nil
}
