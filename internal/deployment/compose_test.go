package deployment_test

import (
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// project reads docker-compose.yml as Compose does where none of its variables is set.
func project(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithWorkingDirectory(root))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// workers returns the services that run salvor worker, by name.
func workers(t *testing.T, p *types.Project) map[string]types.ServiceConfig {
	t.Helper()
	found := make(map[string]types.ServiceConfig)
	for name, s := range p.Services {
		if s.Build != nil && len(s.Command) > 0 && s.Command[0] == "worker" {
			found[name] = s
		}
	}
	return found
}

func TestComposeHasRedisAndTwoWorkersOnOneArchive(t *testing.T) {
	t.Parallel()
	p := project(t)
	if diff := cmp.Diff([]string{"redis", "web-1", "web-2"}, slices.Sorted(maps.Keys(p.Services))); diff != "" {
		t.Fatalf("services (-want +got):\n%s", diff)
	}
	hosts, archives, scratches := map[string]bool{}, map[string]bool{}, map[string]bool{}
	all := workers(t, p)
	for name, s := range all {
		place := s.Environment["SALVOR_ARCHIVE"]
		if place == nil {
			t.Fatalf("%s has no SALVOR_ARCHIVE", name)
		}
		hosts[flag(t, s, "--host")] = true
		archives[mountAt(t, s, *place).Source] = true
		scratches[mountAt(t, s, flag(t, s, "--scratch")).Source] = true
	}
	if len(all) != 2 || len(hosts) != 2 || len(archives) != 1 || len(scratches) != 2 {
		t.Errorf("%d workers of hosts %v on archives %v with scratch %v", len(all), hosts, archives, scratches)
	}
}

// flag returns the value of a flag in a service's command.
func flag(t *testing.T, s types.ServiceConfig, name string) string {
	t.Helper()
	at := slices.Index(s.Command, name)
	if at < 0 || at+1 == len(s.Command) {
		t.Fatalf("service %s has no %s", s.Name, name)
	}
	return s.Command[at+1]
}

// mountAt returns what is mounted at a place in a service's containers.
func mountAt(t *testing.T, s types.ServiceConfig, place string) types.ServiceVolumeConfig {
	t.Helper()
	for _, v := range s.Volumes {
		if v.Target == place {
			return v
		}
	}
	t.Fatalf("service %s mounts nothing at %s", s.Name, place)
	return types.ServiceVolumeConfig{}
}

// TestVariablesExist compares the variables of docker-compose.yml with those that its head and the documentation name.
func TestVariablesExist(t *testing.T) {
	t.Parallel()
	file := read(t, "docker-compose.yml")
	model, err := loader.LoadModelWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  root,
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml", Content: file}},
	}, func(o *loader.Options) { o.SkipInterpolation, o.SkipValidation = true, true })
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for name, v := range template.ExtractVariables(model, template.DefaultPattern) {
		used = append(used, name)
		if !v.Required && v.DefaultValue == "" && name != "SALVOR_VERSION" {
			t.Errorf("%s has no default and is not required", name)
		}
	}
	slices.Sort(used)
	head, _, _ := strings.Cut(string(file), "\nname:")
	for where, text := range map[string]string{"the head of docker-compose.yml": head, "docs/containers.md": variablesTable(t)} {
		named := slices.Compact(slices.Sorted(slices.Values(regexp.MustCompile(`\bSALVOR_[A-Z0-9_]+\b`).FindAllString(text, -1))))
		if diff := cmp.Diff(used, named); diff != "" {
			t.Errorf("variables in use and in %s (-used +named):\n%s", where, diff)
		}
	}
}

// variablesTable returns the lines of the documentation's table of variables.
func variablesTable(t *testing.T) string {
	t.Helper()
	var rows []string
	for line := range strings.Lines(string(read(t, "docs/containers.md"))) {
		if strings.HasPrefix(line, "| `SALVOR_") {
			// The first column: the others name files and values.
			rows = append(rows, strings.Split(line, "|")[1])
		}
	}
	return strings.Join(rows, "\n")
}

