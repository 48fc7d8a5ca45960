package archive

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// FindingKind says what is wrong with an object.
type FindingKind string

// The kinds of findings.
const (
	// Damaged: the object is not what it should be.
	Damaged FindingKind = "damaged"
	// Missing: a committed dump needs the object, and it is not there.
	Missing FindingKind = "missing"
	// Unreadable: the storage did not give the object, in several attempts; it may be good.
	Unreadable FindingKind = "unreadable"
	// Stray: no committed dump needs the object; a killed run left it, or an open one wrote it. No failure.
	Stray FindingKind = "stray"
	// Newer: the object is of a format above this program's ([ErrNewerFormat]); it may be good.
	Newer FindingKind = "newer"
	// Unknown: nothing that can be read names the object, but a document that may name it is damaged, missing or not to be
	// read. No failure of its own; the document's is.
	Unknown FindingKind = "unknown"
	// Notice: something that no restore needs is missing or altered: README.txt. No failure.
	Notice FindingKind = "notice"
	// Foreign: the format does not know such an object. No failure.
	Foreign FindingKind = "foreign"
)

// Finding is one object that is not as it should be, and what it belongs to.
type Finding struct {
	Kind    FindingKind
	Key     string
	Message string
	// Set, Dump, Node and Part (a part's name) say what needs it: the first of those that do.
	Set, Dump, Node, Part string
	// Paths are the first entries whose content is lost with it, at most 10, and Entries is how many there are: in all
	// dumps that were verified, those of a lost segment included.
	Paths   []string
	Entries int64
}

// VerifyOptions are what Verify may be told.
type VerifyOptions struct {
	// Report is called for every finding, by one goroutine at a time; nil for none.
	Report func(Finding)
	// Progress is called now and then with the stored bytes that were read, and with those that are known to be needed
	// (which may grow), by one goroutine at a time; nil for none.
	Progress func(done, total int64)
}

// VerifySummary is what Verify found.
type VerifySummary struct {
	Dumps   int   // that were verified
	Objects int64 // that were read
	Bytes   int64 // that were read

	Damaged, Missing, Unreadable int64
	Newer                        int64 // of Unreadable, those of a newer format
	Strays, Unknown, Foreign     int64
	Notices                      int64
}

// OK tells whether everything that the dumps need is there and whole.
func (s VerifySummary) OK() bool { return s.Damaged+s.Missing+s.Unreadable == 0 }

const (
	verifyWorkers   = 3
	maxLossPaths    = 10
	maxLosses       = 10000 // findings that are kept for the entries still to come
	verifyAttempts  = 3
	verifySeat      = 2 // blocks: a stored object and its content
	maxCachedMember = 1 << 18

	// A dump takes an object of the right length for whole: only what is not there is stored again.
	healing = "; to have it stored again, restore what still can be, move the object away, and run salvor dump --full"
)

// Verify reads again every stored object that the given dumps need, each once, and checks lengths, hashes, and that every
// chunk is where its entry says; without any refs, it does so for all committed dumps and run reports, and then lists what
// no dump needs, as far as that can be told. What is wrong is reported and counted, and is no error: errors are ctx's, [ErrNoDump] for a ref that does
// not exist, and failure to list the archive.
//
// It may run beside dumps. Its memory is bounded, but for about 60 bytes for each pack and object of the archive.
func (a *Archive) Verify(ctx context.Context, refs []Ref, o VerifyOptions) (VerifySummary, error) {
	v := &verifier{
		archive: a, options: o, packs: map[packID]packState{}, objects: map[objectID]objectState{},
		flights: map[string]chan struct{}{}, losses: map[string]*Finding{}, directories: map[packID]packPlaces{},
		blind: map[Ref]bool{}, made: map[string]Ref{},
	}
	n := min(verifyWorkers, a.memory.total/a.memory.cost/verifySeat)
	if err := a.memory.acquire(ctx, n*verifySeat); err != nil {
		return v.summary, err
	}
	defer a.memory.release(n * verifySeat)
	v.workers = make(chan *ContentReader, n)
	for range n {
		r := &ContentReader{archive: a, seat: verifySeat}
		if err := r.open(); err != nil {
			return v.summary, err
		}
		defer r.free()
		v.workers <- r
	}
	err := v.run(ctx, refs)
	v.flushLosses()
	return v.summary, err
}

