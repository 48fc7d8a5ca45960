package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"salvor/archive"
	"salvor/coordinator"
	"salvor/drivers"
	"salvor/internal/yamltree"
	"salvor/tasks"
	"salvor/tasks/ledger"
	"salvor/tasks/queue"
)

// The exit codes. They are part of the program's contract: scripts decide by them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitIncomplete  = 3
	exitUnproven    = 4
	exitResumable   = 5
	exitMissing     = 10
	exitAccess      = 11
	exitCorrupt     = 12
	exitInterrupted = 130
)

type exitMeaning struct {
	code    int
	meaning string
}

// exitMeanings is what the help says of the exit codes.
func exitMeanings() []exitMeaning {
	return []exitMeaning{
		{exitOK, "done"},
		{exitFailed, "failed: a full disk, a server that is gone, a fault of the program"},
		{exitUsage, "wrong usage or config, unknown or ambiguous name, not an archive, newer format, target not empty"},
		{exitIncomplete, "done, but entries could not be read or restored, or nodes are missing"},
		{exitUnproven, "restored, but --prove found other rows than were dumped"},
		{exitResumable, "the queue lost the run before its end; salvor resume goes on with it"},
		{exitMissing, "the source or the archive does not exist"},
		{exitAccess, "access denied"},
		{exitCorrupt, "the archive, or a database, is damaged"},
		{exitInterrupted, "interrupted"},
	}
}

// errorExits is the table from errors to exit codes; the first that fits counts.
func errorExits() []struct {
	err  error
	code int
} {
	return []struct {
		err  error
		code int
	}{
		{errUsage, exitUsage},
		{coordinator.ErrResumable, exitResumable},
		{coordinator.ErrRunAlive, exitUsage},
		{coordinator.ErrElsewhere, exitUsage},
		{coordinator.ErrRunDone, exitUsage},
		{archive.ErrCorrupt, exitCorrupt},
		{archive.ErrNotFound, exitMissing},
		{archive.ErrNotArchive, exitUsage},
		{archive.ErrForeign, exitUsage},
		{archive.ErrNewerFormat, exitUsage},
		{archive.ErrNoDump, exitUsage},
		{archive.ErrNoRun, exitUsage},
		{archive.ErrAmbiguous, exitUsage},
		{archive.ErrInvalid, exitUsage},
		{archive.ErrAccess, exitAccess},
		{archive.ErrNoSpace, exitFailed},
		{archive.ErrExists, exitFailed},
		{coordinator.ErrUntrusted, exitUsage},
		{queue.ErrURL, exitUsage},
		{queue.ErrUnfit, exitUsage},
		{queue.ErrDenied, exitAccess},
		{queue.ErrUnreachable, exitFailed},
		{tasks.ErrUnknownNode, exitUsage},
		{tasks.ErrAmbiguousNode, exitUsage},
		{drivers.ErrCorrupt, exitCorrupt},
		{drivers.ErrNotFound, exitMissing},
		{drivers.ErrNotEmpty, exitUsage},
		{drivers.ErrInvalid, exitUsage},
		{drivers.ErrAccess, exitAccess},
		{drivers.ErrNoSpace, exitFailed},
		{drivers.ErrFailed, exitFailed},
		{drivers.ErrUnsafePath, exitCorrupt},
		{context.Canceled, exitInterrupted},
	}
}

// failureExits is the table from the codes of tasks' failures to exit codes. Any other is [exitFailed].
func failureExits() map[string]int {
	return map[string]int{
		"archive_corrupt": exitCorrupt,
		"archive_missing": exitMissing,
		"not_archive":     exitUsage,
		"newer_format":    exitUsage,
		"exists":          exitFailed,
		"no_space":        exitFailed,
		"access":          exitAccess,
		"unsafe_path":     exitCorrupt,
		"not_found":       exitMissing,
		"not_empty":       exitUsage,
		"invalid":         exitUsage,
		"corrupt":         exitCorrupt,
		"failed":          exitFailed,
		"cancelled":       exitInterrupted,
		"proof_failed":    exitUnproven,
		"nothing_dumped":  exitFailed, // the failures of the nodes come first and say why
	}
}

// exitOf returns the exit code of an error.
func exitOf(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*tasks.ConfigError](err); ok {
		return exitUsage
	}
	for _, e := range errorExits() {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	return exitFailed
}

// exitOfOutcome returns the exit code of a run that has ended.
func exitOfOutcome(o coordinator.Outcome) int {
	switch o.State {
	case ledger.StateDone:
		if o.Whole() {
			return exitOK
		}
		return exitIncomplete
	case ledger.StatePartial:
		if len(o.Nodes) == 0 {
			return exitOfFailures(o.Failures) // nothing at all was done
		}
		return exitIncomplete
	case ledger.StateCancelled:
		return exitInterrupted
	default:
		return exitOfFailures(o.Failures)
	}
}

// exitOfFailures returns the exit code of the first failure that has one of its own.
func exitOfFailures(failures []tasks.Failure) int {
	for _, f := range failures {
		if code, ok := failureExits()[f.Code]; ok && code != exitInterrupted {
			return code
		}
	}
	return exitFailed
}

// exitError ends the command with a code, after everything there is to say was said: it has no text.
type exitError struct{ code int }

func (*exitError) Error() string { return "" }

