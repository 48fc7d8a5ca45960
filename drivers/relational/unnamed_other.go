//go:build !linux

package relational

import "os"

// neverNamed makes a file that never has a name, where the system has such.
func neverNamed(string) (_ *os.File, ok bool) { return nil, false }
