package workers

import (
	"errors"
	"syscall"

	"salvor/archive"
	"salvor/drivers"
	"salvor/tasks"
	"salvor/tasks/queue"
)

// codes is the one table from errors to their codes. Errors with a code are not tried again.
func codes() []struct {
	err  error
	code string
} {
	return []struct {
		err  error
		code string
	}{
		{errPanic, "fault"},
		{errNothingSealed, "nothing_dumped"},
		{errIncomplete, "incomplete"},
		{errProof, "proof_failed"},
		{errBlind, "blind"},
		{archive.ErrInvalid, "invalid"},
		{archive.ErrCorrupt, "archive_corrupt"},
		{archive.ErrNotFound, "archive_missing"},
		{archive.ErrNotArchive, "not_archive"},
		{archive.ErrNewerFormat, "newer_format"},
		{archive.ErrExists, "exists"},
		{archive.ErrNoSpace, "no_space"},
		{archive.ErrAccess, "access"},
		{drivers.ErrUnsafePath, "unsafe_path"},
		{drivers.ErrNotFound, "not_found"},
		{drivers.ErrNotEmpty, "not_empty"},
		{drivers.ErrInvalid, "invalid"},
		{drivers.ErrCorrupt, "corrupt"},
		{drivers.ErrNoSpace, "no_space"},
		{drivers.ErrFailed, "failed"},
		{drivers.ErrAccess, "access"},
	}
}

// failure says what the ledger is to do about an error, and what a user is told of it.
func (a *attempt) failure(err error) tasks.Failure {
	f := tasks.Failure{
		Class: tasks.Transient, Task: a.claim.Task.ID, Node: a.claim.Task.Node, Message: err.Error(), Worker: a.cfg.ID,
	}
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) {
		f.Hint = hinter.Hint()
	} else if errors.Is(err, syscall.EROFS) {
		f.Hint = "its file system is mounted for reading only: mount it for writing, or name another place"
	}
	switch {
	case errors.Is(err, errCancelled), errors.Is(err, queue.ErrStopped):
		f.Class = tasks.HandBack
		return f
	case errors.Is(err, drivers.ErrViewLost) && !errors.Is(err, drivers.ErrFailed):
		f.Class = tasks.LostView
		return f
	}
	for _, c := range codes() {
		if errors.Is(err, c.err) {
			f.Class, f.Code = tasks.Permanent, c.code
			break
		}
	}
	ofArchive := errors.Is(err, archive.ErrAccess) || errors.Is(err, archive.ErrNoSpace)
	if a.restoresToCompare() && !ofArchive && (f.Code == "access" || f.Code == "no_space") {
		f.Hint = "the dump is restored to be compared with: name a server, or a directory, that has the rights and the room for it with --scratch"
	}
	if a.once && f.Class == tasks.Transient {
		f.Class = tasks.Permanent
	}
	return f
}

// restoresToCompare tells whether the task works at the place that a capture restores a dump into.
func (a *attempt) restoresToCompare() bool {
	if a.run == nil || a.run.plan.Capture == nil {
		return false
	}
	switch a.claim.Task.Kind {
	case tasks.KindCheck, tasks.KindPrepare, tasks.KindLoad, tasks.KindFinish:
		return true
	default:
		return false
	}
}
