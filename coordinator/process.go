package coordinator

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"salvor/archive"
)

// Process is who carries a run out, as the archive keeps it while the run is open: enough to tell whether that process
// still lives, from the same machine.
type Process struct {
	Hostname string `json:"hostname,omitempty"`
	PID      int    `json:"pid,omitempty"`
	// Queue is where the queue is, without secrets; "" for one inside the process, which ends with it.
	Queue string `json:"queue,omitempty"`
	// Machine names the machine's system, where it has such a name.
	Machine string `json:"machine,omitempty"`
	// Boot, Space and Started tell processes with one number apart: the machine's boot, its space of process numbers, and the
	// process's start in ticks since the boot. They are empty where the system does not say.
	Boot    string `json:"boot,omitempty"`
	Space   string `json:"space,omitempty"`
	Started string `json:"started,omitempty"`
}

// thisProcess describes the process that asks.
func thisProcess(queue string) (Process, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return Process{}, fmt.Errorf("read host name: %w", err)
	}
	p := Process{
		Hostname: hostname, PID: os.Getpid(), Queue: onMachine(queue, hostname),
		Machine: firstLine("/etc/machine-id"), Boot: firstLine("/proc/sys/kernel/random/boot_id"),
	}
	if space, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		p.Space = space
	}
	p.Started, _ = startOf(p.PID)
	return p, nil
}

// onMachine adds the machine to a queue's place that is another one on each: a loopback address, or a socket in the file
// system.
func onMachine(queue, hostname string) string {
	for _, local := range []string{"127.", "localhost", "[::1]", "::1", "/"} {
		if strings.HasPrefix(queue, local) {
			return queue + " on " + hostname
		}
	}
	return queue
}

// firstLine returns the first line of a file; "" where it cannot be read.
func firstLine(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// startOf returns when a process started; "" where the system does not say. gone tells that there is no such process, or but
// its remains.
func startOf(pid int) (started string, gone bool) {
	// Signal 0 asks whether there is such a process, kill(2).
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return "", true
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	// The second field is the program's name in parentheses, which may hold anything; starttime is the 22nd (proc(5)).
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	const state, start = 0, 19
	if len(fields) <= start {
		return "", false
	}
	return fields[start], fields[state] == "Z"
}

// life says what can be known of a process from here.
type life int

const (
	lifeUnknown life = iota // another machine, or another space of process numbers
	lifeOver
	lifeGoesOn
)

// life tells whether the process lives, as far as self can know.
func (p Process) life(self Process) life {
	if p.PID == 0 || p.Hostname != self.Hostname || p.Machine != self.Machine {
		return lifeUnknown
	}
	if p.Boot != self.Boot {
		if p.Machine == "" || p.Boot == "" || self.Boot == "" {
			return lifeUnknown // two machines may have one name
		}
		return lifeOver // the machine was started anew since
	}
	if p.Space != self.Space {
		return lifeUnknown
	}
	started, gone := startOf(p.PID)
	if gone || started != "" && p.Started != "" && started != p.Started {
		return lifeOver
	}
	return lifeGoesOn
}

// String names the process for people.
func (p Process) String() string {
	if p.Queue != "" {
		return "the queue at " + p.Queue
	}
	return fmt.Sprintf("process %d on %s", p.PID, p.Hostname)
}

// ProcessOf returns who carries an open run out, as its mark says.
func ProcessOf(r archive.Run) Process {
	var a about
	if r.State != archive.StateOpen || json.Unmarshal(r.Detail, &a) != nil {
		return Process{}
	}
	return a.Process
}
