package probe

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// The largest size, in bytes, of the files that people give us. The system's own bundle of authorities has some 220
// KB; a configuration of 10,000 nodes has some 900 KB.
const (
	MaxFile   = 1 << 20
	MaxSecret = 4 << 10 // a user name or a password
)

// ReadFile reads a regular file of at most maxBytes, also through a symbolic link, which is how Kubernetes mounts
// secrets. It refuses a pipe, which would make us wait for a writer, and a device such as /dev/zero, which never
// ends. The error is a *fs.PathError, and never repeats the file's content.
func ReadFile(path string, maxBytes int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // without it, opening a pipe already waits
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{
			Op: "read", Path: path, Err: fmt.Errorf("it is a %s, not a regular file", kindOf(info.Mode())),
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(maxBytes)+1))
	if err == nil && len(data) > maxBytes {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes", maxBytes)}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}

// ReadSecret reads a file of one line, of at most maxBytes, without the end of the line. Errors name the file, and
// never repeat what is in it.
func ReadSecret(path string, maxBytes int) (string, error) {
	data, err := ReadFile(path, maxBytes)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	switch {
	case secret == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsAny(secret, "\r\n\x00"):
		return "", fmt.Errorf("%s has more than one line", path)
	}
	return secret, nil
}