type verifier struct {
	archive *Archive
	options VerifyOptions
	workers chan *ContentReader // their buffers are what the workers share

	mu      sync.Mutex
	summary VerifySummary
	total   int64
	listed  bool // total is known from a list
	packs   map[packID]packState
	objects map[objectID]objectState
	flights map[string]chan struct{} // what is being read
	losses  map[string]*Finding      // by key, waiting for more entries
	// blind are the dumps that may have objects of their own which nothing that could be read names; blindShared tells
	// the same of packs and objects.
	blind       map[Ref]bool
	blindShared bool
	made        map[string]Ref // the dumps that were verified, by their runs
	odd         []string       // what lies under a pack's or an object's name and is no file

	// directories of good packs that were used last
	directories map[packID]packPlaces
	recent      []packID // oldest first
	cached      int      // members in directories
}

func (v *verifier) run(ctx context.Context, refs []Ref) error {
	full := len(refs) == 0
	if full {
		// Listed before the dumps: what is written meanwhile, by a dump that is committed meanwhile, is no stray then.
		if err := v.listShared(ctx); err != nil {
			return err
		}
		var err error
		if refs, err = v.allDumps(ctx); err != nil {
			return err
		}
	}
	for _, ref := range refs {
		known, err := v.dump(ctx, ref)
		if err != nil {
			return err
		}
		v.summary.Dumps++
		if full {
			if err := v.listDump(ctx, ref, known); err != nil {
				return err
			}
		}
	}
	if !full {
		return nil
	}
	v.top(ctx)
	return errors.Join(v.captures(ctx), v.runs(ctx, refs), v.listRest(ctx, refs))
}

func (v *verifier) allDumps(ctx context.Context) ([]Ref, error) {
	sets, err := v.archive.Sets(ctx)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, set := range sets {
		ids, err := v.archive.committed(ctx, set)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			refs = append(refs, Ref{set, id})
		}
	}
	return refs, nil
}

// owner is what an object belongs to.
type owner struct {
	ref        Ref
	node, part string
}

// dump verifies one dump and returns the keys that belong to it alone.
func (v *verifier) dump(ctx context.Context, ref Ref) (known map[string]bool, err error) {
	known = map[string]bool{ref.dir() + "manifest.json": true, ref.dir() + "plan.json": true}
	var m Manifest
	problem := v.read(ctx, func() (err error) { m, err = v.archive.Manifest(ctx, ref); return err })
	if problem != nil {
		if errors.Is(problem, ErrNoDump) {
			return nil, problem
		}
		v.lose(ctx, ref.dir()+"manifest.json", problem, owner{ref: ref}, "", 0)
		v.blinded(ref)
		return known, ctxError(ctx)
	}
	if problem := v.read(ctx, func() error { _, err := v.archive.Plan(ctx, ref); return err }); problem != nil {
		v.lose(ctx, ref.dir()+"plan.json", problem, owner{ref: ref}, "", 0)
	}
	if validRun(m.Run) {
		v.made[m.Run] = ref
	}
	for _, rec := range m.Nodes {
		known[rec.Key] = true
		if err := v.node(ctx, ref, rec, known); err != nil {
			return nil, err
		}
	}
	return known, ctxError(ctx)
}

func (v *verifier) node(ctx context.Context, ref Ref, rec NodeRecord, known map[string]bool) error {
	var n NodeManifest
	problem := v.read(ctx, func() (err error) { n, err = v.archive.Node(ctx, ref, rec); return err })
	if problem != nil {
		v.lose(ctx, rec.Key, problem, owner{ref: ref, node: rec.Path}, "", rec.Entries)
		v.blinded(ref)
		return ctxError(ctx)
	}
	v.count(rec.Size)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cap(v.workers))
	for _, part := range n.Parts {
		known[part.Key] = true
		v.expect(part.Stored)
		g.Go(func() error { return v.part(ctx, part, owner{ref, rec.Path, part.Name}) })
	}
	for _, segment := range n.Segments {
		known[segment.Key] = true
		v.expect(segment.Size)
		g.Go(func() error { return v.segment(ctx, segment, n.Keys, owner{ref: ref, node: rec.Path}) })
	}
	return g.Wait()
}

func (v *verifier) part(ctx context.Context, rec PartRecord, of owner) error {
	size := int64(0)
	problem := v.read(ctx, func() error {
		r, err := v.archive.readPart(ctx, rec, func() {})
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		size = r.stored.size
		return errors.Join(err, r.Close())
	})
	if problem != nil {
		v.lose(ctx, rec.Key, problem, of, "", 0)
	}
	v.count(size)
	return ctxError(ctx)
}

