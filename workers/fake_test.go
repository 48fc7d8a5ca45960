package workers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"salvor/drivers"
)

// place is what the fake drivers read and write, in memory: a stream's parts, or a tree's files.
type place struct {
	mu      sync.Mutex
	exists  bool
	parts   map[string]string // a stream's content by part
	loads   map[string]int    // how often each part's load took effect
	files   map[string]file
	opens   int
	epochs  int                                        // views that were opened
	onDump  func(ctx context.Context, epoch int) error // called for each part that is dumped
	onOpen  map[string]func(p *place, try int) error   // called for each opening of a file, with the lock held
	tries   map[string]int
	settled []string
	broken  map[string]error // directories that cannot be listed
	path    string           // an identity, where it is set
	inode   int              // likewise
	// onIdentify is called for each question for identities, with the lock held.
	onIdentify func(p *place, n int)
	identified int
	// opening and putting are those of a bucket, see crowd.
	opening, putting *crowd
	// onExpand answers what the place stands for.
	onExpand func(spec drivers.Spec, try int) ([]drivers.Place, error)
	// onPut is called for each entry that is put.
	onPut func(path string) error
}

type file struct {
	data    string
	version string
	dir     bool
}

func newPlace() *place {
	return &place{parts: map[string]string{}, loads: map[string]int{}, files: map[string]file{}, tries: map[string]int{}}
}

func (p *place) put(path, data, version string) {
	p.exists = true
	p.files[path] = file{data: data, version: version}
}

// site is a registry of fake drivers over named places.
type site struct {
	mu     sync.Mutex
	places map[string]*place
}

func (s *site) place(name string) *place {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places[name] == nil {
		if s.places == nil {
			s.places = map[string]*place{}
		}
		s.places[name] = newPlace()
	}
	return s.places[name]
}

func (s *site) registry() *drivers.Registry {
	r := new(drivers.Registry)
	r.Register(drivers.Kind{
		Name: "rows", Scheme: "rows", Shape: drivers.ShapeStream, Holds: true,
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			name := spec.Source.Reveal()
			return &fakeStream{fakeSource{s.place(name), name}}, nil
		},
		Resolve: []string{"secret"},
		Expand: func(_ context.Context, spec drivers.Spec) ([]drivers.Place, error) {
			p := s.place(spec.Source.Reveal())
			p.mu.Lock()
			defer p.mu.Unlock()
			p.tries["expand"]++
			return p.onExpand(spec, p.tries["expand"])
		},
	})
	r.Register(drivers.Kind{
		Name: "bundles", Scheme: "bundles", Shape: drivers.ShapeStream, Holds: true,
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			name := spec.Source.Reveal()
			return &fakeBundler{fakeStream{fakeSource{s.place(name), name}}}, nil
		},
	})
	r.Register(drivers.Kind{
		Name: "files", Scheme: "files", Shape: drivers.ShapeTree,
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			name := spec.Source.Reveal()
			return &fakeTree{fakeSource{s.place(name), name}}, nil
		},
	})
	r.Register(drivers.Kind{
		Name: "objects", Scheme: "objects", Shape: drivers.ShapeTree,
		Open: func(_ context.Context, spec drivers.Spec) (drivers.Source, error) {
			name := spec.Source.Reveal()
			p := s.place(name)
			atOnce := 8
			if spec.Limit > 0 {
				atOnce = min(atOnce, spec.Limit)
			}
			return &fakeBucket{fakeTree{fakeSource{p, name}}, p.opening, p.putting, atOnce}, nil
		},
	})
	return r
}

type fakeSource struct {
	*place
	name string
}

func (f fakeSource) Identities(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.identified++
	if f.onIdentify != nil {
		f.onIdentify(f.place, f.identified)
	}
	ids := []string{fmt.Sprintf("fake:%s:%d", f.name, f.inode)}
	if f.path != "" {
		ids = append(ids, "path:"+f.path)
	}
	return ids, nil
}

func (f fakeSource) Close() error { return nil }

type fakeStream struct{ fakeSource }

var _ drivers.Stream = (*fakeStream)(nil)

func (f *fakeStream) Freeze(context.Context) (drivers.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.exists {
		return nil, fmt.Errorf("freeze %s: %w", f.name, drivers.ErrNotFound)
	}
	f.epochs++
	return &fakeView{place: f.place, parts: maps.Clone(f.parts), epoch: f.epochs}, nil
}

func (f *fakeStream) CheckTarget(_ context.Context, target drivers.Target, contents []drivers.Part) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.exists && !target.Replace() && len(f.loads) == 0 {
		return fmt.Errorf("%w: %s", drivers.ErrNotEmpty, f.name)
	}
	return nil
}

func (f *fakeStream) Prepare(context.Context, drivers.Target, []drivers.Part) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exists = true
	return nil
}

func (f *fakeStream) Load(_ context.Context, _ drivers.Target, _ drivers.Attempt, part drivers.Part, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loads[part.Name] == 0 {
		f.loads[part.Name]++
		f.parts[part.Name] = string(data)
	}
	return nil
}

func (f *fakeStream) Finish(context.Context, drivers.Target, []drivers.Part) error { return nil }

// fakeBundler puts together as many parts as are loaded side by side.
type fakeBundler struct{ fakeStream }

var _ drivers.Bundler = (*fakeBundler)(nil)

func (*fakeBundler) Bundle(parts []drivers.Part, sideBySide int) [][]int {
	all := make([]int, len(parts))
	for i := range all {
		all[i] = i
	}
	return slices.Collect(slices.Chunk(all, sideBySide))
}

