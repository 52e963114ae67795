// Package artifact makes what a cluster consists of: the programs, from Go modules, and the images, from Debian's
// packages and from programs of our own. What was made once is kept, by version, and found again.
package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Maker makes artifacts.
type Maker struct {
	Root     string    // the project's root, an absolute path
	Progress io.Writer // one line when something begins that takes a while, and one when it has ended
}

// program is one to build: a package, in a nested module of e2e.
type program struct{ name, pkg, module string }

// kubernetes is the module whose version the programs name as theirs.
const kubernetes = "k8s.io/kubernetes"

// programs lists what runs a cluster, and what looks at one.
func programs() []program {
	all := []program{
		{"etcd", "go.etcd.io/etcd/server/v3", "kubernetes"},
		{"coredns", "github.com/coredns/coredns", "coredns"},
	}
	for _, name := range []string{
		"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
	} {
		all = append(all, program{name, kubernetes + "/cmd/" + name, "kubernetes"})
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		all = append(all, program{name, "github.com/containerd/containerd/v2/cmd/" + name, "containerd"})
	}
	return all
}

// Programs builds the programs of the cluster, if these versions of them were not built yet, and gives the directory
// in which they are. The first time takes a quarter of an hour on two cores.
func (m *Maker) Programs(ctx context.Context) (string, error) {
	version, err := m.versions(ctx)
	if err != nil {
		return "", err
	}
	cache := filepath.Join(m.Root, ".cache")
	dir := filepath.Join(cache, "bin-"+version.dir)
	var missing []program
	for _, p := range programs() {
		if _, err := os.Stat(filepath.Join(dir, p.name)); err != nil {
			missing = append(missing, p)
		}
	}
	for i, p := range missing {
		what := fmt.Sprintf("build %s (%d of %d)", p.name, i+1, len(missing))
		err := m.step(what, func() error { return m.build(ctx, p, version.kubernetes, filepath.Join(dir, p.name)) })
		if err != nil {
			return "", err
		}
	}
	return dir, removeOthers(cache, "bin-", dir)
}

// build builds one program of the cluster.
func (m *Maker) build(ctx context.Context, p program, version, path string) error {
	return m.goBuild(ctx, filepath.Join("e2e", p.module), path, "-trimpath", "-tags", "no_btrfs no_devmapper no_zfs",
		"-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion="+version, p.pkg)
}

// goBuild builds a program in a folder of the project; the arguments are those of `go build`, but for -o. It is static:
// images have no libraries.
func (m *Maker) goBuild(ctx context.Context, folder, path string, args ...string) error {
	err := replace(path, func(partial string) error {
		_, err := m.command(ctx, filepath.Join(m.Root, folder), "go", append([]string{"build", "-o", partial}, args...)...)
		return err
	})
	if err != nil {
		return fmt.Errorf("build %s: %w", filepath.Base(path), err)
	}
	return nil
}

// command runs a command and gives what it printed; an error ends with the end of what it complained about. When ctx
// ends it is asked to end, for scripts have something to clean up.
func (m *Maker) command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly -buildvcs=false")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// versions says what the programs are built from: as a version of Kubernetes, and as a name for their directory.
type versions struct{ kubernetes, dir string }

func (m *Maker) versions(ctx context.Context) (versions, error) {
	var v versions
	var names []string
	for module, required := range map[string][]string{
		"kubernetes": {kubernetes, "go.etcd.io/etcd/server/v3"},
		"containerd": {"github.com/containerd/containerd/v2"},
		"coredns":    {"github.com/coredns/coredns"},
	} {
		raw, err := m.command(ctx, filepath.Join(m.Root, "e2e", module), "go", "mod", "edit", "-json")
		if err != nil {
			return v, fmt.Errorf("read the versions of the cluster's programs: %w", err)
		}
		var mod struct {
			Require []struct{ Path, Version string }
		}
		if err := json.Unmarshal([]byte(raw), &mod); err != nil {
			return v, fmt.Errorf("read the versions of the cluster's programs: %w", err)
		}
		for _, path := range required {
			i := slices.IndexFunc(mod.Require, func(r struct{ Path, Version string }) bool { return r.Path == path })
			if i < 0 {
				return v, fmt.Errorf("read the versions of the cluster's programs: %s is not in e2e/%s/go.mod", path, module)
			}
			if path == kubernetes {
				v.kubernetes = mod.Require[i].Version
			}
			name := strings.TrimSuffix(strings.TrimSuffix(path, "/v2"), "/server/v3")
			names = append(names, filepath.Base(name)+"-"+mod.Require[i].Version)
		}
	}
	slices.Sort(names)
	v.dir = strings.Join(names, "-")
	return v, nil
}

// Own builds a program of ours, a folder of e2e/cmd, and gives its path.
func (m *Maker) Own(ctx context.Context, name string) (string, error) {
	path := filepath.Join(m.Root, ".cache", "own", name)
	return path, m.goBuild(ctx, "e2e", path, "-trimpath", "./cmd/"+name)
}

// step reports that something begins, and how long it took.
func (m *Maker) step(what string, do func() error) error {
	fmt.Fprintf(m.Progress, "%s ...\n", what)
	began := time.Now()
	err := do()
	if err == nil {
		fmt.Fprintf(m.Progress, "%s: done in %v\n", what, time.Since(began).Round(100*time.Millisecond))
	}
	return err
}

// removeOthers removes what was kept in the directory for other versions: everything with the prefix but keep.
func removeOthers(dir, prefix, keep string) error {
	old, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range old {
		if path != keep {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// FindRoot gives the project's root: the directory above the one in which e2e is, seen from the working directory.
func FindRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "e2e", "kubernetes", "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the project's root: run this inside the project")
		}
		dir = filepath.Dir(dir)
	}
}
