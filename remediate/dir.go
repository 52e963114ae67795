package remediate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// keptCases is how many cases a Dir keeps; the oldest closed ones go first.
const keptCases = 200

// Dir is a Store in a directory: cases/<id>.json, acts/<broker>.json, pauses.json. A file is replaced as a whole, so a
// crash at any point leaves the old one or the new one.
type Dir struct {
	path string
	mu   sync.Mutex
}

// NewDir makes a store in the directory path, which is created if need be.
func NewDir(path string) (*Dir, error) {
	for _, sub := range []string{"cases", "acts"} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o750); err != nil {
			return nil, fmt.Errorf("make the store: %w", err)
		}
	}
	return &Dir{path: path}, nil
}

// fileName is what the name of a broker or the ID of a case must look like to become a file's name.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$`)

// SaveCase writes c and drops what is too much.
func (d *Dir) SaveCase(_ context.Context, c Case) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.write("cases", c.ID, c); err != nil {
		return err
	}
	return d.dropOldCases()
}

// Cases gives the cases that are kept, newest first.
func (d *Dir) Cases(context.Context) ([]Case, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cases()
}

func (d *Dir) cases() ([]Case, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, "cases"))
	if err != nil {
		return nil, fmt.Errorf("list the cases: %w", err)
	}
	var cases []Case
	for _, e := range entries {
		id, isCase := strings.CutSuffix(e.Name(), ".json")
		if !isCase || !fileName.MatchString(id) { // not one of ours
			continue
		}
		var c Case
		if err := d.read("cases", id, &c); err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	slices.SortFunc(cases, func(a, b Case) int { return b.Opened.Compare(a.Opened) })
	return cases, nil
}

func (d *Dir) dropOldCases() error {
	entries, err := os.ReadDir(filepath.Join(d.path, "cases"))
	if err != nil || len(entries) <= keptCases {
		return err
	}
	cases, err := d.cases()
	if err != nil {
		return err
	}
	extra := len(cases) - keptCases
	for i := len(cases) - 1; i >= 0 && extra > 0; i-- {
		if cases[i].Closed.IsZero() {
			continue
		}
		if err := os.Remove(d.file("cases", cases[i].ID)); err != nil {
			return fmt.Errorf("drop an old case: %w", err)
		}
		extra--
	}
	return nil
}

// SaveActs writes the acts upon broker.
func (d *Dir) SaveActs(_ context.Context, broker string, acts []Act) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write("acts", broker, acts)
}

// Acts gives the acts upon broker; none if none were ever saved.
func (d *Dir) Acts(_ context.Context, broker string) ([]Act, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var acts []Act
	if err := d.read("acts", broker, &acts); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return acts, nil
}

// Pauses gives what pauses.json holds; none if there is no such file.
func (d *Dir) Pauses(context.Context) ([]Pause, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var pauses []Pause
	if err := d.read("", "pauses", &pauses); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return pauses, nil
}

func (d *Dir) file(sub, name string) string { return filepath.Join(d.path, sub, name+".json") }

func (d *Dir) read(sub, name string, v any) error {
	if !fileName.MatchString(name) {
		return fmt.Errorf("%q cannot be a file's name", name)
	}
	data, err := os.ReadFile(d.file(sub, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", d.file(sub, name), err)
	}
	return nil
}

func (d *Dir) write(sub, name string, v any) (err error) {
	if !fileName.MatchString(name) {
		return fmt.Errorf("%q cannot be a file's name", name)
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := os.CreateTemp(filepath.Join(d.path, sub), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", name, err)
		}
	}()
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), d.file(sub, name)); err != nil {
		return err
	}
	return syncDir(filepath.Join(d.path, sub))
}

// syncDir makes a rename survive a crash of the machine.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
