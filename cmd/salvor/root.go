package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"salvor/drivers"
	"salvor/drivers/all"
	"salvor/internal/size"
	"salvor/tasks"
)

// environment is what the command has of the outside; tests give it another.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookup         func(name string) (string, bool) // of the process's variables
	hostname       func() (string, error)
	now            func() time.Time
	width          func() int // columns of stderr's terminal; 0 where it is none
}

// Names of the environment variables that stand for flags.
const (
	envArchive = "SALVOR_ARCHIVE"
	envConfig  = "SALVOR_CONFIG"
	envQueue   = "SALVOR_QUEUE"
)

// app is one invocation of the command.
type app struct {
	env      environment
	out      *bufio.Writer // stdout
	console  *console      // stderr
	registry *drivers.Registry
	log      *slog.Logger

	archive string
	config  string
	queue   string
	set     string
	json    bool
	quiet   bool
	memory  string
	scratch string
	host    string
	onHost  string // what --host says
	lease   time.Duration

	memoryBytes int64
	began       bool // the arguments were understood; errors from here on are not of usage by themselves
}

// run is the command: it returns the exit code. It writes results to stdout and all else to stderr, and ends soon after ctx.
func run(ctx context.Context, args []string, env environment) int {
	a := &app{
		env:      env,
		out:      bufio.NewWriter(env.stdout),
		console:  &console{out: env.stderr, width: env.width},
		registry: all.Registry(),
	}
	a.log = slog.New(&logHandler{console: a.console})
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(env.stdin)
	root.SetOut(a.out)
	root.SetErr(env.stderr)
	used, err := root.ExecuteContextC(ctx)
	if flushErr := a.out.Flush(); flushErr != nil && err == nil {
		err = fmt.Errorf("write result: %w", flushErr)
	}
	if err == nil {
		return exitOK
	}
	if !a.began {
		err = &usageError{message: firstLine(err)}
	}
	if errors.Is(err, errUsage) {
		err = withHint(err, fmt.Sprintf("run '%s --help'", used.CommandPath()))
	}
	if ctx.Err() != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		a.reportError(err)
		return exitInterrupted
	}
	a.reportError(err)
	return exitOf(err)
}

// firstLine is the part of cobra's errors that says what is wrong; suggestions follow it on lines of their own.
func firstLine(err error) string {
	text, suggestions, _ := strings.Cut(err.Error(), "\n")
	if _, names, ok := strings.Cut(suggestions, "Did you mean this?"); ok {
		text += " (did you mean " + strings.Join(strings.Fields(names), ", ") + "?)"
	}
	return text
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "salvor",
		Short: "Dump, restore and verify sets of databases, buckets and directories",
		Long: "salvor dumps databases, buckets and directories as one ordered, coherent set into an archive, and restores it.\n\n" +
			"The set stands in a file (backupset.yaml), or on the command line as NAME=SCHEME:PLACE." + a.schemesHelp() +
			"\n\nResults go to stdout, all else to stderr." + exitHelp(exitOK, exitFailed, exitUsage, exitIncomplete, exitUnproven, exitResumable,
			exitMissing, exitAccess, exitCorrupt, exitInterrupted),
		Example: "  salvor dump --archive /backups site=sqlite:site.db uploads=dir:uploads\n" +
			"  salvor restore --archive /backups latest --into site=sqlite:new.db --into uploads=dir:new",
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.begin() },
	}
	f := root.PersistentFlags()
	f.StringVar(&a.archive, "archive", "", "the archive: a directory or a URL (s3://, gs://, azblob://) [env "+envArchive+"]")
	f.StringVarP(&a.config, "config", "c", "", "the file that describes the set; backupset.yaml where it exists [env "+envConfig+"]")
	f.StringVar(&a.set, "set", "", "the set's name; for a dump of sources on the command line \"default\"")
	f.BoolVar(&a.json, "json", false, "write results as JSON, one object a line")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "write no progress and no summary, only problems")
	f.StringVar(&a.memory, "memory", "256MiB", "the memory to stay within")
	f.StringVar(&a.scratch, "scratch", "", "a directory for temporary files; default the system's")
	f.StringVar(&a.onHost, "host", "", "the host name that nodes bind to with host:; default this machine's")
	f.StringVar(&a.queue, "queue", "", "the Redis that workers share, redis://...; default a queue in this process [env "+envQueue+"]")
	f.DurationVar(&a.lease, "lease", 0, "how long work lives without a sign of life; the same in all processes of a queue")
	_ = f.MarkHidden("lease") // for tests: nobody should wait for half a minute there
	for _, name := range []string{"scratch"} {
		_ = root.MarkPersistentFlagDirname(name)
	}
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	root.AddCommand(
		a.dumpCommand(), a.restoreCommand(), a.drillCommand(), a.captureCommand(), a.listCommand(), a.showCommand(), a.verifyCommand(), a.planCommand(),
		a.runsCommand(), a.watchCommand(), a.cancelCommand(), a.resumeCommand(), a.workerCommand(), a.workersCommand(), a.demoCommand(),
		a.versionCommand(),
	)
	strictTopics(root)
	return root
}

// strictTopics has help and completion refuse what they do not know; cobra's own say so and succeed.
func strictTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, topics []string) error {
				if _, rest, err := root.Find(topics); err != nil || len(rest) > 0 {
					return usagef("", "no help on %q", strings.Join(topics, " "))
				}
				return nil
			}
		case "completion":
			c.Args = cobra.NoArgs
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

func (a *app) schemesHelp() string {
	var b strings.Builder
	b.WriteString("\nPlaces:\n")
	for _, k := range a.registry.Kinds() {
		fmt.Fprintf(&b, "  %-20s  driver %s\n", k.Scheme+":"+cmp.Or(k.Place, "PATH"), k.Name)
	}
	return strings.TrimRight(b.String(), "\n")
}

// minMemory is what the buffers of one task and the program itself need.
const minMemory = 128 << 20

// outsideHeap is the part of the memory that Go's limit does not see: the program's own pages and the system's for it.
const outsideHeap = 48 << 20

// begin checks the flags that all commands have.
func (a *app) begin() error {
	a.began = true
	a.console.quiet = a.quiet
	n, err := size.Parse(a.memory)
	if err != nil {
		return usagef("", "--memory: %v", err)
	}
	if n < minMemory {
		return usagef("", "--memory: %s is too little, the least is %s", formatBytes(n), formatBytes(minMemory))
	}
	a.memoryBytes = n
	debug.SetMemoryLimit(n - outsideHeap)
	if a.scratch != "" {
		if info, err := os.Stat(a.scratch); err != nil || !info.IsDir() {
			return usagef("name a directory that exists", "--scratch: %s is no directory", quoteName(a.scratch))
		}
	}
	if a.onHost != "" && !tasks.ValidHost(a.onHost) {
		return usagef("use letters, digits, dots, dashes and underscores", "--host: %s is no host name", quoteName(a.onHost))
	}
	if a.host = a.onHost; a.host == "" {
		if a.host, err = a.env.hostname(); err != nil {
			return fmt.Errorf("read host name: %w", err)
		}
	}
	return nil
}
