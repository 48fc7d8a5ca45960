package archive_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"salvor/archive"
)

// A dump with one node of one part, and the way back.
func Example() {
	if err := dumpAndRestore(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: restored 15 bytes of site/db: CREATE TABLE t;
}

func dumpAndRestore(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	a, err := archive.Create(ctx, filepath.Join(dir, "archive"), archive.Options{Version: "1.0"})
	if err != nil {
		return err
	}
	defer func() { _ = a.Close() }()
	if err := dump(ctx, a); err != nil {
		return err
	}

	ref, err := a.Resolve(ctx, "site", archive.Latest)
	if err != nil {
		return err
	}
	m, err := a.Manifest(ctx, ref)
	if err != nil {
		return err
	}
	n, err := a.Node(ctx, ref, m.Nodes[0])
	if err != nil {
		return err
	}
	r, err := a.OpenPart(ctx, n.Parts[0])
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(r) // fails where anything about the part is wrong
	fmt.Printf("restored %d bytes of %s: %s\n", len(content), n.Path, content)
	return err
}

func dump(ctx context.Context, a *archive.Archive) error {
	const run = "019abcde-0000-7000-8000-000000000000"
	id, err := a.NewDumpID(ctx, "site")
	if err != nil {
		return err
	}
	ref := archive.Ref{Set: "site", Dump: id}
	if err := a.Begin(ctx, ref, run, json.RawMessage(`{}`), nil); err != nil {
		return err
	}
	w, err := a.CreatePart(ctx, ref, archive.PartName{Node: "site/db", Name: "schema", Ext: "sql", Token: "k7f3"})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.Copy(w, strings.NewReader("CREATE TABLE t;")); err != nil {
		return err
	}
	part, err := w.Commit()
	if err != nil {
		return err
	}
	now := time.Now()
	node, err := a.PutNode(ctx, archive.NodeManifest{
		Set: ref.Set, Dump: ref.Dump, Path: "site/db", Driver: "sqlite", Shape: archive.ShapeStream, Source: "${DB}",
		Started: now, Ended: now, Parts: []archive.PartRecord{part}, Bytes: part.Size, Stored: part.Stored,
	})
	if err != nil {
		return err
	}
	err = a.Commit(ctx, archive.Manifest{
		Set: ref.Set, Dump: ref.Dump, Run: run, Started: now, Ended: now, Nodes: []archive.NodeRecord{node},
	})
	if err != nil {
		return err
	}
	return a.EndRun(ctx, archive.Run{Run: run, Operation: "dump", Set: ref.Set, Dump: ref.Dump, State: "done", Started: now, Ended: now})
}
