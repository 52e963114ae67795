package app

import (
	"os"
	"syscall"
)

// errInUse is what openAlone gives of a file that somebody else has opened with it: ERROR_SHARING_VIOLATION.
const errInUse = syscall.Errno(32)

// openAlone opens a file, which it creates, for one process at a time: it shares it with nobody.
func openAlone(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS,
		syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), path), nil
}
