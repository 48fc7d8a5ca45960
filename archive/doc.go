// Package archive keeps dumps in a directory or a bucket: streams as compressed parts, trees of files as segments of entries
// whose content is in packs and objects, and the documents that say what belongs to what. docs/archive-format.md is the
// format; this package is its only reader and writer.
//
// It knows bytes, names and hashes. It does not know drivers, queues, plans (they are JSON to it), retries or the command
// line.
//
// # Nouns
//
//   - archive: an opened place, see [Create] and [Open].
//   - dump: the committed result of dumping a set, named by a [Ref]. It exists if and only if its [Manifest] does.
//   - part: one stored stream, written by a [PartWriter].
//   - segment: the entries of one range of a tree, written by [Archive.PutSegment] after a [ContentWriter] stored what
//     they contain.
//   - run report: what a run did; the history outlives the queue.
//
// # Use
//
// A run that dumps calls [Archive.NewDumpID] and [Archive.Begin]; then, from any number of processes, CreatePart or a
// ContentWriter and PutSegment; then [Archive.PutNode] for each node, [Archive.Commit], [Archive.EndRun]. A restore goes
// the other way: [Archive.Resolve], [Archive.Manifest], [Archive.Node], then [Archive.OpenPart], or [Archive.Segment] with
// a [ContentReader].
//
// # Invariants
//
//   - Nothing is published half: a write that fails, is aborted or is killed leaves at most a stray.
//   - What names something is written after it, and made durable after it.
//   - Nothing that a committed dump names is rewritten.
//   - What is read is returned only after its hash was checked; a stream part, whose hash is known only at its end, returns
//     [ErrCorrupt] in place of io.EOF.
//
// # Memory
//
// Writers and readers of one [Archive] share the budget of [Options].Memory. A [ContentWriter] and a [ContentReader] take
// their share at their first use and give it back at Close; a part does so from CreatePart or OpenPart on. Where the budget
// is used up they wait (for the context, too), so a goroutine must not open a second one while it holds one. Segments
// and documents are held in memory beside the budget: keep segments small.
//
// All methods of [Archive] are safe for concurrent use. Retries are the callers'; every operation may be repeated.
package archive
