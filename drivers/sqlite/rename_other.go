//go:build !linux

package sqlite

import "errors"

func renameNoReplace(_, _ string) error { return errors.ErrUnsupported }