func (v *verifier) segment(ctx context.Context, rec SegmentRecord, keys bool, of owner) error {
	seen := int64(0)
	problem := v.read(ctx, func() error {
		// What is yielded was read whole before: an attempt that failed yielded nothing.
		return v.archive.Segment(ctx, rec, func(e Entry) error {
			seen++
			if problem := unsafePath(e.Path); problem != "" && !keys && e.Err == "" {
				v.lose(ctx, rec.Key, corrupt(rec.Key, "entry %q: %s", e.Path, problem), of, e.Path, 1)
			}
			return v.entry(ctx, &e, of)
		})
	})
	if problem != nil {
		v.lose(ctx, rec.Key, problem, of, "", rec.Entries-seen)
		v.blindedShared()
	}
	v.count(rec.Size)
	return ctxError(ctx)
}

func (v *verifier) entry(ctx context.Context, e *Entry, of owner) error {
	for _, c := range e.Chunks {
		if c.Hole > 0 {
			continue
		}
		problem := v.chunk(ctx, c, of)
		if err := ctxError(ctx); err != nil {
			return err
		}
		if problem != nil {
			v.lose(ctx, c.key(), problem, of, e.Path, 1)
		}
	}
	return nil
}

// blinded notes that a document which names objects of a dump's own cannot be read.
func (v *verifier) blinded(ref Ref) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.blind[ref], v.blindShared = true, true
}

// blindedShared notes that a document which names packs and objects cannot be read.
func (v *verifier) blindedShared() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.blindShared = true
}

// read tries several times: one failed request of thousands must not spoil hours of reading. What is corrupt stays so.
func (v *verifier) read(ctx context.Context, attempt func() error) (err error) {
	for range verifyAttempts {
		err = attempt()
		if err == nil || settled(err) || ctx.Err() != nil {
			break
		}
	}
	return err
}

func settled(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, errMissing) || errors.Is(err, ErrNoDump) ||
		errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrAccess)
}

// lose records that an object is not as it should be, and an entry (or entries) lost with it.
func (v *verifier) lose(ctx context.Context, key string, problem error, of owner, path string, entries int64) {
	if ctx.Err() != nil {
		return // then the problem is that
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.losses[key]
	if f == nil {
		f = &Finding{
			Kind: Unreadable, Key: key, Message: problem.Error(),
		}
		switch {
		case errors.Is(problem, errMissing):
			f.Kind = Missing
		case errors.Is(problem, ErrCorrupt):
			f.Kind = Damaged
			if strings.HasPrefix(key, packsDir) || strings.HasPrefix(key, objectsDir) {
				f.Message += healing
			}
		case errors.Is(problem, ErrNewerFormat):
			f.Kind = Newer
		}
		if len(v.losses) >= maxLosses {
			// Everything is lost, it seems. The object is reported once, at once, without its entries.
			if path == "" {
				f.Entries = entries
				v.report(*f)
			}
			return
		}
		v.losses[key] = f
	}
	if f.Set == "" {
		f.Set, f.Dump, f.Node, f.Part = of.ref.Set, of.ref.Dump, of.node, of.part
	}
	f.Entries = addLengths(f.Entries, entries)
	if entries == 1 && path != "" && len(f.Paths) < maxLossPaths && !slices.Contains(f.Paths, path) {
		f.Paths = append(f.Paths, path)
	}
}

func (v *verifier) flushLosses() {
	v.mu.Lock()
	defer v.mu.Unlock()
	keys := make([]string, 0, len(v.losses))
	for key := range v.losses {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		v.report(*v.losses[key])
	}
	clear(v.losses)
}

// report is called with the lock held.
func (v *verifier) report(f Finding) {
	switch f.Kind {
	case Damaged:
		v.summary.Damaged++
	case Missing:
		v.summary.Missing++
	case Unreadable:
		v.summary.Unreadable++
	case Newer:
		v.summary.Unreadable++
		v.summary.Newer++
	case Stray:
		v.summary.Strays++
	case Unknown:
		v.summary.Unknown++
	case Notice:
		v.summary.Notices++
	case Foreign:
		v.summary.Foreign++
	}
	if v.options.Report != nil {
		v.options.Report(f)
	}
}

func (v *verifier) expect(size int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.listed {
		v.total = addLengths(v.total, size)
	}
}

func (v *verifier) count(size int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.summary.Objects++
	v.summary.Bytes += size
	if v.options.Progress != nil {
		v.total = max(v.total, v.summary.Bytes)
		v.options.Progress(v.summary.Bytes, v.total)
	}
}

func isTemp(key string) bool {
	return strings.HasPrefix(key[strings.LastIndexByte(key, '/')+1:], tempPrefix)
}
