//go:build unix

package config

import "syscall"

// access asks access(2) whether a file can be read, or a directory written to.
func access(path string, mode uint32) error { return syscall.Access(path, mode) }
