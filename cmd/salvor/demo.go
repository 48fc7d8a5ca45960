package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

type demoOptions struct {
	dir  string
	keep bool
}

// demoResult is what `demo --json` prints.
type demoResult struct {
	Type    string  `json:"type"`
	Dir     string  `json:"dir,omitempty"` // where it was kept
	Dump    string  `json:"dump"`
	Photos  int     `json:"photos"`
	Files   int     `json:"files"`
	Seconds float64 `json:"seconds"`
	Proved  bool    `json:"proved"`
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Make a small photo site, dump it, damage it, restore it, and prove that it is whole",
		Long: "Make a small photo site (a SQLite database and uploaded files), dump it, damage it, restore it, and compare every\n" +
			"row and every file with what was there before. Each step is a command that is shown and can be typed.\n" +
			"It needs no server and no network." + exitHelp(exitOK, exitFailed, exitUsage, exitInterrupted),
		Example: "  salvor demo\n  salvor demo --dir /tmp/salvor-demo",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.demo(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.dir, "dir", "", "work in this directory, which must be absent or empty, and keep it")
	f.BoolVar(&o.keep, "keep", false, "keep the temporary directory")
	_ = c.MarkFlagDirname("dir")
	return c
}

// demoRun is one performance of the demo.
type demoRun struct {
	app  *app
	dir  string
	site site
}

func (a *app) demo(ctx context.Context, o demoOptions) (err error) {
	dir, err := demoDir(o.dir)
	if err != nil {
		return err
	}
	keep := o.keep || o.dir != ""
	if !keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	started := a.env.now()
	d := &demoRun{app: a, dir: dir, site: site{dir: filepath.Join(dir, "site")}}
	r := demoResult{Type: "demo"}
	if err := d.perform(ctx, &r); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	r.Proved, r.Seconds = true, a.env.now().Sub(started).Seconds()
	if keep {
		r.Dir = dir
		d.say("The directory %s is kept; look around in it, and remove it.", dir)
	}
	if a.json {
		return a.printJSON(r)
	}
	return nil
}

// demoDir makes the directory to work in.
func demoDir(named string) (string, error) {
	if named == "" {
		dir, err := os.MkdirTemp("", "salvor-demo-")
		if err != nil {
			return "", fmt.Errorf("make directory for the demo: %w", err)
		}
		return dir, nil
	}
	dir, err := filepath.Abs(named)
	if err != nil {
		return "", fmt.Errorf("find directory for the demo: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory for the demo: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("look into directory for the demo: %w", err)
	}
	if len(there) > 0 {
		return "", usagef("name an absent or empty one", "directory %s is not empty", quoteName(dir))
	}
	return dir, nil
}

func (d *demoRun) perform(ctx context.Context, r *demoResult) error {
	archive := filepath.Join(d.dir, "archive")
	database, uploads := d.site.database(), d.site.uploads()

	d.say("A photo site: albums and photos in a SQLite database, the pictures in a directory.")
	photos, err := d.site.build(ctx)
	if err != nil {
		return err
	}
	before, err := d.site.fingerprint(ctx)
	if err != nil {
		return err
	}
	r.Photos, r.Files = photos, len(before.files)
	d.say("Made %d photos, %d files and directories in %s.", photos, len(before.files), d.site.dir)

	d.step("Dump both, the database first: no row without its picture.")
	id, err := d.salvor(ctx, "dump", "--archive", archive, "--set", "photos", "db=sqlite:"+database, "uploads=dir:"+uploads)
	if err != nil {
		return err
	}
	r.Dump = strings.TrimSpace(id)

	d.step("What is in the archive, and is it whole?")
	for _, args := range [][]string{{"list", "--archive", archive}, {"verify", "--archive", archive}} {
		if _, err := d.salvor(ctx, args...); err != nil {
			return err
		}
	}

	d.step("A bad day: an album is deleted, files are removed and overwritten, a stranger's file appears.")
	for _, line := range d.site.damageText() {
		d.show("$ " + line)
	}
	if err := d.site.damage(ctx); err != nil {
		return err
	}
	damaged, err := d.site.fingerprint(ctx)
	if err != nil {
		return err
	}
	differences := before.compare(damaged)
	if len(differences) == 0 {
		return errors.New("the damage did no harm")
	}
	d.say("%s from before:", plural(int64(len(differences)), "thing differs", "things differ"))
	for _, line := range differences[:min(len(differences), 5)] {
		d.show("  " + line)
	}

	d.step("One picture, next to the site, to look at first.")
	one := filepath.Join(d.dir, "one")
	if _, err := d.salvor(ctx, "restore", "--archive", archive, "latest", "--only", "uploads:"+photoName(1, 2), "--into", "uploads="+one); err != nil {
		return err
	}

	d.step("What would a restore of all do?")
	if _, err := d.salvor(ctx, "restore", "--archive", archive, "latest", "--in-place", "--mirror", "--plan"); err != nil {
		return err
	}

	d.step("Do it: replace what differs, remove what is extra. Pictures come back before the rows that name them.")
	if _, err := d.salvor(ctx, "restore", "--archive", archive, "latest", "--in-place", "--mirror"); err != nil {
		return err
	}
	return d.prove(ctx, before, one)
}

// prove compares the site with what it was.
func (d *demoRun) prove(ctx context.Context, before fingerprint, one string) error {
	d.step("Proof.")
	after, err := d.site.fingerprint(ctx)
	if err != nil {
		return err
	}
	if differences := before.compare(after); len(differences) > 0 {
		return fmt.Errorf("the restored site differs: %s", strings.Join(differences, "; "))
	}
	name := photoName(1, 2)
	restored, err := hashFile(filepath.Join(one, name))
	if err != nil {
		return err
	}
	if want := before.files[name].hash; restored != want {
		return fmt.Errorf("%s was restored alone and differs", name)
	}
	d.say("Every row of every table, and content, mode and time of all %d files and directories: as before.", len(before.files))
	return nil
}

// salvor runs one command as it would be typed, shows it with what it prints, and returns its stdout.
func (d *demoRun) salvor(ctx context.Context, args ...string) (string, error) {
	d.show("$ " + shellJoin(append([]string{"salvor"}, args...)...))
	var stdout, stderr bytes.Buffer
	e := d.app.env
	e.stdout, e.stderr = &stdout, &stderr
	e.width = func() int { return 0 }
	e.lookup = func(string) (string, bool) { return "", false } // the commands shown are all there is
	code := run(ctx, append(args, "--memory", d.app.memory), e)
	for _, out := range []io.Reader{strings.NewReader(stdout.String()), &stderr} {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			d.show(lines.Text())
		}
	}
	if code != exitOK {
		return "", fmt.Errorf("salvor %s ended with exit code %d", args[0], code)
	}
	return stdout.String(), nil
}

// say, step and show tell the story on stderr, so that stdout has the result alone.
func (d *demoRun) say(format string, args ...any) { d.app.console.line(format, args...) }
func (d *demoRun) step(text string)               { d.app.console.line("\n%s", text) }
func (d *demoRun) show(line string)               { d.app.console.line("  %s", line) }
