package deployment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// imageVersion is the version that the program is built as.
const imageVersion = "v0.0.0-image"

// tempDir is where the program is built; TestMain makes and removes it.
var tempDir string

// built is the program, built once as the Dockerfile says, for all tests.
type built struct {
	context string // what an engine would send to the builder
	program string
	err     error
}

// onceBuilt builds when the first test asks for it.
var onceBuilt = sync.OnceValue(build)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	var err error
	if tempDir, err = os.MkdirTemp("", "salvor-deployment-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(tempDir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

// buildContext returns a directory with what an engine would send to the builder.
func buildContext(t *testing.T) string {
	t.Helper()
	b := onceBuilt()
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.context
}

// salvor runs the program with arguments and returns what it prints. It must succeed.
func salvor(t *testing.T, args ...string) string {
	t.Helper()
	b := onceBuilt()
	if b.err != nil {
		t.Fatal(b.err)
	}
	out, err := exec.CommandContext(t.Context(), b.program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("salvor %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestProgramBuildsFromWhatIsSent(t *testing.T) {
	t.Parallel()
	if out := salvor(t, "version"); !strings.HasPrefix(out, "salvor "+imageVersion+"\n") {
		t.Errorf("salvor version of the image prints %q", out)
	}
}

// buildCommand returns the shell command that builds the program.
func buildCommand() (string, error) {
	all, err := readDockerfile()
	if err != nil {
		return "", err
	}
	for _, run := range commands[*instructions.RunCommand](all[0]) {
		if command := script(run.ShellDependantCmdLine); strings.Contains(command, "go build ") {
			return command, nil
		}
	}
	return "", errors.New("the Dockerfile's first stage does not build the program")
}

// build makes the context and runs the Dockerfile's build in it, for this platform and into a directory of its own.
func build() built {
	b := built{context: filepath.Join(tempDir, "context"), program: filepath.Join(tempDir, "salvor")}
	if b.err = sendContext(b.context); b.err != nil {
		return b
	}
	command, err := buildCommand()
	if err != nil {
		b.err = err
		return b
	}
	cmd := exec.CommandContext(context.Background(), "sh", "-c", strings.ReplaceAll(command, "/out/", tempDir+"/"))
	cmd.Dir = b.context
	cmd.Env = append(os.Environ(), "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH, "VERSION="+imageVersion)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("run %s: %w\n%s", command, err, out)
	}
	return b
}

// sendContext copies to dir what .dockerignore lets through. A directory at the top that it keeps back is not looked into,
// which is stricter than an engine only where a pattern makes an exception inside of one.
func sendContext(dir string) error {
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		return err
	}
	patterns, err := ignorefile.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		path, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		kept, err := matcher.MatchesOrParentMatches(path)
		switch {
		case err != nil:
			return err
		case kept && entry.IsDir():
			return fs.SkipDir
		case kept:
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(dir, path), 0o700)
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path), content, 0o600)
	})
}
