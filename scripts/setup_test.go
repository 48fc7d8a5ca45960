package scripts_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine is a made-up computer: a directory of programs that is all the script's PATH. Nothing is installed for real,
// because root is reached through a sudo that only writes down what it was told.
type machine struct {
	bin, log, policy string
}

// newMachine returns a machine of a system ("Linux") with the given programs beside the base tools. Package managers are
// programs like the others: the script asks whether they are there and runs them through sudo.
func newMachine(t *testing.T, system string, programs ...string) machine {
	t.Helper()
	dir := t.TempDir()
	m := machine{bin: filepath.Join(dir, "bin"), log: filepath.Join(dir, "log"), policy: filepath.Join(dir, "policy-rc.d")}
	if err := os.Mkdir(m.bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"awk", "dirname", "sed", "sh", "sort", "tail", "tr"} {
		installed, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(installed, filepath.Join(m.bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	m.add(t, "uname", "echo "+system)
	m.add(t, "id", "echo 1000")
	m.add(t, "go", "echo go1.99.1")
	for _, program := range programs {
		m.add(t, program, "exit 0")
	}
	return m
}

func (m machine) add(t *testing.T, program, body string) {
	t.Helper()
	script := "#!/bin/sh\n" + body + "\n"
	if err := os.WriteFile(filepath.Join(m.bin, program), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
}

// allowSudo gives the machine a sudo that needs no password; it writes down each command and makes the programs appear
// that an install brings.
func (m machine) allowSudo(t *testing.T, brings ...string) {
	t.Helper()
	var body strings.Builder
	body.WriteString("[ \"$1\" != -n ] || shift\n[ \"$1\" != true ] || exit 0\nprintf '%s\\n' \"$*\" >>" + m.log + "\ncase \"$*\" in *install*|*' add '*)\n")
	for _, program := range brings {
		body.WriteString("printf '#!/bin/sh\\nexit 0\\n' >" + filepath.Join(m.bin, program) + "\n/bin/chmod 700 " + filepath.Join(m.bin, program) + "\n")
	}
	body.WriteString(";;\nesac")
	m.add(t, "sudo", body.String())
}

// run runs scripts/setup on the machine and returns what it wrote and its exit code.
func (m machine) run(t *testing.T, arguments ...string) (string, int) {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), shell, append([]string{"./setup"}, arguments...)...)
	// Servers that this computer has outside the PATH are none of the made-up one's.
	command.Env = []string{"PATH=" + m.bin, "POLICY_RC_D=" + m.policy, "POSTGRES_HOMES=", "MARIADB_HOMES="}
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), failed.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), 0
}

// asRoot returns the commands that were run as root, a line each.
func (m machine) asRoot(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(m.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
}

func everything() []string {
	return []string{"gcc", "redis-server", "sqlite3", "unzip", "zstd", "jq", "git", "postgres", "mariadbd", "mariadb-dump", "django-admin"}
}

func TestSetupSaysNothingWhereAllIsThere(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"build", "test"} {
		// No package manager and no sudo: it must not even look for them.
		out, code := newMachine(t, "Linux", everything()...).run(t, target)
		if out != "" || code != 0 {
			t.Errorf("setup %s: exit %d, wrote %q", target, code, out)
		}
	}
}

func TestSetupInstalls(t *testing.T) {
	t.Parallel()
	lacking := []string{"redis-server", "zstd", "mariadbd", "mariadb-dump", "django-admin"}
	cases := []struct {
		manager string
		has     []string
		want    []string
	}{
		{
			manager: "apt-get",
			has:     []string{"gcc", "sqlite3", "unzip", "jq", "git", "postgres", "apt-get", "systemctl"},
			want: []string{
				`sh -c printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1" sh POLICY`,
				"env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 update",
				"env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install mariadb-client mariadb-server-core python3-django python3-mysqldb python3-psycopg2 redis-server zstd",
				"rm -f POLICY",
				"systemctl --quiet disable redis-server.service",
			},
		},
		{
			manager: "dnf",
			has:     []string{"gcc", "sqlite3", "unzip", "jq", "git", "postgres", "dnf"},
			want:    []string{"dnf -q -y install mariadb mariadb-server redis zstd"},
		},
		{
			manager: "apk",
			has:     []string{"gcc", "sqlite3", "unzip", "jq", "git", "postgres", "apk"},
			want:    []string{"apk add --quiet --no-progress mariadb mariadb-client redis zstd"},
		},
	}
	for _, c := range cases {
		t.Run(c.manager, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "Linux", c.has...)
			m.allowSudo(t, lacking...)
			out, code := m.run(t, "test")
			if code != 0 || !strings.HasPrefix(out, "setup: installing mariadb") {
				t.Errorf("exit %d, wrote %q", code, out)
			}
			var got []string
			for _, line := range m.asRoot(t) {
				got = append(got, strings.ReplaceAll(line, m.policy, "POLICY"))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("run as root (-want +got):\n%s", diff)
			}
			if out, code := m.run(t, "test"); out != "" || code != 0 {
				t.Errorf("again: exit %d, wrote %q", code, out)
			}
		})
	}
}