// TestVolumesAndSecretsExist: what is mounted is declared, what is declared is mounted, and it lies where somebody reads it.
func TestVolumesAndSecretsExist(t *testing.T) {
	t.Parallel()
	p := project(t)
	_, image := stages(t)
	inImage := append(listed(t, image, "install -d -o 10001 -g 10001 -m 0700 "), "/data") // the last is Redis's image's
	volumes, secrets := map[string]bool{}, map[string]bool{}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeVolume || v.Source == "" {
				t.Errorf("%s mounts %s %q", name, v.Type, v.Source)
			}
			volumes[v.Source] = true
			if !slices.Contains(inImage, v.Target) {
				t.Errorf("%s mounts %s at %s, which its image does not have: it would belong to root", name, v.Source, v.Target)
			}
		}
		var granted []string
		for _, secret := range s.Secrets {
			secrets[secret.Source] = true
			granted = append(granted, "/run/secrets/"+secret.Source)
		}
		text := strings.Join(s.Command, " ")
		if s.HealthCheck != nil {
			text += " " + strings.Join(s.HealthCheck.Test, " ")
		}
		for _, value := range s.Environment {
			text += " " + *value
		}
		read := regexp.MustCompile(`/run/secrets/[a-z0-9-]+`).FindAllString(text, -1)
		slices.Sort(read)
		if diff := cmp.Diff(granted, slices.Compact(read)); diff != "" {
			t.Errorf("secrets of %s (-granted +read):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(volumes)), slices.Sorted(maps.Keys(p.Volumes))); diff != "" {
		t.Errorf("volumes (-mounted +declared):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(secrets)), slices.Sorted(maps.Keys(p.Secrets))); diff != "" {
		t.Errorf("secrets (-granted +declared):\n%s", diff)
	}
	// Where a secret lies beside the file, git and the builder must not take it.
	for name, secret := range p.Secrets {
		place, err := filepath.Rel(p.WorkingDir, secret.File)
		if err != nil || secret.File == "" {
			t.Fatalf("secret %s is no file: %+v", name, secret)
		}
		if !strings.Contains(string(read(t, ".gitignore")), "\n/"+path.Dir(filepath.ToSlash(place))+"/\n") {
			t.Errorf("%s is not in .gitignore", place)
		}
	}
}

func TestServicesAreConfined(t *testing.T) {
	t.Parallel()
	_, image := stages(t)
	for name, s := range project(t).Services {
		user := s.User
		if s.Build != nil && user == "" {
			user = userOf(t, image)
		}
		if !notRoot(user) || s.Privileged || len(s.CapAdd) > 0 {
			t.Errorf("%s runs as %q, privileged: %t, with capabilities %v", name, user, s.Privileged, s.CapAdd)
		}
		if !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || !s.ReadOnly {
			t.Errorf("%s keeps more rights than it needs", name)
		}
		if len(s.Ports) > 0 || s.NetworkMode == "host" {
			t.Errorf("%s can be reached from outside", name)
		}
		if s.Restart != types.RestartPolicyUnlessStopped {
			t.Errorf("%s has restart policy %q", name, s.Restart)
		}
	}
}

func TestLimitsLeaveRoom(t *testing.T) {
	t.Parallel()
	p := project(t)
	for name, s := range workers(t, p) {
		drain, err := time.ParseDuration(flag(t, s, "--drain"))
		if err != nil {
			t.Fatal(err)
		}
		// Handing work back takes a moment, too.
		if grace := time.Duration(*s.StopGracePeriod); grace < drain+10*time.Second {
			t.Errorf("%s is killed after %s, and needs %s to end its tasks", name, grace, drain)
		}
		memory := mebibytes(t, flag(t, s, "--memory"))
		if limit := int64(s.MemLimit) >> 20; limit < 2*memory {
			t.Errorf("%s has %d MiB for itself and what it runs, and --memory is %d MiB", name, limit, memory)
		}
		if s.DependsOn["redis"].Condition != types.ServiceConditionHealthy {
			t.Errorf("%s does not wait for redis", name)
		}
	}
	redis := p.Services["redis"]
	maxMemory := regexp.MustCompile(`--maxmemory (\d+)mb`).FindStringSubmatch(strings.Join(redis.Command, " "))
	if maxMemory == nil {
		t.Fatal("redis has no --maxmemory")
	}
	most, err := strconv.ParseInt(maxMemory[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(redis.MemLimit) >> 20; limit < 2*most {
		t.Errorf("redis has %d MiB, and holds up to %d MiB twice while it rewrites its file", limit, most)
	}
}

func mebibytes(t *testing.T, size string) int64 {
	t.Helper()
	digits, ok := strings.CutSuffix(size, "MiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil {
		t.Fatalf("%q is no number of MiB", size)
	}
	return n
}
