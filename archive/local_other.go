//go:build !linux

package archive

import (
	"errors"
	"os"
)

// renameNew is for systems without renameat2(2): the caller makes a hard link instead.
func renameNew(*os.File, string, string) error { return errors.ErrUnsupported }
