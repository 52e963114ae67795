package config

import (
	"os"
	"syscall"
)

// access says whether a file can be read. Of a directory it sees whether it is read-only: Windows does not tell whether
// its access control list lets one write there, and nothing is written to find out.
func access(path string, mode uint32) error {
	if mode&mayRead != 0 {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return f.Close()
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o200 == 0 {
		err = syscall.ERROR_ACCESS_DENIED
	}
	return err
}
