package sandbox

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CgroupName gives the name of the cgroup, at the root of each hierarchy, below which a sandbox whose files are in dir
// is to put its cgroups.
func CgroupName(dir string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(dir))
	return fmt.Sprintf("unstuck-%08x", h.Sum32())
}

// hierarchies gives the roots of all cgroup hierarchies: of the one of version 2, those of version 1, or both.
func hierarchies() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var roots []string
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || (fields[2] != "cgroup" && fields[2] != "cgroup2") {
			continue
		}
		if !slices.Contains(roots, fields[1]) {
			roots = append(roots, fields[1])
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("no cgroups are mounted on this machine")
	}
	return roots, nil
}

// makeCgroups makes the cgroup in each hierarchy. A new cpuset of version 1 has no processor and no memory, and
// takes nobody in before it has (cpuset(7)).
func makeCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make a cgroup: %w", err)
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			all, err := os.ReadFile(filepath.Join(root, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, file), all, 0); err != nil {
				return fmt.Errorf("fill a cgroup: %w", err)
			}
		}
	}
	return nil
}

// removeCgroups removes the cgroup from each hierarchy, with those below it. A cgroup is busy for a moment after its
// last process has ended.
func removeCgroups(name string) error {
	if name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("not a cgroup of ours: %q", name)
	}
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(endTimeout)
	for _, root := range roots {
		for {
			err := removeCgroup(filepath.Join(root, name))
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove a cgroup: %w", err)
			}
			<-time.After(20 * time.Millisecond) // nothing tells when it is not busy any more
		}
	}
	return nil
}

func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir) // os.Remove would try to unlink it first
}

// CgroupProcesses gives the IDs, as this machine sees them, of the processes in the cgroups of the sandbox whose path
// ends in name: a container's are in one that is named by its ID.
func (s *Sandbox) CgroupProcesses(name string) ([]int, error) {
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Join(root, CgroupName(s.dir)), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() || d.Name() != name {
				return ignoreGone(err)
			}
			raw, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			for field := range strings.FieldsSeq(string(raw)) {
				var pid int
				if _, err := fmt.Sscan(field, &pid); err == nil && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return ignoreGone(err)
		})
		if err != nil {
			return nil, fmt.Errorf("list the processes of %s: %w", name, err)
		}
	}
	return pids, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
