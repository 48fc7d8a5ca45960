package architecture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// root is the repository's top directory, seen from this one.
const root = "../.."

func TestPackagesKeepToTheirLayers(t *testing.T) {
	t.Parallel()
	for _, platform := range []string{"linux", "darwin"} {
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			for _, problem := range problems(list(t, platform)) {
				t.Error(problem)
			}
		})
	}
}

func TestTopLevelHoldsNothingElse(t *testing.T) {
	t.Parallel()
	tracked := trackedFiles(t)
	seen := make(map[string]bool)
	var entries []string
	for _, file := range tracked {
		if entry := top(file); !seen[entry] {
			seen[entry] = true
			entries = append(entries, entry)
		}
	}
	for _, stranger := range strangers(entries) {
		t.Errorf("%s does not belong at the top of the repository", stranger)
	}
}

func TestFilesHaveNames(t *testing.T) {
	t.Parallel()
	for _, file := range withoutName(trackedFiles(t)) {
		t.Errorf("%s: the name does not tell what lives there", file)
	}
}

func TestProblemsOfPackages(t *testing.T) {
	t.Parallel()
	// A package with a doc that is fine but for what each case adds.
	fine := func(place string, imports ...string) goPackage {
		return goPackage{ImportPath: module + "/" + place, Doc: "Package x.", GoFiles: []string{"x.go"}, Imports: imports}
	}
	broken := fine("tasks")
	broken.Error = &struct{ Err string }{"import cycle not allowed"}
	undocumented := fine("archive")
	undocumented.Doc = ""
	onlyTests := goPackage{ImportPath: "salvor/scripts", XTestImports: []string{"testing"}}
	tests := fine("coordinator")
	tests.XTestImports = []string{"salvor/internal/testenv", "pgregory.net/rapid", "gocloud.dev/blob/memblob", "salvor/workers"}
	linked := fine("cmd/salvor", "example.com/library")
	linked.Deps = []string{"example.com/library", "testing/iotest"}

	cases := []struct {
		name    string
		in      goPackage
		problem string // "" where all is well
	}{
		{"leaf imports internal", fine("drivers/sqlite", "salvor/drivers", "salvor/internal/secret", "os"), ""},
		{"driver knows the archive", fine("drivers/sqlite", "salvor/archive"), "drivers/sqlite imports archive: drivers may import only drivers, internal"},
		{"driver knows tasks", fine("drivers", "salvor/tasks"), "drivers imports tasks: drivers may import only drivers, internal"},
		{"driver knows the queue", fine("drivers", "github.com/hibiken/asynq"), "drivers imports github.com/hibiken/asynq: that belongs to tasks"},
		{"archive knows drivers", fine("archive", "salvor/drivers"), "archive imports drivers: archive may import only archive, internal"},
		{"tasks know the archive", fine("tasks/ledger", "salvor/archive"), "tasks/ledger imports archive: tasks may import only internal, tasks"},
		{"tasks join drivers to a set", fine("tasks", "salvor/drivers"), "tasks imports drivers: tasks may import only internal, tasks"},
		{"coordinator imports what it may", fine("coordinator", "salvor/tasks/ledger", "salvor/archive"), ""},
		{"coordinator opens drivers", fine("coordinator", "salvor/drivers"), "coordinator imports drivers: coordinator may import only archive, coordinator, internal, tasks"},
		{"coordinator calls workers", fine("coordinator", "salvor/workers"), "coordinator imports workers: coordinator may import only archive, coordinator, internal, tasks"},
		{"workers import what they may", fine("workers", "salvor/tasks", "salvor/archive", "salvor/drivers"), ""},
		{"workers call the coordinator", fine("workers", "salvor/coordinator"), "workers imports coordinator: workers may import only archive, drivers, internal, tasks, workers"},
		{"workers choose the drivers", fine("workers", "salvor/drivers/all"), "workers imports drivers/all: the registry is handed in by cmd"},
		{"cmd wires everything", fine("cmd/salvor", "salvor/workers", "salvor/coordinator", "salvor/drivers/all", "github.com/spf13/cobra"), ""},
		{"a layer imports cmd", fine("workers", "salvor/cmd/salvor"), "workers imports cmd/salvor: workers may import only archive, drivers, internal, tasks, workers"},
		{"a layer parses flags", fine("workers", "github.com/spf13/cobra"), "workers imports github.com/spf13/cobra: that belongs to cmd"},
		{"internal knows a layer", fine("internal/secret", "salvor/tasks"), "internal/secret imports tasks: internal may import only internal"},
		{"testenv knows the product", fine("internal/testenv", "salvor/internal/secret", "testing"), "internal/testenv imports internal/secret: it starts servers and knows nothing of the product"},
		{"bench is a program", fine("internal/secret", "salvor/internal/bench"), "internal/secret imports internal/bench, which is a program"},
		{"production imports testing", fine("workers", "testing"), "workers imports testing, which is for tests"},
		{"production imports a suite", fine("drivers/sqlite", "salvor/drivers/drivertest"), "drivers/sqlite imports salvor/drivers/drivertest, which is for tests"},
		{"production imports rapid", fine("tasks", "pgregory.net/rapid"), "tasks imports pgregory.net/rapid, which is for tests"},
		{"a suite imports testing", fine("drivers/drivertest", "testing", "github.com/google/go-cmp/cmp"), ""},
		{"a name that begins alike", fine("drivers/sqlite", "testingish", "salvor/driversx"), "drivers/sqlite imports driversx: drivers may import only drivers, internal"},
		{"the binary is linked with testing", linked, "cmd/salvor is linked with testing/iotest, which is for tests"},
		{"tests keep to the layers too", tests, "coordinator (test) imports workers: coordinator may import only archive, coordinator, internal, tasks"},
		{"no package doc", undocumented, "archive: no package doc"},
		{"nothing but tests needs no doc", onlyTests, ""},
		{"a layer of its own", fine("merge", "salvor/tasks"), "merge: merge is not a layer"},
		{"a package at the top", goPackage{ImportPath: module}, "salvor: a package outside the layers"},
		{"does not load", broken, "tasks: import cycle not allowed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var want []string
			if c.problem != "" {
				want = []string{c.problem}
			}
			if diff := cmp.Diff(want, problems([]goPackage{c.in})); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStrangersAndNamelessFiles(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string{"pkg", ".github"}, strangers([]string{"cmd", "pkg", "go.mod", ".github", ".ci"})); diff != "" {
		t.Errorf("strangers (-want +got):\n%s", diff)
	}
	files := []string{
		"tasks/util.go", "tasks/helpers_test.go", "internal/common/text.go", "drivers/types_linux.go", "archive/misc_linux_test.go",
		"tasks/utility.go", "tasks/plan.go", "docs/types-of-nodes.md",
	}
	if diff := cmp.Diff(files[:5], withoutName(files)); diff != "" {
		t.Errorf("nameless files (-want +got):\n%s", diff)
	}
}

// list asks the go command for the module's packages as they are on a platform.
func list(t *testing.T, platform string) []goPackage {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps",
		"-json=ImportPath,Doc,Standard,GoFiles,Imports,TestImports,XTestImports,Deps,Error", "./...")
	command.Dir = root
	command.Env = append(os.Environ(), "GOOS="+platform, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read the answer of go list: %v", err)
		}
		if within(p.ImportPath, module) {
			packages = append(packages, p)
		}
	}
	if len(packages) < 5 {
		t.Fatalf("go list answered with %d packages of the module", len(packages))
	}
	return packages
}

// trackedFiles returns the repository's files by slash-separated path: those that git tracks or, in a tree without git or
// without a commit, all that are there.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	command.Dir = root
	if out, err := command.Output(); err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var files []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		switch {
		case relative == ".git" && entry.IsDir(), relative == "bin", relative == ".cache":
			return fs.SkipDir
		case relative == ".git": // a worktree's
		case !entry.IsDir():
			files = append(files, relative)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("the repository has no files")
	}
	return files
}
