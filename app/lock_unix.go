//go:build unix

package app

import (
	"errors"
	"os"
	"syscall"
)

// errInUse is what openAlone gives of a file that somebody else has opened with it.
const errInUse = syscall.EWOULDBLOCK

// openAlone opens a file, which it creates, for one process at a time.
func openAlone(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
