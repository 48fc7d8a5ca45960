package deployment_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// root is the repository's top directory, seen from this one.
const root = "../.."

// readDockerfile returns the stages of the Dockerfile. A warning of the parser counts as a mistake.
func readDockerfile() ([]instructions.Stage, error) {
	content, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	for _, warning := range parsed.Warnings {
		return nil, fmt.Errorf("Dockerfile: %s", warning.Short)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	return stages, err
}

// stages returns the builder and the image of the Dockerfile.
func stages(t *testing.T) (builder, image instructions.Stage) {
	t.Helper()
	all, err := readDockerfile()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("the Dockerfile has %d stages", len(all))
	}
	return all[0], all[1]
}

// commands returns the instructions of one kind in a stage.
func commands[T instructions.Command](stage instructions.Stage) []T {
	var found []T
	for _, command := range stage.Commands {
		if c, ok := command.(T); ok {
			found = append(found, c)
		}
	}
	return found
}

// last returns the one instruction of a kind that counts.
func last[T instructions.Command](t *testing.T, stage instructions.Stage) T {
	t.Helper()
	all := commands[T](stage)
	if len(all) == 0 {
		var zero T
		t.Fatalf("the image has no %T", zero)
	}
	return all[len(all)-1]
}

// script returns the shell commands of a RUN, or the words of another instruction's exec form.
func script(c instructions.ShellDependantCmdLine) string { return strings.Join(c.CmdLine, " ") }

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	images := []string{project(t).Services["redis"].Image}
	builder, image := stages(t)
	images = append(images, builder.BaseName, image.BaseName)
	for _, name := range images {
		// A release, or the day of a snapshot: what does not move.
		if !regexp.MustCompile(`^[a-z]+:(\d+\.\d+\.\d+|[a-z]+-\d{8})(-[a-z]+)?$`).MatchString(name) {
			t.Errorf("%s does not say which image it is for good", name)
		}
	}
}

func TestImageIsBuiltByAGoThatIsNewEnough(t *testing.T) {
	t.Parallel()
	wanted := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(read(t, "go.mod"))
	builder, _ := stages(t)
	got := regexp.MustCompile(`^golang:([\d.]+)-`).FindStringSubmatch(builder.BaseName)
	if wanted == nil || got == nil {
		t.Fatalf("go.mod wants %q, the builder has %q", wanted, got)
	}
	if slices.Compare(numbers(t, got[1]), numbers(t, string(wanted[1]))) < 0 {
		t.Errorf("the image is built by Go %s, and go.mod wants %s", got[1], wanted[1])
	}
}

func numbers(t *testing.T, version string) []int {
	t.Helper()
	var out []int
	for field := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

func TestCopiedFilesExist(t *testing.T) {
	t.Parallel()
	context := buildContext(t)
	builder, image := stages(t)
	for _, stage := range []instructions.Stage{builder, image} {
		for _, c := range commands[*instructions.CopyCommand](stage) {
			if c.From != "" {
				if c.From != builder.Name {
					t.Errorf("%s: no stage %q before it", c, c.From)
				}
				continue
			}
			for _, source := range c.SourcePaths {
				if _, err := os.Stat(filepath.Join(context, source)); err != nil {
					t.Errorf("%s: %s is not there, or .dockerignore keeps it back", c, source)
				}
			}
		}
	}
}

func TestBuilderGetsNothingElse(t *testing.T) {
	t.Parallel()
	context := buildContext(t)
	entries, err := os.ReadDir(context)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{"archive", "cmd", "coordinator", "drivers", "go.mod", "go.sum", "internal", "tasks", "workers"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sent to the builder (-want +got):\n%s", diff)
	}
}

// TestImageRunsWhatItHolds joins the ends of the last stage: what is copied and installed is what is started.
func TestImageRunsWhatItHolds(t *testing.T) {
	t.Parallel()
	_, image := stages(t)
	packages := listed(t, image, "--no-install-recommends ")
	copied := commands[*instructions.CopyCommand](image)
	if len(copied) != 1 {
		t.Fatalf("%d COPY in the last stage", len(copied))
	}
	run, err := buildCommand()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(run, " -o "+copied[0].SourcePaths[0]+" ") {
		t.Errorf("the build does not write %s", copied[0].SourcePaths[0])
	}
	entry := last[*instructions.EntrypointCommand](t, image)
	if diff := cmp.Diff([]string{"/usr/bin/tini", "--", copied[0].DestPath}, entry.CmdLine); diff != "" || entry.PrependShell {
		t.Errorf("entry point (-want +got):\n%s", diff)
	}
	for _, want := range []string{"ca-certificates", "tini", "mariadb-client", "postgresql-client", "redis-tools"} {
		if !slices.Contains(packages, want) {
			t.Errorf("package %s is not installed", want)
		}
	}
	if out := salvor(t, last[*instructions.CmdCommand](t, image).CmdLine...); !strings.Contains(out, "Usage:") {
		t.Errorf("without a command the image prints %q", out)
	}
}

func TestImageIsNotRoot(t *testing.T) {
	t.Parallel()
	_, image := stages(t)
	user := userOf(t, image)
	if !notRoot(user) {
		t.Errorf("the image runs as %q", user)
	}
	// Volumes take the owner of the directory that they are mounted over.
	uid, gid, _ := strings.Cut(user, ":")
	owned := listed(t, image, "install -d -o "+uid+" -g "+gid+" -m 0700 ")
	for _, volume := range last[*instructions.VolumeCommand](t, image).Volumes {
		if !slices.Contains(owned, volume) {
			t.Errorf("volume %s does not belong to user %s", volume, user)
		}
	}
}

// listed returns the words that follow a command, or the end of one, in a RUN of the stage.
func listed(t *testing.T, stage instructions.Stage, command string) []string {
	t.Helper()
	for _, run := range commands[*instructions.RunCommand](stage) {
		if _, after, ok := strings.Cut(script(run.ShellDependantCmdLine), command); ok {
			list, _, _ := strings.Cut(after, "&&")
			return strings.Fields(list)
		}
	}
	t.Fatalf("no RUN with %q", command)
	return nil
}

// notRoot tells whether a user is one that an engine can see not to be root: numbers, and none of them 0.
func notRoot(user string) bool {
	return regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user)
}

func TestImageHoldsNoSecret(t *testing.T) {
	t.Parallel()
	suspicious := regexp.MustCompile(`(?i)password|passwd|secret|token|credential|api_?key`)
	builder, image := stages(t)
	for _, stage := range []instructions.Stage{builder, image} {
		for _, c := range commands[*instructions.EnvCommand](stage) {
			for _, v := range c.Env {
				if suspicious.MatchString(v.Key) {
					t.Errorf("ENV %s is kept in the image", v.Key)
				}
			}
		}
		for _, c := range commands[*instructions.ArgCommand](stage) {
			for _, a := range c.Args {
				if suspicious.MatchString(a.Key) {
					t.Errorf("ARG %s is kept in the image's history", a.Key)
				}
			}
		}
	}
}

// userOf returns the user that an image runs as.
func userOf(t *testing.T, image instructions.Stage) string {
	t.Helper()
	return last[*instructions.UserCommand](t, image).User
}

// argumentsOf returns the names of a stage's ARGs.
func argumentsOf(stage instructions.Stage) []string {
	var names []string
	for _, c := range commands[*instructions.ArgCommand](stage) {
		for _, a := range c.Args {
			names = append(names, a.Key)
		}
	}
	return names
}
