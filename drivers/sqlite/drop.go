package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"salvor/drivers"
)

var _ drivers.Dropper = (*Source)(nil)

// Drop removes a database that was made for a trial, with all that lies beside it: its log, and what restores into it left. Any other is
// refused, whatever the source says.
func (s *Source) Drop(_ context.Context, name string) error {
	if filepath.Base(s.path) != name || !strings.HasPrefix(name, drivers.ScratchPrefix) {
		return fmt.Errorf("remove database %s: %w: it is not the trial's own, %s", s.path, drivers.ErrInvalid, name)
	}
	dir := filepath.Dir(s.path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove database %s: %w", s.path, classify(err))
	}
	for _, e := range entries {
		left := e.Name()
		if left != name && left != name+"-wal" && left != name+"-shm" && left != name+"-journal" && !strings.HasPrefix(left, workPrefix(s.path)) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, left)); err != nil {
			return fmt.Errorf("remove database %s: %w", s.path, classify(err))
		}
	}
	return nil
}