func (f *fakeBundler) LoadBundle(ctx context.Context, target drivers.Target, attempt drivers.Attempt, parts []drivers.Part,
	open func(drivers.Part) (io.ReadCloser, error),
) error {
	for _, p := range parts {
		in, err := open(p)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Load(ctx, target, attempt, p, in), in.Close()); err != nil {
			return err
		}
	}
	return nil
}

type fakeView struct {
	*place
	parts map[string]string
	epoch int
	ended bool
}

func (v *fakeView) Facts() json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"epoch":%d}`, v.epoch))
}

func (v *fakeView) Parts(_ context.Context, yield func(drivers.Part) error) error {
	for _, name := range slices.Sorted(maps.Keys(v.parts)) {
		if err := yield(drivers.Part{Name: name, Ext: "txt", Size: int64(len(v.parts[name]))}); err != nil {
			return err
		}
	}
	return nil
}

func (v *fakeView) Dump(ctx context.Context, part drivers.Part, w io.Writer) (drivers.Counts, error) {
	if v.onDump != nil {
		if err := v.onDump(ctx, v.epoch); err != nil {
			return drivers.Counts{}, err
		}
	}
	_, err := fmt.Fprintf(w, "%s@%d", v.parts[part.Name], v.epoch)
	return drivers.Counts{Rows: 1}, err
}

func (v *fakeView) Alive(context.Context) error { return nil }
func (v *fakeView) End(context.Context) error   { v.ended = true; return nil }

type fakeTree struct{ fakeSource }

var (
	_ drivers.Tree       = (*fakeTree)(nil)
	_ drivers.TreeTarget = (*fakeTree)(nil)
)

func (f *fakeTree) Target() drivers.TreeTarget { return f }

func (f *fakeTree) Walk(ctx context.Context, r drivers.Range, yield func(drivers.Entry) error) error {
	f.mu.Lock()
	files := maps.Clone(f.files)
	exists := f.exists
	f.mu.Unlock()
	if !exists {
		return fmt.Errorf("walk %s: %w", f.name, drivers.ErrNotFound)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if !r.Contains(path) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		e := entry(path, files[path])
		if err := f.broken[path]; err != nil {
			e = drivers.Entry{Path: path, Type: drivers.TypeDir, Err: err}
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

func entry(path string, f file) drivers.Entry {
	if f.dir {
		return drivers.Entry{Path: path, Type: drivers.TypeDir}
	}
	return drivers.Entry{Path: path, Type: drivers.TypeFile, Size: int64(len(f.data)), Version: f.version}
}

func (f *fakeTree) Open(_ context.Context, e drivers.Entry) (drivers.Content, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opens++
	f.tries[e.Path]++
	if hook := f.onOpen[e.Path]; hook != nil {
		if err := hook(f.place, f.tries[e.Path]); err != nil && !errors.Is(err, drivers.ErrChanged) {
			return nil, err
		} else if err != nil {
			if errors.Is(err, errCut) {
				return &fakeContent{data: []byte("torn"), readErr: err}, nil
			}
			return &fakeContent{data: []byte("torn"), closeErr: err}, nil
		}
	}
	have, ok := f.files[e.Path]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", e.Path, drivers.ErrNotFound)
	}
	return &fakeContent{data: []byte(have.data)}, nil
}

// errCut is a change that is noticed in the middle of a content; others are noticed at its end.
var errCut = fmt.Errorf("cut: %w", drivers.ErrChanged)

type fakeContent struct {
	data     []byte
	r        *bytes.Reader
	readErr  error // after the data
	closeErr error
}

func (c *fakeContent) Next() (drivers.Extent, error) {
	if c.r != nil || len(c.data) == 0 {
		return drivers.Extent{}, io.EOF
	}
	c.r = bytes.NewReader(c.data)
	length := int64(len(c.data))
	if c.readErr != nil {
		length++ // more was to come
	}
	return drivers.Extent{Length: length}, nil
}

func (c *fakeContent) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if errors.Is(err, io.EOF) && c.readErr != nil {
		err = c.readErr
	}
	return n, err
}
func (c *fakeContent) Close() error { return c.closeErr }

func (f *fakeTree) Check(context.Context, drivers.Target) error { return nil }

func (f *fakeTree) Prepare(context.Context, drivers.Target) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exists = true
	return nil
}

func (f *fakeTree) Same(want, have drivers.Entry) bool {
	return want.Type == have.Type && want.Size == have.Size
}

func (f *fakeTree) Put(_ context.Context, target drivers.Target, _ drivers.Attempt, e drivers.Entry, content drivers.ContentReader) error {
	var data bytes.Buffer
	for content != nil {
		extent, err := content.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if extent.Hole {
			data.Write(make([]byte, extent.Length))
			continue
		}
		if _, err := data.ReadFrom(content); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onPut != nil {
		if err := f.onPut(e.Path); err != nil {
			return err
		}
	}
	if strings.HasPrefix(e.Path, "long/") {
		return fmt.Errorf("put %s: %w", e.Path, drivers.ErrInvalid)
	}
	if have, ok := f.files[e.Path]; ok && !have.dir && !target.Replace() {
		return fmt.Errorf("put %s: %w", e.Path, drivers.ErrNotEmpty)
	}
	f.files[e.Path] = file{data: data.String(), dir: e.Type == drivers.TypeDir}
	return nil
}

func (f *fakeTree) Remove(_ context.Context, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.files, func(p string, _ file) bool { return p == path || strings.HasPrefix(p, path+"/") })
	return nil
}

func (f *fakeTree) Settle(_ context.Context, _ drivers.Target, _ drivers.Attempt, e drivers.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = append(f.settled, e.Path)
	return nil
}

func (f *fakeTree) Sync(context.Context) error { return nil }
func (f *fakeTree) Warnings() map[string]int64 { return map[string]int64{"owner not set": 1} }