func TestSetupKeepsThePolicyThatIsThere(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "Linux", append(everything()[1:], "apt-get")...)
	m.allowSudo(t, "gcc")
	if err := os.WriteFile(m.policy, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, code := m.run(t, "test"); code != 0 {
		t.Fatalf("exit %d, wrote %q", code, out)
	}
	commands := m.asRoot(t)
	if last := commands[len(commands)-1]; !strings.HasSuffix(last, "install gcc libc6-dev") {
		t.Errorf("the last command as root was %q", last)
	}
	for _, command := range commands {
		if strings.Contains(command, m.policy) {
			t.Errorf("touched the policy: %s", command)
		}
	}
}

func TestSetupFailsWithAHint(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		machine func(t *testing.T) machine
		target  string
		want    string
	}{
		{
			"macOS",
			func(t *testing.T) machine { t.Helper(); return newMachine(t, "Darwin", "git", "zstd", "jq", "unzip") },
			"test",
			"setup: error: the tests need programs that are not installed: gcc redis-server sqlite3 postgres mariadbd mariadb-dump\n" +
				"setup: hint: run: xcode-select --install\n" +
				"setup: hint: run: brew install mariadb postgresql@17 redis sqlite\n",
		},
		{
			"another system",
			func(t *testing.T) machine { t.Helper(); return newMachine(t, "Plan9", everything()[2:]...) },
			"test",
			"setup: error: the tests need programs that are not installed: gcc redis-server\n" +
				"setup: hint: install them by this system's package manager, then run this again\n",
		},
		{
			"no root",
			func(t *testing.T) machine {
				t.Helper()
				return newMachine(t, "Linux", append(everything()[1:], "dnf")...)
			},
			"test",
			"setup: installing gcc glibc-devel\n" +
				"setup: error: installing needs root, and sudo is not to be had without a password\n" +
				"setup: hint: run as root: dnf install -y gcc glibc-devel\n",
		},
		{
			"a package that brings nothing",
			func(t *testing.T) machine {
				t.Helper()
				m := newMachine(t, "Linux", append(everything()[1:], "apk")...)
				m.allowSudo(t)
				return m
			},
			"test",
			"setup: installing gcc musl-dev\nsetup: error: still not installed: gcc\n",
		},
		{
			"no Go",
			func(t *testing.T) machine {
				t.Helper()
				m := newMachine(t, "Linux", everything()...)
				if err := os.Remove(filepath.Join(m.bin, "go")); err != nil {
					t.Fatal(err)
				}
				return m
			},
			"build",
			"setup: error: Go is not installed (at least WANTED is needed)\n" +
				"setup: hint: install it from https://go.dev/dl/ and put its bin directory on the PATH\n",
		},
		{
			"old Go",
			func(t *testing.T) machine {
				t.Helper()
				m := newMachine(t, "Linux")
				m.add(t, "go", "echo go1.9")
				return m
			},
			"build",
			"setup: error: Go 1.9 is too old (at least WANTED is needed)\nsetup: hint: install a newer one from https://go.dev/dl/\n",
		},
		{
			"Go that may not fetch a newer one",
			func(t *testing.T) machine {
				t.Helper()
				m := newMachine(t, "Linux")
				m.add(t, "go", "echo 'go: go.mod requires go >= 1.77 (running go 1.22.1; GOTOOLCHAIN=local)' >&2; exit 1")
				return m
			},
			"build",
			"setup: error: the Go toolchain does not work here: go: go.mod requires go >= 1.77 (running go 1.22.1; GOTOOLCHAIN=local)\n" +
				"setup: hint: at least Go WANTED is needed: https://go.dev/dl/\n",
		},
		{
			"unknown target",
			func(t *testing.T) machine { t.Helper(); return newMachine(t, "Linux") },
			"everything",
			"setup: error: usage: scripts/setup build|test\n",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, code := c.machine(t).run(t, c.target)
			if code != 1 {
				t.Errorf("exit %d", code)
			}
			want := strings.ReplaceAll(c.want, "WANTED", wantedGo(t))
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// wantedGo returns the version of Go that go.mod asks for.
func wantedGo(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if version, ok := strings.CutPrefix(line, "go "); ok {
			return strings.TrimSpace(version)
		}
	}
	t.Fatal("go.mod names no Go version")
	return ""
}
