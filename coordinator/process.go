package coordinator

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Process is who carries a run out, as the archive keeps it while the run is open: enough to tell whether that process
// still lives, from the same machine.
type Process struct {
	Hostname string `json:"hostname,omitempty"`
	PID      int    `json:"pid,omitempty"`
	// Queue is where the queue is, without secrets; "" for one inside the process, which ends with it.
	Queue string `json:"queue,omitempty"`
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
	p := Process{Hostname: hostname, PID: os.Getpid(), Queue: queue, Boot: bootID()}
	if space, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		p.Space = space
	}
	p.Started = startOf(p.PID)
	return p, nil
}

// bootID names the time since the machine started; "" where the system does not say.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// startOf returns when a process started; "" where there is none or the system does not say.
func startOf(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses, which may hold anything; starttime is the 22nd (proc(5)).
	_, rest, ok := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
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
	switch {
	case p.PID == 0 || p.Hostname != self.Hostname:
		return lifeUnknown
	case p.Boot != self.Boot:
		return lifeOver // the machine was started anew since
	case p.Space != self.Space:
		return lifeUnknown
	case p.Started != "":
		if startOf(p.PID) == p.Started {
			return lifeGoesOn
		}
		return lifeOver
	}
	if p.PID == self.PID {
		return lifeGoesOn
	}
	// Signal 0 asks whether there is such a process, kill(2).
	if err := syscall.Kill(p.PID, 0); errors.Is(err, syscall.ESRCH) {
		return lifeOver
	}
	return lifeGoesOn
}
