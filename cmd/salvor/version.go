package main

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"salvor/archive"
	"salvor/tasks"
)

// version is set by the linker (-X main.version=1.2.3) where a release is built.
var version string

// versionResult is what `version --json` prints.
type versionResult struct {
	Type     string `json:"type"`
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Format   int    `json:"format"`   // the archive format that is written, and the highest that is read
	Contract int    `json:"contract"` // of the tasks between processes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// programVersion says what this program is.
func programVersion() versionResult {
	v := versionResult{
		Type: "version", Version: version, Format: archive.Format, Contract: tasks.Contract,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Version = cmp.Or(v.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	v.Version = cmp.Or(v.Version, "(devel)")
	return v
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of the program, the archive format and the contract",
		Long:    "Print the version of the program, of the archive format and of the contract between processes." + exitHelp(exitOK),
		Example: "  salvor version\n  salvor version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := programVersion()
			if a.json {
				return a.printJSON(v)
			}
			return a.printf("salvor %s\narchive format %d, contract %d\n%s %s\n", v.Version, v.Format, v.Contract, v.Go, v.Platform)
		},
	}
}
