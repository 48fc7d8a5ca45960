//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// smallSize and largeSize are the sizes of the files of the two contests, in bytes.
const (
	smallSize = 8192
	largeSize = 250_000_000
)

// contender is a program that can store a tree and bring it back.
type contender struct {
	name string
	// prepare makes an empty store where the program cannot store without; it is not measured. May be nil.
	prepare func(store string) command
	dump    func(source, store string) command
	restore func(store, target string) command
	// restored is where the tree lies below the target.
	restored func(source, target string) string
}

// took is what a contender took, a value for each round.
type took struct{ dump, restore []usage }

// match is what the product and its rivals are compared on.
type match struct {
	what   string
	rivals []string
	fill   func(dir string) error
	// dump and restore are the most of restic's wall time that the product may take; 0 promises nothing.
	dump, restore ratio
	// keep leaves what is stored and restored until the end. ext4 searches long for an inode that was not freed lately (see
	// recently_deleted in fs/ext4/ialloc.c): who comes after somebody who removed many files pays for that.
	keep bool
}

// smallFiles compares the product with restic, and with rclone, which only copies, on many small files.
func (b *bench) smallFiles(ctx context.Context) error {
	return b.contest(ctx, match{
		what: fmt.Sprintf("%d files of 8 KiB", b.small), rivals: []string{"restic", "rclone"}, dump: 0.7, restore: 0.8, keep: true,
		fill: func(dir string) error { return makeFiles(ctx, dir, b.small, smallSize) },
	})
}

// smallRoom is about how many bytes of disk smallFiles takes: the source, and of each turn the store and the copy.
func smallRoom(o options) int64 {
	const contenders = 3
	return int64(o.small) * smallSize * int64(1+2*contenders*o.rounds)
}

// largeFiles compares the product with the same two on a few large files.
func (b *bench) largeFiles(ctx context.Context) error {
	files := b.large * gigabyte / largeSize
	return b.contest(ctx, match{
		what: fmt.Sprintf("%d files of %s", files, size(largeSize)), rivals: []string{"restic", "rclone"}, dump: 0.8,
		fill: func(dir string) error { return makeFiles(ctx, dir, files, largeSize) },
	})
}

// contest lets the product and its rivals take turns, so that what else happens on the machine meets all of them, and
// prints the medians and their ratios. The source stays in the page cache; each starts with nothing left to write.
func (b *bench) contest(ctx context.Context, m match) (err error) {
	dir, clean, err := b.scratch("contest")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	source := filepath.Join(dir, "source")
	if err := m.fill(source); err != nil {
		return err
	}
	contenders := []contender{b.product()}
	for _, rival := range m.rivals {
		if !installed(rival) {
			b.note("%s: %s is not installed, not compared", m.what, rival)
			continue
		}
		contenders = append(contenders, b.rival(rival))
	}
	all := map[string]*took{}
	for round := range b.rounds {
		for _, c := range contenders {
			if all[c.name] == nil {
				all[c.name] = &took{}
			}
			turn := filepath.Join(dir, fmt.Sprintf("%s-%d", c.name, round))
			if err := b.turn(ctx, c, source, turn, all[c.name]); err != nil {
				return err
			}
			if m.keep {
				continue
			}
			if err := os.RemoveAll(turn); err != nil {
				return fmt.Errorf("remove what %s made: %w", c.name, err)
			}
		}
	}
	own := all[contenders[0].name]
	for _, operation := range []struct {
		name string
		of   func(*took) []usage
		most ratio
	}{
		{"dump", func(t *took) []usage { return t.dump }, m.dump},
		{"restore", func(t *took) []usage { return t.restore }, m.restore},
	} {
		mine := medians(operation.of(own))
		for i, c := range contenders {
			its := medians(operation.of(all[c.name]))
			b.note("%s of %s, %s, median of %d: %s, %s of processor time, %s resident",
				operation.name, m.what, c.name, b.rounds, seconds(its.wall), seconds(its.processor), show(its.resident))
			if i == 0 {
				figure(b, fmt.Sprintf("%s of %s, salvor, most resident memory", operation.name, m.what), largest(operation.of(own)), residentLimit)
				continue
			}
			b.note("%s of %s, salvor to %s: %.2f of the processor time", operation.name, m.what, c.name,
				mine.processor.Seconds()/its.processor.Seconds())
			high := ratio(0)
			if c.name == "restic" {
				high = operation.most
			}
			figure(b, fmt.Sprintf("%s of %s, salvor to %s, wall time", operation.name, m.what, c.name),
				ratio(mine.wall.Seconds()/its.wall.Seconds()), high)
		}
	}
	return nil
}

// turn lets one contender store the tree in a new place below dir and bring it back to another.
func (b *bench) turn(ctx context.Context, c contender, source, dir string, t *took) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	store, target := filepath.Join(dir, "store"), filepath.Join(dir, "target")
	if c.prepare != nil {
		if _, err := b.measure(ctx, c.prepare(store)); err != nil {
			return err
		}
	}
	settle()
	dump, err := b.measure(ctx, c.dump(source, store))
	if err != nil {
		return err
	}
	settle()
	restore, err := b.measure(ctx, c.restore(store, target))
	if err != nil {
		return err
	}
	t.dump, t.restore = append(t.dump, dump), append(t.restore, restore)
	if err := same(ctx, source, c.restored(source, target)); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// product is this project's program.
func (b *bench) product() contender {
	return contender{
		name: "salvor",
		dump: func(source, store string) command {
			return command{name: b.salvor, args: []string{"dump", "--archive", store, "tree=dir:" + source}}
		},
		restore: func(store, target string) command {
			return command{name: b.salvor, args: []string{"restore", "--archive", store, "latest", "--into", "tree=dir:" + target}}
		},
		restored: func(_, target string) string { return target },
	}
}

// rival is another program, as its manual says to use it.
func (b *bench) rival(name string) contender {
	if name == "rclone" {
		// It copies files as they are: the speed of the disk, and no more than that.
		copies := func(from, to string) command {
			return command{name: "rclone", args: []string{"copy", "--config", "", from, to}}
		}
		return contender{
			name: "rclone", dump: copies, restore: copies,
			restored: func(_, target string) string { return target },
		}
	}
	// A cache of its own, as the first dump of a machine has; its default is in the user's home.
	env := []string{"RESTIC_PASSWORD=bench", "RESTIC_CACHE_DIR=" + filepath.Join(b.dir, "restic-cache")}
	restic := func(store string, args ...string) command {
		return command{name: "restic", args: append([]string{"--quiet", "--repo", store}, args...), env: env}
	}
	return contender{
		name:    "restic",
		prepare: func(store string) command { return restic(store, "init") },
		dump:    func(source, store string) command { return restic(store, "backup", source) },
		restore: func(store, target string) command { return restic(store, "restore", "latest", "--target", target) },
		// It keeps the whole path.
		restored: func(source, target string) string { return filepath.Join(target, source) },
	}
}

func medians(all []usage) usage {
	var m struct {
		wall, processor []time.Duration
		resident        []memory
	}
	for _, u := range all {
		m.wall, m.processor, m.resident = append(m.wall, u.wall), append(m.processor, u.processor), append(m.resident, u.resident)
	}
	return usage{wall: median(m.wall), processor: median(m.processor), resident: median(m.resident)}
}

// largest returns the most memory that was resident in any round.
func largest(all []usage) memory {
	var most memory
	for _, u := range all {
		most = max(most, u.resident)
	}
	return most
}
