//go:build !linux

package lab

import (
	"errors"
	"os"
	"syscall"
)

// Only Linux lets us promise that no child outlives us.
var errNotLinux = errors.New("the lab needs Linux")

func newAttr(string) *syscall.SysProcAttr { return nil }
func terminate(int) error                 { return errNotLinux }
func freeze(int) error                    { return errNotLinux }
func thaw(int) error                      { return errNotLinux }
func killGroup(int) error                 { return errNotLinux }
func processesWith(string) ([]int, error) { return nil, errNotLinux }
func unread(*os.File) (int, error)        { return 0, errNotLinux }
func tryLock(*os.File) bool               { return false }
