package artifact

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// replace makes a file anew under another name, beside it, and puts it in the place of the old one once it is complete.
// So nothing that runs or reads the old one is disturbed, and where that is hard linked to a file of another checkout's
// cache, the other one stays as it is. What makes the file is shown a copy of the old one, if there is one: the go
// command knows whether that is up to date.
func replace(path string, produce func(partial string) error) error {
	partial, err := anew(path + ".partial")
	if err != nil {
		return err
	}
	defer os.Remove(partial) // nothing, if all goes well
	if err := duplicate(path, partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := produce(partial); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

// anew gives the path, at which there is nothing any more, in a directory that there is.
func anew(path string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return path, nil
}

// duplicate copies a program.
func duplicate(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