// also adds the error of closing something to the one that was there before.
func also(err, closeErr error) error {
	if closeErr == nil {
		return err
	}
	return errors.Join(err, closeErr)
}

// errUsage marks errors of usage: what the user asked for makes no sense, whatever the state of the world.
var errUsage = errors.New("usage")

// usageError is an error of usage with a hint, which may be empty.
type usageError struct{ message, hint string }

func (e *usageError) Error() string      { return e.message }
func (e *usageError) Hint() string       { return e.hint }
func (*usageError) Is(target error) bool { return target == errUsage }

func usagef(hint, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), hint: hint}
}

// withHint gives an error a hint unless it has one.
func withHint(err error, hint string) error {
	if err == nil || hintOf(err) != "" {
		return err
	}
	return drivers.WithHint(err, hint)
}

// generalHints say what to do about errors whose makers have no better hint. The first that fits counts.
func generalHints() []struct {
	err  error
	hint string
} {
	return []struct {
		err  error
		hint string
	}{
		{archive.ErrNoDump, "salvor list names the dumps; a unique beginning of one, or latest, will do"},
		{archive.ErrNoRun, "salvor runs names the runs"},
		{archive.ErrAmbiguous, "write more of the name, or name the set with --set"},
		{archive.ErrCorrupt, "salvor verify names everything that is damaged, and what it belongs to"},
		{syscall.EROFS, "its file system is mounted for reading only: mount it for writing, or name another place"},
		{archive.ErrAccess, "run as a user, or with credentials, that may use the archive"},
		{archive.ErrNoSpace, "make room, and run it again"},
		{archive.ErrInvalid, "an archive is a directory, or a URL such as s3://BUCKET/PREFIX?region=REGION"},
		{tasks.ErrUnknownNode, "name a node by its path or a unique end of it; salvor show DUMP lists them"},
		{tasks.ErrAmbiguousNode, "write more of the node's path"},
		{coordinator.ErrResumable, "salvor resume goes on with it when the queue is back"},
		{coordinator.ErrRunDone, "salvor show RUN says what it did"},
	}
}

// failureHints are the same for the codes of tasks' failures.
func failureHints() map[string]string {
	return map[string]string{
		"archive_corrupt": "salvor verify names everything that is damaged, and what it belongs to",
		"unsafe_path":     "nothing was written outside of the target; look at the archive with salvor verify, and at who else writes to the target",
		"not_found":       "check what the set says of the source's place, and that it is mounted",
		"access":          "run as a user who may use the place",
		"no_space":        "make room, and run it again",
		"invalid":         "correct the set, or the target",
		"corrupt":         "the data is damaged where it was read; check it with the tools of its own",
	}
}

func generalHint(err error) string {
	for _, h := range generalHints() {
		if errors.Is(err, h.err) {
			return h.hint
		}
	}
	return ""
}

func hintOf(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}

// reportError writes an error and its hint.
func (a *app) reportError(err error) {
	if e, ok := errors.AsType[*tasks.ConfigError](err); ok {
		a.reportConfig(e)
		return
	}
	a.console.problem("error", err.Error())
	a.console.problem("hint", cmp.Or(hintOf(err), generalHint(err)))
}

// reportConfig writes each problem of a set.
func (a *app) reportConfig(e *tasks.ConfigError) {
	general := "salvor plan checks a set and runs nothing"
	if e.File != "" {
		general = fmt.Sprintf("correct %s; salvor plan checks it and runs nothing", e.File)
	}
	a.reportWrong(e, general)
}

// reportWrong writes each problem of a text on a line of its own, its hint below it; and general where one has none.
func (a *app) reportWrong(e *yamltree.Error, general string) {
	unhinted := false
	for _, p := range e.Problems {
		hint := p.Hint
		p.Hint = ""
		one := yamltree.Error{File: e.File, Problems: []yamltree.Problem{p}}
		a.console.problem("error", one.Error())
		a.console.problem("hint", hint)
		unhinted = unhinted || hint == ""
	}
	if e.More > 0 {
		a.console.problem("error", fmt.Sprintf("%d problems more", e.More))
	}
	if unhinted {
		a.console.problem("hint", general)
	}
}

// maxFailures bounds the failures that are written out.
const maxFailures = 10

// reportFailures writes what failed in a run, each text once.
func (a *app) reportFailures(failures []tasks.Failure) {
	seen := make(map[string]bool)
	hinted := make(map[string]bool)
	for _, f := range failures {
		if seen[f.Message] || f.Code == "cancelled" {
			continue
		}
		if len(seen) == maxFailures {
			a.console.problem("error", "and further failures; salvor show RUN lists them")
			return
		}
		seen[f.Message] = true
		a.console.problem("error", f.Message)
		if hint := cmp.Or(f.Hint, failureHints()[f.Code]); !hinted[hint] {
			hinted[hint] = true
			a.console.problem("hint", hint)
		}
	}
}

// exitHelp is the section of a command's help about its exit codes.
func exitHelp(codes ...int) string {
	var b strings.Builder
	b.WriteString("\n\nExit status:\n")
	for _, m := range exitMeanings() {
		for _, c := range codes {
			if c == m.code {
				fmt.Fprintf(&b, "  %3d  %s\n", m.code, m.meaning)
			}
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
