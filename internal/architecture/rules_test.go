package architecture_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// module is the path of the module, which begins the import path of each of its packages.
const module = "salvor"

// layers says which top-level directories the packages of a top-level directory may import.
func layers() map[string][]string {
	return map[string][]string{
		"archive":     {"archive", "internal"},
		"cmd":         {"archive", "cmd", "coordinator", "drivers", "internal", "tasks", "workers"},
		"coordinator": {"archive", "coordinator", "internal", "tasks"},
		"drivers":     {"drivers", "internal"},
		"internal":    {"internal"},
		"scripts":     {},
		"tasks":       {"internal", "tasks"},
		"workers":     {"archive", "drivers", "internal", "tasks", "workers"},
	}
}

// rooms says which libraries belong to which packages: whoever else needs them goes through those.
func rooms() map[string][]string {
	return map[string][]string{
		"github.com/alicebob/miniredis": {"tasks"},
		"github.com/hibiken/asynq":      {"tasks"},
		"github.com/redis/go-redis":     {"tasks", "internal/testenv"},
		"github.com/spf13/cobra":        {"cmd"},
		"gocloud.dev":                   {"archive", "cmd", "drivers"},
		"modernc.org/sqlite":            {"cmd", "drivers/sqlite", "internal/bench"},
	}
}

// topLevel is all that may lie at the top of the repository.
func topLevel() []string {
	return []string{
		".ci", "archive", "cmd", "coordinator", "docs", "drivers", "internal", "scripts", "tasks", "tools", "workers",
		".dockerignore", ".gitignore", ".golangci.yml", "CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile", "README.md",
		"docker-compose.yml", "go.mod", "go.sum",
	}
}

// forTests are the packages that tests alone may import, with all below them.
func forTests() []string {
	return []string{
		"testing",
		"github.com/fsouza/fake-gcs-server",
		"github.com/google/go-cmp",
		"github.com/rclone/gofakes3",
		"github.com/rogpeppe/go-internal",
		"go.uber.org/goleak",
		"pgregory.net/rapid",
		module + "/drivers/drivertest",
		module + "/internal/testenv",
	}
}

// nameless are names that say nothing of what lives in a file or a directory.
func nameless() []string {
	return []string{"common", "helper", "helpers", "misc", "shared", "types", "util", "utils"}
}

// goPackage is what `go list` tells of a package.
type goPackage struct {
	ImportPath string
	Doc        string
	Standard   bool
	GoFiles    []string

	Imports      []string
	TestImports  []string
	XTestImports []string
	// Deps are all packages that the package is linked with.
	Deps []string

	Error *struct{ Err string }
}

// problems returns what is wrong with a module's packages, a sentence each.
func problems(packages []goPackage) []string {
	var found []string
	for _, p := range packages {
		place, ok := strings.CutPrefix(p.ImportPath, module+"/")
		if !ok {
			found = append(found, fmt.Sprintf("%s: a package outside the layers", p.ImportPath))
			continue
		}
		if p.Error != nil {
			found = append(found, fmt.Sprintf("%s: %s", place, p.Error.Err))
		}
		if len(p.GoFiles) > 0 && p.Doc == "" {
			found = append(found, fmt.Sprintf("%s: no package doc", place))
		}
		for _, imported := range p.Imports {
			found = append(found, importProblems(place, imported)...)
			if !isForTests(p.ImportPath) && isForTests(imported) {
				found = append(found, fmt.Sprintf("%s imports %s, which is for tests", place, imported))
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			// What is for tests may be used by the tests of every layer.
			if !isForTests(imported) {
				found = append(found, importProblems(place+" (test)", imported)...)
			}
		}
		if strings.HasPrefix(place, "cmd/") {
			for _, linked := range p.Deps {
				if isForTests(linked) {
					found = append(found, fmt.Sprintf("%s is linked with %s, which is for tests", place, linked))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// importProblems returns what is wrong with one import of the package at a place: "tasks/ledger", or with " (test)" behind it.
func importProblems(place, imported string) []string {
	from := strings.TrimSuffix(place, " (test)")
	var found []string
	if in, ok := strings.CutPrefix(imported, module+"/"); ok {
		allowed, known := layers()[top(from)]
		switch {
		case !known:
			found = append(found, fmt.Sprintf("%s: %s is not a layer", place, top(from)))
		case !slices.Contains(allowed, top(in)):
			found = append(found, fmt.Sprintf("%s imports %s: %s may import only %s", place, in, top(from), strings.Join(allowed, ", ")))
		case within(from, "internal/testenv"):
			found = append(found, fmt.Sprintf("%s imports %s: it starts servers and knows nothing of the product", place, in))
		case within(in, "internal/bench"):
			found = append(found, fmt.Sprintf("%s imports %s, which is a program", place, in))
		case within(in, "drivers/all") && !within(from, "drivers") && top(from) != "cmd" && place == from:
			found = append(found, fmt.Sprintf("%s imports %s: the registry is handed in by cmd", place, in))
		}
	}
	// Tests put a layer on what they like: a bucket in memory, a queue in the process.
	if place != from {
		return found
	}
	for library, owners := range rooms() {
		owned := slices.ContainsFunc(owners, func(owner string) bool { return within(from, owner) })
		if within(imported, library) && !owned {
			found = append(found, fmt.Sprintf("%s imports %s: that belongs to %s", place, imported, strings.Join(owners, ", ")))
		}
	}
	return found
}

// strangers returns the top-level entries that the layout does not know.
func strangers(entries []string) []string {
	var found []string
	for _, entry := range entries {
		if !slices.Contains(topLevel(), entry) {
			found = append(found, entry)
		}
	}
	return found
}

// withoutName returns the files, by slash-separated path, that are named, or lie in a directory that is named, after nothing.
func withoutName(files []string) []string {
	var found []string
	for _, file := range files {
		for segment := range strings.SplitSeq(file, "/") {
			// helpers_linux_test.go is a helpers.go as well.
			word, _, _ := strings.Cut(strings.TrimSuffix(segment, path.Ext(segment)), "_")
			if slices.Contains(nameless(), strings.ToLower(word)) {
				found = append(found, file)
				break
			}
		}
	}
	return found
}

func isForTests(importPath string) bool {
	return slices.ContainsFunc(forTests(), func(of string) bool { return within(importPath, of) })
}

// within tells whether a slash-separated path is another or lies below it.
func within(below, above string) bool { return below == above || strings.HasPrefix(below, above+"/") }

func top(place string) string {
	first, _, _ := strings.Cut(place, "/")
	return first
}
