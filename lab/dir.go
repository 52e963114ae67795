package lab

import (
	"fmt"
	"os"
	"path/filepath"
)

const (
	dirPrefix = "unstuck-lab-"
	lockName  = "lock" // a lab holds the lock of this file in its directory for as long as it runs
)

// makeDir makes a directory for a lab, and holds its lock until the file is closed. It removes the directories of
// labs that were killed and could not do so themselves.
func makeDir(parent string) (dir string, lock *os.File, err error) {
	removeStale(parent)
	if dir, err = os.MkdirTemp(parent, dirPrefix); err != nil {
		return "", nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	// Locked before it has its name: nobody sees it unlocked.
	if lock, err = os.CreateTemp(dir, "new-"); err != nil {
		return dir, nil, fmt.Errorf("make the lab's lock: %w", err)
	}
	if !tryLock(lock) {
		return dir, lock, fmt.Errorf("lock %s: not possible here", lock.Name())
	}
	if err := os.Rename(lock.Name(), filepath.Join(dir, lockName)); err != nil {
		return dir, lock, fmt.Errorf("make the lab's lock: %w", err)
	}
	return dir, lock, nil
}

// removeStale removes what it can; the rest is somebody else's.
func removeStale(parent string) {
	locks, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*", lockName)) // the pattern is well-formed
	for _, path := range locks {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if tryLock(f) {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		_ = f.Close()
	}
}
