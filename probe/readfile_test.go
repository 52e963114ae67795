package probe

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadFileReadsUpToItsBound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("hunter"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadFile(file, 6); err != nil || string(data) != "hunter" {
		t.Errorf("6 bytes, 6 allowed: got %q, error %v", data, err)
	}
	data, err := ReadFile(file, 5)
	if err == nil || data != nil || err.Error() != "read "+file+": it has more than 5 bytes" {
		t.Errorf("6 bytes, 5 allowed: got %q, error %v", data, err)
	}
}

// A kubelet mounts a secret like this: the name leads through ..data to a directory that the kubelet replaces as a
// whole.
func TestReadFileReadsASecretThatKubernetesMounts(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "..2026"), 0o700),
		os.WriteFile(filepath.Join(dir, "..2026", "password"), []byte("hunter2"), 0o600),
		os.Symlink("..2026", filepath.Join(dir, "..data")),
		os.Symlink(filepath.Join("..data", "password"), filepath.Join(dir, "password")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if data, err := ReadFile(filepath.Join(dir, "password"), MaxSecret); err != nil || string(data) != "hunter2" {
		t.Errorf("got %q, error %v", data, err)
	}
}

func TestReadFileRefusesAtOnceWhatIsNoRegularFile(t *testing.T) {
	dir, err := os.MkdirTemp("", "readfile-") // t.TempDir would be too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink("/dev/zero", link)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, want := range map[string]string{
		dir: "it is a directory", pipe: "it is a pipe", "/dev/zero": "it is a device", link: "it is a device",
		filepath.Join(dir, "socket"): "open ", filepath.Join(dir, "nowhere"): "no such file",
	} {
		_, err := ReadFile(path, MaxFile)
		named, isPath := errors.AsType[*fs.PathError](err)
		if !isPath || named.Path != path || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", path, err, want)
		}
	}
}
