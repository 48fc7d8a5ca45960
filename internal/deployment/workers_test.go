package deployment_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// TestWorkersAreStartedAsTheyUnderstand asks the program itself about every command, flag and variable.
func TestWorkersAreStartedAsTheyUnderstand(t *testing.T) {
	t.Parallel()
	p := project(t)
	builder, _ := stages(t)
	arguments := argumentsOf(builder)
	for name, s := range workers(t, p) {
		// A flag or a value that it does not know ends it before it prints its help.
		help := salvor(t, append(slices.Clone([]string(s.Command)), "--help")...)
		if !strings.Contains(help, "\n  salvor "+s.Command[0]+" ") {
			t.Errorf("%s: salvor %s prints the help of something else:\n%s", name, s.Command[0], help)
		}
		for variable := range s.Environment {
			if !strings.Contains(help, "[env "+variable+"]") {
				t.Errorf("%s: salvor %s knows no variable %s", name, s.Command[0], variable)
			}
		}
		for argument := range s.Build.Args {
			if !slices.Contains(arguments, argument) {
				t.Errorf("%s: the Dockerfile has no ARG %s", name, argument)
			}
		}
		if s.Build.Context != p.WorkingDir || s.Build.Dockerfile != "Dockerfile" {
			t.Errorf("%s is built from %s, %s", name, s.Build.Context, s.Build.Dockerfile)
		}
		if host := flag(t, s, "--host"); host != name {
			t.Errorf("%s is host %s", name, host)
		}
	}
}

// TestWorkersShareADump starts the services of docker-compose.yml as they are, in order, and lets both workers dump what is
// theirs into the archive, by a command that is run beside one of them.
func TestWorkersShareADump(t *testing.T) {
	t.Parallel()
	needRedis(t)
	program := filepath.Join(filepath.Dir(buildContext(t)), "salvor")
	compose := project(t)
	p := newPlace(t)
	redis := compose.Services["redis"]
	server := p.start(t, redis.Command, nil)
	p.awaitHealth(t, redis.HealthCheck.Test[1])

	var set strings.Builder
	set.WriteString("set:\n  name: fleet\n  order: parallel\n  children:\n")
	var running []process
	var environment []string
	for name, s := range workers(t, compose) {
		var command []string
		command, environment = p.mounted(t, s)
		running = append(running, p.start(t, append([]string{program}, command...), environment))
		data := filepath.Join(p.dir, mountAt(t, s, "/srv/data").Source)
		if err := os.WriteFile(filepath.Join(data, "page.html"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		set.WriteString("    - {name: " + name + ", driver: filesystem, host: " + name + ", source: " + data + "}\n")
	}
	for _, worker := range running {
		eventually(t, "worker serves", func() bool { return strings.Contains(worker.printed.String(), "serving host") })
	}

	p.salvor(t, program, environment, set.String(), "dump", "--config", "/dev/stdin")
	list := p.salvor(t, program, environment, "", "list")
	if !strings.Contains(list, "fleet") || !strings.Contains(list, "whole") {
		t.Errorf("the archive has\n%s", list)
	}
	if strings.Contains(list, password) {
		t.Error("the password is printed")
	}
	p.salvor(t, program, environment, "", "verify", "latest")
	for _, worker := range running {
		worker.stop(t)
		if strings.Contains(worker.printed.String(), password) {
			t.Errorf("a worker prints the password:\n%s", worker.printed)
		}
	}
	server.stop(t)
}

// mounted returns a service's command and environment with the places of its volumes here, which it makes.
func (p place) mounted(t *testing.T, s types.ServiceConfig) (command, environment []string) {
	t.Helper()
	var places []string
	for _, v := range s.Volumes {
		dir := filepath.Join(p.dir, v.Source)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		places = append(places, v.Target, dir)
	}
	// Whole arguments and values: a mount is never a part of one.
	here := func(text string) string {
		if at := slices.Index(places, text); at >= 0 {
			return places[at+1]
		}
		return p.here(text)
	}
	for _, arg := range s.Command {
		command = append(command, here(arg))
	}
	for name, value := range s.Environment {
		environment = append(environment, name+"="+here(*value))
	}
	return command, environment
}

// salvor runs a command in the environment of a worker, as `docker compose exec` does, and returns what it prints.
func (p place) salvor(t *testing.T, program string, environment []string, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("salvor %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
