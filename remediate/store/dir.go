package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// maxFile bounds what is read of a file, in bytes. What we write is shorter.
const maxFile = 1 << 20

// Dir has documents in a directory: incidents/<id>.json, deletions/<broker>.json, notified/<receiver>.json and
// pauses.json. A file is replaced as a whole, so a crash at any point leaves the old one or the new one. It cannot tell
// who else writes there: who uses it locks the directory.
type Dir struct{ path string }

// NewDir makes a document store in the directory path, which is created if need be.
func NewDir(path string) (*Dir, error) {
	for _, sub := range []string{kindIncidents, kindDeletions, KindNotified} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o750); err != nil {
			return nil, fmt.Errorf("make the store: %w", err)
		}
	}
	return &Dir{path: path}, nil
}

// fileName is what the name of a document must look like to become a file's name.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$`)

// All gives every document of the kind.
func (d *Dir) All(ctx context.Context, kind string) (map[string][]byte, error) {
	names := []string{kindPauses}
	if kind != kindPauses {
		entries, err := os.ReadDir(filepath.Join(d.path, kind))
		if err != nil {
			return nil, err
		}
		names = names[:0]
		for _, e := range entries {
			if name, ours := strings.CutSuffix(e.Name(), ".json"); ours && fileName.MatchString(name) {
				names = append(names, name)
			}
		}
	}
	all := make(map[string][]byte, len(names))
	var errs []error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, err := readFile(d.file(kind, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if all[name] = data; err != nil {
			errs = append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

// One gives one document of the kind.
func (d *Dir) One(_ context.Context, kind, name string) (data []byte, there bool, err error) {
	if !fileName.MatchString(name) {
		return nil, false, nil // Put would not write it
	}
	data, err = readFile(d.file(kind, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return data, true, err
}

// readFile reads a file that must be one: opening a pipe would wait until somebody writes to it, and a device has no
// end.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: it is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxFile:
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", path, maxFile)
	}
	return data, nil
}

func (d *Dir) file(kind, name string) string {
	if kind == kindPauses {
		kind = ""
	}
	return filepath.Join(d.path, kind, name+".json")
}

// Put writes a document.
func (d *Dir) Put(_ context.Context, kind, name string, data []byte) (err error) {
	if !fileName.MatchString(name) {
		return fmt.Errorf("%q cannot be a file's name", name)
	}
	path := d.file(kind, name)
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Remove removes a document.
func (d *Dir) Remove(_ context.Context, kind, name string) error {
	if !fileName.MatchString(name) {
		return fmt.Errorf("%q cannot be a file's name", name)
	}
	if err := os.Remove(d.file(kind, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes a rename survive a crash of the machine.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

var _ Documents = (*Dir)(nil)
